"""What is sent to FCM for a push, built and checked by firebase-admin.

Source: Firebase, "REST Resource: projects.messages".
"""

from __future__ import annotations

import json
from typing import Any, Final

from firebase_admin import messaging

from connectors.push.addresses import check_token
from connectors.push.failures import Unsendable, utf8
from connectors.push.fcm.size import payload_bytes
from connectors.push.limits import FCM_PAYLOAD_BYTES_MAX, FCM_RESERVED
from connectors.push.port import Push

TTL_S_MAX: Final = 28 * 86_400
RESERVED: Final = FCM_RESERVED

_encoder: Final = messaging._MessagingService.JSON_ENCODER  # noqa: SLF001 - the only way to build without sending


def message_of(push: Push, now_ms: int) -> messaging.Message:
    """The message, in firebase-admin's classes."""
    data = {**push.data, "push_id": push.push_id}
    if push.link:
        data["link"] = push.link
    message = messaging.Message(data=data, android=_android(push, now_ms))
    if not push.background and not (push.title_key and push.body_key):
        message.notification = messaging.Notification(
            title=push.title or None, body=push.body or None, image=push.image or None
        )
    # Its constructor warns that registration tokens will give way to installation ids; apps have tokens yet.
    message.token = push.token
    return message


def body_of(push: Push, now_ms: int) -> bytes:
    """The request's body; raises `Unsendable` or `Undeliverable` for what FCM would not take."""
    check_token("fcm", push.token)
    if any(map(RESERVED.fullmatch, push.data)):
        raise Unsendable("InvalidArgument: a name of data is reserved by FCM")
    try:
        encoded: dict[str, Any] = _encoder.default(message_of(push, now_ms))
    except ValueError as error:
        # The words of firebase-admin name fields; what is in them could be a person's.
        raise Unsendable(f"InvalidArgument: {type(error).__name__}") from None
    body = utf8(json.dumps({"message": encoded}, ensure_ascii=False, separators=(",", ":")))
    if (length := payload_bytes(encoded)) > FCM_PAYLOAD_BYTES_MAX:
        raise Unsendable(f"PayloadTooLarge: {length} bytes, FCM takes {FCM_PAYLOAD_BYTES_MAX}")
    return body


def _android(push: Push, now_ms: int) -> messaging.AndroidConfig:
    config = messaging.AndroidConfig(
        collapse_key=push.collapse_id or push.push_id,
        priority="normal" if push.background else "high",
    )
    if push.expires_at_ms is not None:
        config.ttl = min(TTL_S_MAX, max(0, (push.expires_at_ms - now_ms) // 1_000))
    if not push.background:
        config.notification = messaging.AndroidNotification(
            channel_id=push.options.fcm_channel or None,
            tag=push.collapse_id or push.push_id,
            title_loc_key=push.title_key or None,
            title_loc_args=list(push.title_args) or None,
            body_loc_key=push.body_key or None,
            body_loc_args=list(push.body_args) or None,
        )
    return config
