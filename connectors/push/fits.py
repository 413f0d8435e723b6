"""Says which providers a push is too long for, without sending it and without their libraries."""

from __future__ import annotations

from typing import NamedTuple

from connectors.push.apns.request import json_of
from connectors.push.fcm.size import size_of
from connectors.push.limits import APNS_BODY_BYTES_MAX, FCM_PAYLOAD_BYTES_MAX, WEB_PLAIN_BYTES_MAX
from connectors.push.port import Push
from connectors.push.webpush.message import plain_of


class TooLong(NamedTuple):
    """A provider that does not take a push of so many bytes, but of `most`."""

    provider: str
    length: int
    most: int


def too_long(push: Push) -> list[TooLong]:
    """Each provider that the push is too long for."""
    found = (
        TooLong("APNs", len(json_of(push)), APNS_BODY_BYTES_MAX),
        TooLong("FCM", size_of(push), FCM_PAYLOAD_BYTES_MAX),
        TooLong("Web Push", len(plain_of(push)), WEB_PLAIN_BYTES_MAX),
    )
    return [one for one in found if one.length > one.most]
