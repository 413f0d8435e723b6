"""What an answer of APNs means for the push, its token and our credential.

Source: Apple, "Handling notification responses from APNs".
"""

from __future__ import annotations

import dataclasses
from typing import Final

from connectors.push.faults import Fault, refused
from connectors.push.port import ACCEPTED, Outcome

OK: Final = 200
FAULTS: Final[dict[str, Fault]] = {
    "Unregistered": Fault.ADDRESS,
    "ExpiredToken": Fault.ADDRESS,
    "MissingDeviceToken": Fault.ADDRESS,
    "BadDeviceToken": Fault.FOREIGN,
    "BadPath": Fault.FOREIGN,
    "DeviceTokenNotForTopic": Fault.FOREIGN,
    "TooManyRequests": Fault.BUSY_ADDRESS,
    "BadCertificate": Fault.CREDENTIAL,
    "BadCertificateEnvironment": Fault.CREDENTIAL,
    "BadEnvironmentKeyIdInToken": Fault.CREDENTIAL,
    "BadTopic": Fault.CREDENTIAL,
    "ExpiredProviderToken": Fault.CREDENTIAL,
    "Forbidden": Fault.CREDENTIAL,
    "InvalidProviderToken": Fault.CREDENTIAL,
    "MissingProviderToken": Fault.CREDENTIAL,
    "MissingTopic": Fault.CREDENTIAL,
    "TooManyProviderTokenUpdates": Fault.CREDENTIAL,
    "TopicDisallowed": Fault.CREDENTIAL,
    "UnrelatedKeyIdInToken": Fault.CREDENTIAL,
    "IdleTimeout": Fault.PROVIDER,
    "InternalServerError": Fault.PROVIDER,
    "ServiceUnavailable": Fault.PROVIDER,
    "Shutdown": Fault.PROVIDER,
    "BadCollapseId": Fault.MESSAGE,
    "BadExpirationDate": Fault.MESSAGE,
    "BadMessageId": Fault.MESSAGE,
    "BadPriority": Fault.MESSAGE,
    "DuplicateHeaders": Fault.MESSAGE,
    "InvalidPushType": Fault.MESSAGE,
    "MethodNotAllowed": Fault.MESSAGE,
    "PayloadEmpty": Fault.MESSAGE,
    "PayloadTooLarge": Fault.MESSAGE,
}
"""By the reason that an answer names. `TooManyRequests` is about one device's token, by Apple's words."""
BY_STATUS: Final[dict[int, Fault]] = {
    403: Fault.CREDENTIAL,
    410: Fault.ADDRESS,
    429: Fault.PROVIDER,
}
"""Where its reason is not known."""
SERVER_ERROR = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. `timestamp_ms`: since when the token is dead, where APNs says so."""

    status: int
    reason: str = ""
    timestamp_ms: int | None = None
    retry_after_s: float | None = None


def outcome_of(answer: Answer, *, proven: bool) -> Outcome:
    """The outcome of a push that was answered. `proven`: see `faults.refused`."""
    if answer.status == OK:
        return ACCEPTED
    outcome = refused(
        fault_of(answer.status, answer.reason),
        answer.reason or f"status {answer.status}",
        proven=proven,
        retry_after_s=answer.retry_after_s,
    )
    return dataclasses.replace(outcome, gone_since_ms=answer.timestamp_ms)


def fault_of(status: int, reason: str) -> Fault:
    """Whose fault a refusal is. Total."""
    otherwise = Fault.PROVIDER if status >= SERVER_ERROR else Fault.MESSAGE
    return FAULTS.get(reason) or BY_STATUS.get(status, otherwise)
