"""Refuses what is no address before anybody is asked: tokens that are none, hosts that are nobody's."""

from __future__ import annotations

from typing import Final

from connectors.push.failures import Undeliverable
from ledger.void_addresses import is_void

TOKEN_LENGTH_MAX: Final = 4_096
"""No provider names a length; those of today have 64 to some 300 characters."""
_EXAMPLES: Final = ("example", "example.com", "example.net", "example.org")
RESERVED_DOMAINS: Final = ("invalid", "test", "localhost", *_EXAMPLES)
"""RFC 2606 and RFC 6761: names that are never anybody's."""
PRIVATE_DOMAINS: Final = (*RESERVED_DOMAINS, "local", "internal")
"""These, and names that mean something else in each network (RFC 6762, ICANN)."""


def check_token(provider: str, token: str) -> None:
    """Raise `Undeliverable` for what is no registration token of a provider."""
    if is_void(provider, token) or len(token) > TOKEN_LENGTH_MAX:
        raise Undeliverable(f"NoToken: not a word of at most {TOKEN_LENGTH_MAX} visible characters of ASCII")


def is_below(host: str, domains: tuple[str, ...]) -> bool:
    """Whether a host is one of these domains, or a name below one."""
    name = host.lower().rstrip(".")
    return any(name == one or name.endswith(f".{one}") for one in domains)
