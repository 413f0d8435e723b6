"""A browser's subscription, as an app registers it: where to send, and for whom to encrypt.

The address comes from outside and we call it from inside: only push services that were named are called.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import msgspec

from connectors.push.addresses import RESERVED_DOMAINS, is_below
from connectors.push.failures import Undeliverable, UnlistedService

SERVICES: Final = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)
"""Push services of today's browsers; `*.` stands for any name below."""
KEY_BYTES, SECRET_BYTES = 65, 16


class _Keys(msgspec.Struct):
    p256dh: Annotated[str, msgspec.Meta(max_length=256)]
    auth: Annotated[str, msgspec.Meta(max_length=64)]


class Subscription(msgspec.Struct):
    """What `PushSubscription.toJSON()` gives."""

    endpoint: Annotated[str, msgspec.Meta(max_length=2_048)]
    keys: _Keys

    @classmethod
    def read(cls, token: str, services: tuple[str, ...]) -> Self:
        """Read an address; raises `Undeliverable` when it is none, and `UnlistedService`."""
        try:
            found = msgspec.json.decode(token, type=cls)
            key, secret = (_bytes(one) for one in (found.keys.p256dh, found.keys.auth))
            place = urlsplit(found.endpoint)
            host, port = place.hostname or "", place.port
        except (ValueError, binascii.Error):
            raise Undeliverable("BadSubscription: not what a browser gives out") from None
        if (len(key), len(secret)) != (KEY_BYTES, SECRET_BYTES):
            raise Undeliverable("BadSubscription: its keys have the wrong length")
        if place.username is not None or not host:
            raise Undeliverable("BadSubscription: its endpoint is no address of a push service")
        if any(_is(host, port, place.scheme, one) for one in services):
            return found
        if is_below(host, RESERVED_DOMAINS):
            raise Undeliverable("BadSubscription: its endpoint is under a domain that is nobody's")
        raise UnlistedService("UnlistedService: not one of the push services named in the credentials")

    @property
    def origin(self) -> str:
        """The push service, which VAPID signs for."""
        place = urlsplit(self.endpoint)
        return f"{place.scheme}://{place.netloc}"


class _Endpoint(msgspec.Struct):
    endpoint: str


_endpoint: Final = msgspec.json.Decoder(_Endpoint)


def service_of(token: str, services: tuple[str, ...]) -> str:
    """Which of these services an address is one of; empty: of none. Total."""
    try:
        place = urlsplit(_endpoint.decode(token).endpoint)
        host, port = place.hostname or "", place.port
    except (ValueError, RecursionError):
        return ""
    return next((one for one in services if _is(host, port, place.scheme, one)), "")


def _bytes(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def _is(host: str, port: int | None, scheme: str, service: str) -> bool:
    """Whether an address is one of a service's. A service with a scheme is named whole, for tests."""
    if "://" in service:
        return service == f"{scheme}://{host}" + (f":{port}" if port else "")
    if scheme != "https" or port not in {None, 443}:
        return False
    return host == service or (service.startswith("*.") and host.endswith(service[1:]))
