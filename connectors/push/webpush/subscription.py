"""A browser's subscription, as an app registers it: where to send, and for whom to encrypt.

The address comes from outside and we call it from inside: only push services that were named are called.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import msgspec

from connectors.push.failures import Unsendable

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
        """Read an address; raises `Unsendable` when it is none, or one of an unknown service."""
        try:
            found = msgspec.json.decode(token, type=cls)
            key, secret = (_bytes(one) for one in (found.keys.p256dh, found.keys.auth))
            place = urlsplit(found.endpoint)
            host, port = place.hostname or "", place.port
        except (ValueError, binascii.Error):
            raise Unsendable("BadSubscription: not what a browser gives out") from None
        if (len(key), len(secret)) != (KEY_BYTES, SECRET_BYTES):
            raise Unsendable("BadSubscription: its keys have the wrong length")
        if place.username is not None or not any(_is(host, port, place.scheme, one) for one in services):
            raise Unsendable("UnknownPushService: not one of those named in the credentials")
        return found

    @property
    def origin(self) -> str:
        """The push service, which VAPID signs for."""
        place = urlsplit(self.endpoint)
        return f"{place.scheme}://{place.netloc}"


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is(host: str, port: int | None, scheme: str, service: str) -> bool:
    """Whether an address is one of a service's. A service with a scheme is named whole, for tests."""
    if "://" in service:
        return service == f"{scheme}://{host}" + (f":{port}" if port else "")
    if scheme != "https" or port not in {None, 443}:
        return False
    return host == service or (service.startswith("*.") and host.endswith(service[1:]))
