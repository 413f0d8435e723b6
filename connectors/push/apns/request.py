"""What is sent to APNs for a push: the headers and the JSON body.

Source: Apple, "Sending notification requests to APNs" and "Generating a remote notification".
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

from connectors.push.failures import Undeliverable, Unsendable, utf8
from connectors.push.limits import APNS_BODY_BYTES_MAX, APNS_COLLAPSE_BYTES_MAX
from connectors.push.port import Push

TOKEN_LENGTH_MAX: Final = 1_000
"""Apple names no length; tokens of today have 64 to some 200 characters."""
TOKEN: Final = re.compile(rf"[0-9A-Fa-f]{{1,{TOKEN_LENGTH_MAX}}}")

Headers = list[tuple[bytes, bytes]]


def json_of(push: Push) -> bytes:
    """The JSON body, however long it is."""
    own: dict[str, Any] = {**push.data, "push_id": push.push_id}
    if push.link:
        own["link"] = push.link
    if push.image:
        own["image"] = push.image
    aps = {"content-available": 1} if push.background else _shown(push)
    return utf8(json.dumps({**own, "aps": aps}, ensure_ascii=False, separators=(",", ":")))


def body_of(push: Push) -> bytes:
    """The JSON body; raises `Unsendable` when it is longer than APNs takes."""
    body = json_of(push)
    if len(body) > APNS_BODY_BYTES_MAX:
        raise Unsendable(f"PayloadTooLarge: {len(body)} bytes, APNs takes {APNS_BODY_BYTES_MAX}")
    return body


def headers_of(push: Push, host: bytes, topic: bytes, authorization: bytes) -> Headers:
    """The request's headers; raises `Unsendable` or `Undeliverable` when one would not do."""
    if not TOKEN.fullmatch(push.token):
        # APNs ends the connection for a header of that size, and with it what others have on their way.
        raise Undeliverable(f"BadDeviceToken: not at most {TOKEN_LENGTH_MAX} hexadecimal digits")
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", host),
        (b":path", b"/3/device/" + push.token.encode()),
        (b"authorization", authorization),
        (b"apns-topic", topic),
        (b"apns-push-type", b"background" if push.background else b"alert"),
        (b"apns-priority", b"5" if push.background or push.options.apns_level == "passive" else b"10"),
        (b"apns-id", push.push_id.encode()),
        (b"apns-collapse-id", collapse_id(push)),
    ]
    if push.expires_at_ms is not None:
        headers.append((b"apns-expiration", str(push.expires_at_ms // 1_000).encode()))
    return headers


def collapse_id(push: Push) -> bytes:
    """The collapse id; of one that is longer than APNs takes a digest, so that equal ids stay equal."""
    whole = utf8(push.collapse_id or push.push_id)
    return whole if len(whole) <= APNS_COLLAPSE_BYTES_MAX else hashlib.sha256(whole).hexdigest().encode()


def _shown(push: Push) -> dict[str, Any]:
    options = push.options
    alert: dict[str, Any] = {}
    for word, text, key, args in (
        ("title", push.title, push.title_key, push.title_args),
        ("body", push.body, push.body_key, push.body_args),
    ):
        if key:
            prefix = "title-loc" if word == "title" else "loc"
            alert[f"{prefix}-key"] = key
            if args:
                alert[f"{prefix}-args"] = list(args)
        elif text:
            alert[word] = text
    aps: dict[str, Any] = {"alert": alert}
    if options.apns_sound:
        aps["sound"] = options.apns_sound
    if options.apns_category:
        aps["category"] = options.apns_category
    if options.apns_thread:
        aps["thread-id"] = options.apns_thread
    if options.apns_level != "active":
        aps["interruption-level"] = options.apns_level
    if options.apns_relevance is not None:
        aps["relevance-score"] = options.apns_relevance
    if push.image:
        aps["mutable-content"] = 1
    return aps
