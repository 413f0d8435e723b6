"""How long FCM finds a push: the bytes of what reaches the app. Needs no vendor's library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.push.port import Push


def payload_bytes(encoded: Mapping[str, Any]) -> int:
    """Bytes of data and notification in a message as FCM gets it."""
    parts = [encoded.get("data"), encoded.get("notification"), encoded.get("android", {}).get("notification")]
    return sum(
        len(name.encode()) + len(str(value).encode())
        for part in parts
        if part
        for name, value in part.items()
    )


def size_of(push: Push) -> int:
    """The same of a push that nobody has built yet."""
    data = {**push.data, "push_id": push.push_id} | ({"link": push.link} if push.link else {})
    if push.background:
        return payload_bytes({"data": data})
    plain = {"title": push.title, "body": push.body, "image": push.image}
    android: dict[str, Any] = {
        "channel_id": push.options.fcm_channel,
        "tag": push.collapse_id or push.push_id,
        "title_loc_key": push.title_key,
        "title_loc_args": list(push.title_args),
        "body_loc_key": push.body_key,
        "body_loc_args": list(push.body_args),
    }
    is_plain = not (push.title_key and push.body_key)
    return payload_bytes(
        {
            "data": data,
            "notification": {name: text for name, text in plain.items() if text and is_plain},
            "android": {"notification": {name: text for name, text in android.items() if text}},
        }
    )
