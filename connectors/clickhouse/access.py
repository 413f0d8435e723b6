"""Who comes to the embedded ClickHouse: an account with its password, and never a web page."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
from collections.abc import Mapping
from email.message import Message
from typing import Final
from urllib.parse import urlsplit

from connectors.clickhouse.accounts import Account
from connectors.clickhouse.engine import EngineError
from connectors.loopback import HOST

AUTHENTICATION_FAILED: Final = 516
FORBIDDEN: Final = 291
OUR_HOSTS: Final = frozenset({HOST, "localhost", "::1"})
OUR_SITES: Final = frozenset({"none", "same-origin"})
"""What a browser says of an address that its user typed, and of our own pages."""


def authenticate(
    accounts: Mapping[str, Account], headers: Message, parameters: Mapping[str, str]
) -> tuple[str, Account]:
    """The account of a request: Basic, ClickHouse's own headers, or the URL; raises EngineError."""
    name = headers.get("X-ClickHouse-User", parameters.get("user", "default"))
    password = headers.get("X-ClickHouse-Key", parameters.get("password", ""))
    if "Authorization" in headers:
        scheme, _, token = headers["Authorization"].partition(" ")
        name, password = "", ""
        if scheme.lower() == "basic":
            with contextlib.suppress(binascii.Error, ValueError):
                name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    account = accounts.get(name)
    expected = account.password if account else ""
    right = hmac.compare_digest(expected.encode(), password.encode(errors="surrogateescape"))
    if account is None or not expected or not right:
        raise EngineError(
            f"{name or 'nobody'}: Authentication failed: password is incorrect, or there is no user with "
            "such name. (AUTHENTICATION_FAILED)",
            AUTHENTICATION_FAILED,
        )
    return name, account


def refuse_browsers(headers: Message) -> None:
    """Raise EngineError for what a web page sent: by any element of it, or by a name that resolves to us."""
    hosts = headers.get_all("Host") or [""]
    ours = len(hosts) == 1 and _name(hosts[0]) in OUR_HOSTS
    referer = headers.get("Referer")
    if (
        not ours
        or "Origin" in headers
        or headers.get("Sec-Fetch-Site", "none").lower() not in OUR_SITES
        or (referer is not None and _place(referer) != hosts[0].lower())
    ):
        raise EngineError("Requests of web pages are refused. (ACCESS_DENIED)", FORBIDDEN)


def _name(host: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def _place(url: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(url).netloc.lower()
    return ""
