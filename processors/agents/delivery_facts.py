"""What push_sender writes about a push, as values: attempts, outcomes, dead tokens; and what it works on."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from connectors.push.port import Outcome, Push
from ledger import facts as f
from ledger.consent import token_id
from ledger.ids import derived
from ledger.token_loss import Interval, cause
from processors.agents.reach_rows import Attempt, Worked


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """How long an attempt may take, and how far clocks of two owners may differ (s)."""

    lease_s: float
    skew_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """What there was of a push before an attempt."""

    tries: int = 0
    """How often it was handed over."""
    misses: int = 0
    """How often its lease ended before it could be handed over, in a row."""
    unknowns: int = 0
    """How many of these tries may have been taken."""


FRESH: Final = Past()


@dataclasses.dataclass(frozen=True, slots=True)
class Handed:
    """What was, or is to be, handed over to whose address; `at`: when it was begun (ms)."""

    subject: str
    app: str
    installation: str
    push: Push
    at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """A committed attempt that is to be handed over."""

    decision: f.PushDecided
    installation: str
    push: Push
    attempt: int
    at: int
    """When it was attempted, by the clock that decided (ms)."""
    begun_s: float
    """When its lease began (monotonic s), which is before its last look at consent."""
    past: Past = FRESH

    @property
    def handed(self) -> Handed:
        """To whose address it goes."""
        return Handed(self.decision.subject, self.decision.app, self.installation, self.push, self.at)


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """An address that is to be probed; consent must be looked at first."""

    noted: Worked


@dataclasses.dataclass(frozen=True, slots=True)
class Probing:
    """A silent push that asks whether an address still works. `begun_s`: when its lease began."""

    handed: Handed
    begun_s: float

    @property
    def push(self) -> Push:
        """What is handed over."""
        return self.handed.push


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """A push whose time to be tried again has come; consent must be looked at again first."""

    decision: f.PushDecided
    row: Attempt


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """What became of a hand-over."""

    ready: Ready | Probing
    outcome: Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class LookedAgain:
    """Consent was looked at again, for what is due or whose lease had ended; nothing was handed over.

    `begun_s`: when the new lease began (monotonic s); None: consent can't be looked at any more.
    """

    what: Ready | Due | Probe | Probing
    begun_s: float | None


def attempted(
    push: str, decision: f.PushDecided, installation: str, number: int, provider: str, now: int
) -> f.PushAttempted:
    """We are about to hand it over, for the `number`th time."""
    about = _envelope(f"attempted-{number}", push, decision, installation, now)
    return f.PushAttempted(**about, attempt=number, provider=provider)


def withheld_late(
    push: str,
    decision: f.PushDecided,
    installation: str,
    reason: str,
    now: int,
    past: Past,
    passed_to: str | None = None,
) -> f.DeliveryFact:
    """The last look said no. Of a push that may have been taken before, nobody can say that it was not.

    `passed_to`: the installation that the decision goes to instead.
    """
    if past.unknowns:
        return _unknown(push, decision, installation, reason, now)
    about = _envelope("withheld_late", push, decision, installation, now)
    return f.PushWithheldLate(**about, reason=reason, next_installation=passed_to)


def outcome_fact(ready: Ready, outcome: Outcome, now: int, passed_to: str | None = None) -> f.DeliveryFact:
    """What became of a hand-over; a refusal says nothing of earlier tries that nobody knows about.

    `passed_to`: the installation that the decision goes to instead.
    """
    push, provider = ready.push.push_id, ready.push.provider

    def about(kind: str) -> dict[str, Any]:
        return _envelope(kind, push, ready.decision, ready.installation, now)

    if outcome.kind == "accepted":
        return f.PushAccepted(**about("accepted"), provider=provider)
    if outcome.kind == "rejected" and not ready.past.unknowns:
        return f.PushRejected(
            **about("rejected"),
            provider=provider,
            error_class=outcome.error_class,
            error=outcome.error,
            next_installation=passed_to,
        )
    return _unknown(push, ready.decision, ready.installation, outcome.error, now)


def never_known(row: Attempt, now: int) -> f.PushOutcomeUnknown:
    """The lease of an attempt has ended without an outcome."""
    return f.PushOutcomeUnknown(
        event_id=derived("unknown", row.push_id),
        app=row.app,
        occurred_at=now,
        source="processor",
        subject=row.subject,
        push_id=row.push_id,
        decision_id=row.decision_id,
        installation=row.installation,
        reason="no_outcome_recorded",
    )


def dead_token(handed: Handed, outcome: Outcome, found: Interval) -> f.TokenInvalidated:
    """An address died; `found`: between which times."""
    push = handed.push
    return f.TokenInvalidated(
        event_id=derived("token_dead", push.push_id),
        app=handed.app,
        occurred_at=found.first_seen_gone,
        source="processor:push_sender",
        subject=handed.subject,
        installation=handed.installation,
        token_id=token_id(push.provider, push.token),
        reason=outcome.error,
        cause=cause(push.provider, outcome.error, found),
        last_seen_ok=found.last_seen_ok,
        first_seen_gone=found.first_seen_gone,
    )


def _unknown(
    push: str, decision: f.PushDecided, installation: str, reason: str, now: int
) -> f.PushOutcomeUnknown:
    about = _envelope("unknown", push, decision, installation, now)
    return f.PushOutcomeUnknown(**about, reason=reason)


def _envelope(kind: str, push: str, decision: f.PushDecided, installation: str, now: int) -> dict[str, Any]:
    return {
        "event_id": derived(kind, push),
        "app": decision.app,
        "occurred_at": now,
        "source": "processor",
        "subject": decision.subject,
        "push_id": push,
        "decision_id": decision.decision_id,
        "installation": installation,
    }
