"""Our signature for push services (RFC 8292): one token for each service, used until it is about to end."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from py_vapid import Vapid

from connectors.errors import Misconfigured
from connectors.push.addresses import PRIVATE_DOMAINS, is_below

VALID_S: Final = 12 * 3_600
"""RFC 8292, section 2: at most 24 hours."""
AHEAD_S: Final = 3_600
ORIGINS_MAX: Final = 256
PRIVATE_BYTES: Final = 32
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_HOST: Final = re.compile(_NAME)
_MAIL: Final = re.compile(rf"mailto:[^\s<>@:/?]+@(?P<host>{_NAME})")


class Signer:
    """Signs with one application server key."""

    def __init__(self, private_key: str, contact: str, wall_ms: Callable[[], int]) -> None:
        """`private_key`: P-256, as PEM or as 32 bytes in base64url; `contact`: mailto: or https: address.

        Raises Misconfigured.
        """
        check_contact(contact)
        try:
            self._key = _read(private_key.strip())
        except Exception as error:  # noqa: BLE001 - whatever a wrong key makes the libraries raise
            raise Misconfigured(
                f"the private key of Web Push can't be read ({type(error).__name__}): it must be a P-256 key"
                " in PEM, or its 32 bytes in base64url"
            ) from None
        self._key.conf["no-strict"] = True  # its own check takes no https: address with a path
        self._contact = contact
        self._wall_ms = wall_ms
        self._signed: dict[str, tuple[int, str]] = {}

    def header(self, origin: str) -> str:
        """The authorization header for a push service."""
        now_s = self._wall_ms() // 1_000
        ends_s, header = self._signed.get(origin, (0, ""))
        if ends_s - now_s < AHEAD_S:
            if len(self._signed) >= ORIGINS_MAX:
                self._signed.clear()
            ends_s = now_s + VALID_S
            claims = {"aud": origin, "exp": ends_s, "sub": self._contact}
            header = str(self._key.sign(claims)["Authorization"])
            self._signed[origin] = ends_s, header
        return header


def check_contact(contact: str) -> None:
    """Raise Misconfigured for a contact that push services do not take: they want to reach a person by it."""
    host = _host(contact)
    if host is None:
        what = "must be an address such as mailto:push@YOUR-DOMAIN or https://YOUR-DOMAIN/contact (RFC 8292)"
        raise Misconfigured(f"the contact of Web Push {what}")
    if is_below(host, PRIVATE_DOMAINS) or "." not in host or host.rpartition(".")[2].isdigit():
        what = "is at a host that nobody outside can reach, for which push services refuse every push"
        raise Misconfigured(f"the contact of Web Push {what}: name one of a public domain of yours")


def _host(contact: str) -> str | None:
    """The host of a mailto: or https: address; None if it is none of both."""
    if (mail := _MAIL.fullmatch(contact)) is not None:
        return mail["host"]
    try:
        place = urlsplit(contact)
    except ValueError:
        return None
    if place.scheme != "https" or place.username is not None or not _HOST.fullmatch(place.hostname or ""):
        return None
    return place.hostname


def _read(private_key: str) -> Vapid:
    if "-----BEGIN" in private_key:
        return Vapid.from_pem(private_key.encode())
    raw = base64.urlsafe_b64decode(private_key + "=" * (-len(private_key) % 4))
    if len(raw) != PRIVATE_BYTES:
        raise ValueError("too short or too long")
    return Vapid.from_raw(private_key.encode())
