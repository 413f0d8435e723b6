"""Tells which delivery addresses can never be reached, whoever sends to them. Only what is certain counts.

Apps register what their code happened to print, and browsers hand out endpoints that stand for none.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

NOTHING: Final = frozenset(
    {"", "null", "(null)", "nil", "none", "undefined", "nan", "[object object]", "blacklisted"}
)
"""What stands where a token should, in lower case: the words of languages for nothing, and of an old SDK."""
_WORD: Final = re.compile(r"[!-~]+")
_DESCRIBED: Final = frozenset("{}<>")
"""Signs of a token's description, such as `{length=32, ...}`; no token has them."""
NOBODYS: Final = ".invalid"
"""RFC 6761: no name below this domain is ever anybody's. Browsers register `permanently-removed.invalid`."""


def is_void(provider: str, token: str) -> bool:
    """Whether no push can ever reach this address. Total."""
    if token.strip().lower() in NOTHING:
        return True
    if provider in {"apns", "fcm"}:
        return not _WORD.fullmatch(token) or not _DESCRIBED.isdisjoint(token)
    return provider == "web_push" and NOBODYS in token.lower() and _is_nobodys(token)


class _Subscription(msgspec.Struct):
    endpoint: str


_decoder: Final = msgspec.json.Decoder(_Subscription)
_HOST: Final = re.compile(r"https?://([^/?#:@]+)", re.IGNORECASE)


def _is_nobodys(subscription: str) -> bool:
    try:
        host = _HOST.match(_decoder.decode(subscription).endpoint)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return host is not None and host[1].lower().rstrip(".").endswith(NOBODYS)
