"""What an answer of FCM means for the push, its token and our credential.

Source: Firebase, "ErrorCode" of the v1 API and "Handle message delivery errors".
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from connectors.push.faults import Fault, refused
from connectors.push.http_call import Reply
from connectors.push.port import ACCEPTED, Outcome

OK, SERVER_ERROR = 200, 500
QUOTA_WAIT_S: Final = 60.0
"""FCM: where a refusal over quota names no time, wait a minute."""

FAULTS: Final[dict[str, Fault]] = {
    "UNREGISTERED": Fault.ADDRESS,
    "SENDER_ID_MISMATCH": Fault.FOREIGN,
    "NOT_FOUND": Fault.SUSPECT,
    "APNS_AUTH_ERROR": Fault.CREDENTIAL,
    "PERMISSION_DENIED": Fault.CREDENTIAL,
    "THIRD_PARTY_AUTH_ERROR": Fault.CREDENTIAL,
    "UNAUTHENTICATED": Fault.CREDENTIAL,
    "INTERNAL": Fault.PROVIDER,
    "QUOTA_EXCEEDED": Fault.PROVIDER,
    "RESOURCE_EXHAUSTED": Fault.PROVIDER,
    "UNAVAILABLE": Fault.PROVIDER,
    "INVALID_ARGUMENT": Fault.MESSAGE,
}
"""By FCM's error code in an answer's details, else by the general one beside its status. A project that does
not exist (any more) answers NOT_FOUND to every push, one that exists for a token that it does not know."""
OF_TOKEN: Final = Fault.FOREIGN
"""INVALID_ARGUMENT where the field or, without one, the message says that it is the token."""
OF_DEVICE: Final = Fault.BUSY_ADDRESS
"""QUOTA_EXCEEDED where the quota that is named, or the message, is of one device and not of the project."""
DEVICE: Final = "device"
FIELD: Final = "message.token"
WORDS: Final = ("registration token", FIELD)
BY_STATUS: Final[dict[int, Fault]] = {
    401: Fault.CREDENTIAL,
    403: Fault.CREDENTIAL,
    404: Fault.CREDENTIAL,
    429: Fault.PROVIDER,
}
"""Where an answer has no code that is known."""


class Said(NamedTuple):
    """What a refusal says: a code, the field or the quota that it complains about, and words for people."""

    code: str = ""
    field: str = ""
    message: str = ""
    quota: str = ""


def outcome_of(reply: Reply, *, proven: bool) -> Outcome:
    """The outcome of a push that was answered. `proven`: see `faults.refused`."""
    if reply.status == OK:
        return ACCEPTED
    said = _said(reply.body)
    retry_after_s = reply.retry_after_s
    if said.code == "QUOTA_EXCEEDED" and retry_after_s is None:
        retry_after_s = QUOTA_WAIT_S
    error = said.code or f"status {reply.status}"
    return refused(fault_of(reply.status, said), error, proven=proven, retry_after_s=retry_after_s)


def fault_of(status: int, said: Said) -> Fault:
    """Whose fault a refusal is. Total."""
    if said.code == "INVALID_ARGUMENT" and _is_of_token(said):
        return OF_TOKEN
    if said.code == "QUOTA_EXCEEDED" and DEVICE in (said.quota or said.message).lower():
        return OF_DEVICE
    otherwise = Fault.PROVIDER if status >= SERVER_ERROR else Fault.MESSAGE
    return FAULTS.get(said.code) or BY_STATUS.get(status, otherwise)


def _is_of_token(said: Said) -> bool:
    if said.field:
        return said.field == FIELD
    return any(words in said.message.lower() for words in WORDS)


def _said(body: bytes) -> Said:
    try:
        error: Any = json.loads(body)["error"]
        details = [one for one in error.get("details", ()) if isinstance(one, dict)]
        code = next((one["errorCode"] for one in details if "errorCode" in one), error.get("status", ""))
        violations = [field for one in details for field in one.get("fieldViolations", ())]
        field = violations[0].get("field", "") if violations else ""
        quotas = [one for detail in details for one in detail.get("violations", ())]
        quota = " ".join(f"{one.get('subject', '')} {one.get('description', '')}" for one in quotas)
        return Said(str(code), str(field), str(error.get("message", "")), quota.strip())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Said()
