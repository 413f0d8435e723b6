"""What an answer of APNs means for the push, its token and our credential.

Source: Apple, "Handling notification responses from APNs".
"""

from __future__ import annotations

import dataclasses
from typing import Final

from connectors.push.port import ACCEPTED, ErrorClass, Outcome

OK: Final = 200
GONE: Final = frozenset({"Unregistered", "ExpiredToken"})
"""The device no longer has the app, since the answer's timestamp."""
NOT_OURS: Final = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})
"""A token that is wrong here; or all are, because we name the wrong environment or topic."""
CREDENTIAL: Final = frozenset(
    {
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadEnvironmentKeyIdInToken",
        "BadTopic",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "MissingTopic",
        "TooManyProviderTokenUpdates",
        "TopicDisallowed",
        "UnrelatedKeyIdInToken",
    }
)
TRANSIENT: Final = frozenset(
    {"IdleTimeout", "InternalServerError", "ServiceUnavailable", "Shutdown", "TooManyRequests"}
)
FORBIDDEN, TOO_MANY, GONE_STATUS, SERVER_ERROR = 403, 429, 410, 500


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. `timestamp_ms`: since when the token is dead, where APNs says so."""

    status: int
    reason: str = ""
    timestamp_ms: int | None = None
    retry_after_s: float | None = None


def outcome_of(answer: Answer, *, proven: bool) -> Outcome:
    """The outcome of a push that was answered.

    `proven`: the credential has had a push accepted. Until then a token that is "not ours" may be right, and
    our environment or topic wrong; so it is the credential's fault and no token is touched.
    """
    if answer.status == OK:
        return ACCEPTED
    return Outcome(
        "rejected",
        _class_of(answer.status, answer.reason, proven),
        answer.reason or f"status {answer.status}",
        gone_since_ms=answer.timestamp_ms,
        retry_after_s=answer.retry_after_s,
    )


def _class_of(status: int, reason: str, proven: bool) -> ErrorClass:
    if reason in GONE or status == GONE_STATUS:
        return "token_dead"
    if reason in NOT_OURS:
        return "token_dead" if proven else "credential"
    if reason in CREDENTIAL or status == FORBIDDEN:
        return "credential"
    if reason in TRANSIENT or status == TOO_MANY or status >= SERVER_ERROR:
        return "transient"
    return "payload"
