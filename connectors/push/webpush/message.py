"""What a browser's service worker gets of a push, before it is encrypted. Needs no vendor's library."""

from __future__ import annotations

import json
from typing import Any

from connectors.push.failures import Unsendable, utf8
from connectors.push.limits import WEB_PLAIN_BYTES_MAX
from connectors.push.port import Push


def plain_of(push: Push) -> bytes:
    """The JSON that is encrypted, however long it is."""
    said: dict[str, Any] = {"push_id": push.push_id, "data": dict(push.data)}
    if not push.background:
        options = {"title": push.title, "body": push.body, "link": push.link, "image": push.image}
        said |= {name: text for name, text in options.items() if text}
        said["tag"] = push.collapse_id or push.push_id
    return utf8(json.dumps(said, ensure_ascii=False, separators=(",", ":")))


def shown(push: Push) -> bytes:
    """What the service worker gets; raises `Unsendable` when it is too long."""
    plain = plain_of(push)
    if len(plain) > WEB_PLAIN_BYTES_MAX:
        raise Unsendable(f"PayloadTooLarge: {len(plain)} bytes, Web Push takes {WEB_PLAIN_BYTES_MAX}")
    return plain
