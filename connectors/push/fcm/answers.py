"""What an answer of FCM means for the push, its token and our credential.

Source: Firebase, "ErrorCode" of the v1 API and "Handle message delivery errors".
"""

from __future__ import annotations

import json
from typing import Any, Final

from connectors.push.http_call import Reply
from connectors.push.port import ACCEPTED, ErrorClass, Outcome

OK, BAD_REQUEST, NOT_FOUND, TOO_MANY, SERVER_ERROR = 200, 400, 404, 429, 500
CREDENTIAL_STATUS: Final = frozenset({401, 403})
QUOTA_WAIT_S: Final = 60.0
"""FCM: where a refusal over quota names no time, wait a minute."""

CLASSES: Final[dict[str, ErrorClass]] = {
    "UNREGISTERED": "token_dead",
    "QUOTA_EXCEEDED": "transient",
    "UNAVAILABLE": "transient",
    "INTERNAL": "transient",
    "THIRD_PARTY_AUTH_ERROR": "credential",
    "APNS_AUTH_ERROR": "credential",
}
"""By the error code in an answer's details, where it is enough."""


def outcome_of(reply: Reply, *, proven: bool) -> Outcome:
    """The outcome of a push that was answered.

    `proven`: the credential has had a push accepted. Until then a token of another sender may be right, and
    our project wrong; so it is the credential's fault and no token is touched.
    """
    if reply.status == OK:
        return ACCEPTED
    code, field = _told(reply.body)
    retry_after_s = reply.retry_after_s
    if code == "QUOTA_EXCEEDED" and retry_after_s is None:
        retry_after_s = QUOTA_WAIT_S
    error = code or f"status {reply.status}"
    return Outcome("rejected", _class_of(reply.status, code, field, proven), error, None, retry_after_s)


def _class_of(status: int, code: str, field: str, proven: bool) -> ErrorClass:
    if code in CLASSES:
        return CLASSES[code]
    foreign = code == "SENDER_ID_MISMATCH" or (code == "INVALID_ARGUMENT" and field == "message.token")
    if foreign:
        return "token_dead" if proven else "credential"
    if status in CREDENTIAL_STATUS or status == NOT_FOUND:
        # 404 without UNREGISTERED: there is no such project.
        return "credential"
    if status == TOO_MANY or status >= SERVER_ERROR:
        return "transient"
    return "payload"


def _told(body: bytes) -> tuple[str, str]:
    """(FCM's error code, or the general one; the field that it complains about)."""
    try:
        error: Any = json.loads(body)["error"]
        details = [one for one in error.get("details", ()) if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    code = next((one["errorCode"] for one in details if "errorCode" in one), error.get("status", ""))
    violations = [field for one in details for field in one.get("fieldViolations", ())]
    return str(code), str(violations[0].get("field", "")) if violations else ""
