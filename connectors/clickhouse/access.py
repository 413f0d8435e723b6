"""Who may use the embedded ClickHouse: users with passwords, readers, and never a web page."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Final

from connectors.clickhouse.engine import EngineError
from connectors.loopback import HOST

AUTHENTICATION_FAILED: Final = 516
FORBIDDEN: Final = 291
OUR_HOSTS: Final = frozenset({HOST, "localhost"})


@dataclass(frozen=True, slots=True)
class Access:
    """Passwords by user (none: everybody may come, without a password), and who may only read."""

    users: Mapping[str, str] = field(default_factory=dict)
    readers: frozenset[str] = frozenset()

    def authenticate(self, headers: Message, parameters: Mapping[str, str]) -> str:
        """The user of a request: Basic, ClickHouse's own headers, or the URL; raises EngineError."""
        name = headers.get("X-ClickHouse-User", parameters.get("user", "default"))
        password = headers.get("X-ClickHouse-Key", parameters.get("password", ""))
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                name, _, password = base64.b64decode(token).decode().partition(":")
        expected = self.users.get(name, "").encode()
        right = hmac.compare_digest(expected, password.encode())
        if self.users and not (name in self.users and right):
            raise EngineError(
                f"{name}: Authentication failed: password is incorrect, or there is no user with such "
                "name. (AUTHENTICATION_FAILED)",
                AUTHENTICATION_FAILED,
            )
        return name


def refuse_browsers(headers: Message) -> None:
    """Raise EngineError for what a web page sent: by a form, or by a name that resolves to us."""
    host = headers.get("Host", HOST)
    name = host.rpartition(":")[0] or host
    if "Origin" in headers or name not in OUR_HOSTS:
        raise EngineError("Requests of web pages are refused. (ACCESS_DENIED)", FORBIDDEN)
