"""push_sender: turns `send` decisions into pushes, at most once each, after a last look at consent.

Per set of decisions: wait until all permissions appended before now are folded (barrier), look at consent
again, commit the attempts (which proves ownership), hand them over while the lease runs, commit outcomes.
An attempt whose outcome got lost is never sent again; when its lease has ended it becomes unknown.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeGuard

from connectors import codec
from connectors.kafka.append import Addressed
from connectors.push.port import Outcome, Push, PushSender
from ledger import facts as f
from ledger.consent import installation_key, token_id
from ledger.definitions import UnknownDefinition
from ledger.ids import derived, push_id
from ledger.policy import Policy
from ledger.reach import NOBODY, Reach, address, late_refusal
from processors.agents import intake
from processors.agents.intake import Accepted, Refused
from processors.agents.reach_rows import Attempt, attempt_key
from processors.agents.tally import tell_outcome, tell_refused
from processors.lane.app import raw_topic
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import DECISIONS, DELIVERIES, TOKENS

log = logging.getLogger(__name__)

ATTEMPTS_MAX: Final = 3
"""How often a push that was never handed over may be attempted anew (the last attempt counts)."""

Barrier = Callable[[int, int, int], Awaitable[bool]]
"""`barrier(partition, permissions_next, tokens_next)`: wait until consent is folded as far as it reaches
now, and both topics as far as the decisions cite them; False if that takes too long."""

AppendAll = Callable[[Sequence[Addressed]], Awaitable[None]]
"""Append outside the transaction; acknowledged when it returns. Raises `Transient`."""

ReachOf = Callable[[bytes, Transaction], Reach | None]
"""The subject's folded consent, as the barrier left it."""


class Policies(Protocol):
    """The policies that decisions cite, by version."""

    async def holds(self, versions: Iterable[str]) -> bool:
        """Whether these are known; False: not yet, ask again. Raises `Transient`."""

    def policy(self, version: str) -> Policy | None:
        """A policy that is known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """How long an attempt may take, and how far clocks of two owners may differ (s)."""

    lease_s: float
    skew_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """A committed attempt that is to be handed over."""

    decision: f.PushDecided
    installation: str
    push: Push
    attempt: int
    at: int
    """When it was attempted, by the clock that decided (ms)."""


class PushSenderHandler:
    """Folds decisions and deliveries' outcomes in one lane."""

    def __init__(
        self,
        sender: PushSender,
        policies: Policies,
        reach_of: ReachOf,
        barrier: Barrier,
        lease: Lease,
        wall_ms: Callable[[], int],
        *,
        leaving: Callable[[], bool] = lambda: False,
        append_all: AppendAll | None = None,
        by_events: bool = False,
        meters: Meters = FORGETFUL,
    ) -> None:
        """`leaving()`: the group rebalances, so consent is folded no further until it is over.

        `append_all`: where dead tokens are told of; None: nowhere (a bounded run, whose inputs are complete).
        `by_events`: outcomes are dated by their attempt, not by when they came in.
        """
        self._sender = sender
        self._policies = policies
        self._reach_of = reach_of
        self._barrier = barrier
        self._lease = lease
        self._wall_ms = wall_ms
        self._leaving = leaving
        self._append_all = append_all
        self._by_events = by_events
        self._meters = meters
        self._lease_started: dict[int, float] = {}

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`; a decision's time is that of the clock that made it, which may be ahead."""
        return intake.read(record, ours=True)

    async def before(self, partition: int, items: Sequence[Accepted | Refused]) -> bool:
        """The read barrier of a set of decisions; the lease of their attempts starts here.

        A set without sends waits for nothing, so it must not renew the lease of one that it shares a
        transaction with.
        """
        sends = [i.fact for i in items if isinstance(i, Accepted) and _is_send(i.fact)]
        if not sends:
            return True
        if not await self._policies.holds({send.policy_version for send in sends}):
            return False
        self._lease_started[partition] = time.monotonic()
        return await self._fold_consent(partition, sends)

    async def _fold_consent(self, partition: int, sends: Sequence[f.PushDecided]) -> bool:
        permissions_next = max(send.permissions_next for send in sends)
        return await self._barrier(partition, permissions_next, max(send.tokens_next for send in sends))

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Attempt the pushes of a `send`; every other decision needs nothing."""
        if isinstance(item, Refused):
            intake.dead_letter(item, transaction)
            tell_refused(item.reason, transaction, self._meters)
            return
        if not _is_send(item.fact):
            return
        for installation in item.fact.installations:
            self._attempt(item.fact, installation, 1, transaction)

    def _attempt(
        self, decision: f.PushDecided, installation: str, attempt: int, transaction: Transaction
    ) -> None:
        key = decision.subject.encode()
        reach = self._reach_of(key, transaction) or NOBODY
        where = installation_key(decision.app, installation)
        name = push_id(decision.decision_id, where)
        policy = self._policies.policy(decision.policy_version)
        if policy is None:
            raise UnknownDefinition(f"policy {decision.policy_version}")
        late = late_refusal(reach, decision, installation, policy, transaction.now)
        to = address(reach, where)
        if late is not None or to is None:
            withheld = f.PushWithheldLate(
                **_envelope("withheld_late", name, decision, installation, transaction.now),
                reason=late or "token",
            )
            transaction.emit(DELIVERIES, key, codec.encode(withheld))
            transaction.put(attempt_key(name), None)
            tell_outcome("withheld_late", transaction, self._meters)
            return
        provider, token = to
        transaction.emit(
            DELIVERIES,
            key,
            codec.encode(
                f.PushAttempted(
                    **_envelope(f"attempted-{attempt}", name, decision, installation, transaction.now),
                    attempt=attempt,
                    provider=provider,
                )
            ),
        )
        ends = self._wall_ms() + int((self._lease.lease_s + self._lease.skew_s) * 1000)
        row = Attempt(name, decision.subject, decision.app, decision.decision_id, installation, attempt, ends)
        transaction.put(attempt_key(name), row)
        push = Push(
            name,
            decision.app,
            provider,
            token,
            decision.title or "",
            decision.body or "",
            expires_at_ms=decision.send_before,
        )
        transaction.effect(Ready(decision, installation, push, attempt, transaction.now))

    async def after(self, partition: int, effects: list[Ready]) -> list[tuple[Ready, Outcome | None]]:
        """Hand committed attempts over; None means: the lease ended before, look again."""
        started = self._lease_started.get(partition, time.monotonic())
        left = started + self._lease.lease_s - time.monotonic()
        if left <= 0:
            self._meters.add(c.LEASE_EXPIRIES, len(effects))
            self._lease_started[partition] = time.monotonic()
            sends = [ready.decision for ready in effects]
            while not await self._fold_consent(partition, sends):
                if self._leaving():
                    # This barrier can't be passed any more, and the whole group waits for us: nothing was
                    # handed over, so nothing will be.
                    return [(dataclasses.replace(ready, attempt=ATTEMPTS_MAX), None) for ready in effects]
                self._lease_started[partition] = time.monotonic()
            return [(ready, None) for ready in effects]
        try:
            async with asyncio.timeout(left):
                outcomes = await self._sender.send([ready.push for ready in effects])
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows what arrived
            log.warning("a set of %d pushes has no outcome: %s", len(effects), type(error).__name__)
            outcomes = [Outcome("unknown", error=type(error).__name__) for _ in effects]
        return list(zip(effects, outcomes, strict=True))

    def conclude(self, result: tuple[Ready, Outcome | None], transaction: Transaction) -> None:
        """Record what became of an attempt, or attempt again what was never handed over."""
        ready, outcome = result
        decision, installation, name = ready.decision, ready.installation, ready.push.push_id
        at = ready.at if self._by_events else transaction.now
        if outcome is None:
            if ready.attempt < ATTEMPTS_MAX:
                self._attempt(decision, installation, ready.attempt + 1, transaction)
                return
            late = f.PushWithheldLate(
                **_envelope("withheld_late", name, decision, installation, at), reason="expired"
            )
            fact: f.DeliveryFact = late
        elif outcome.kind == "accepted":
            fact = f.PushAccepted(
                **_envelope("accepted", name, decision, installation, at),
                provider=ready.push.provider,
            )
        elif outcome.kind == "rejected":
            if outcome.error_class == "token_dead":
                transaction.announce(_dead_token(ready, outcome))
            fact = f.PushRejected(
                **_envelope("rejected", name, decision, installation, at),
                provider=ready.push.provider,
                error_class=outcome.error_class,
                error=outcome.error,
            )
        else:
            fact = f.PushOutcomeUnknown(
                **_envelope("unknown", name, decision, installation, at), reason=outcome.error
            )
        transaction.emit(DELIVERIES, decision.subject.encode(), codec.encode(fact))
        transaction.put(attempt_key(name), None)
        tell_outcome("withheld_late" if outcome is None else outcome.kind, transaction, self._meters)

    async def announce(self, partition: int, dead: Sequence[f.TokenInvalidated]) -> None:
        """Tell tokens of those that died, acknowledged before their outcomes are. Raises `Transient`.

        Outside the transaction, which would hold back the readers of tokens; repeated after a crash, by the
        same event ids. The fold knows whether a token is newer than its death.
        """
        if self._append_all is not None:
            await self._append_all(
                [Addressed(TOKENS, partition, one.subject.encode(), codec.encode(one)) for one in dead]
            )

    def fire(self, key: bytes, row: Any, transaction: Transaction) -> None:
        """The lease of an attempt without outcome has ended: it is unknown, and stays so."""
        if not isinstance(row, Attempt):
            return
        unknown = f.PushOutcomeUnknown(
            event_id=derived("unknown", row.push_id),
            app=row.app,
            occurred_at=transaction.now,
            source="processor",
            subject=row.subject,
            push_id=row.push_id,
            decision_id=row.decision_id,
            installation=row.installation,
            reason="no_outcome_recorded",
        )
        transaction.emit(DELIVERIES, row.subject.encode(), codec.encode(unknown))
        transaction.put(key, None)
        tell_outcome("unknown", transaction, self._meters)
        transaction.once_durable(lambda: self._meters.add(c.LEASE_EXPIRIES))


def push_sender(app: Any, lane: Lane, handler: PushSenderHandler) -> None:
    """Register the agent on `app`; decisions are folded, and pushes handed over, by `lane`."""
    lane.handle(DECISIONS, handler)
    lane.hooks = Hooks(
        fire=handler.fire,
        before=handler.before,
        announce=handler.announce,
        after=handler.after,
        conclude=handler.conclude,
    )

    @app.agent(raw_topic(app, DECISIONS), name="push_sender")  # type: ignore[untyped-decorator]
    async def send(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)


def _is_send(fact: f.SubjectFact) -> TypeGuard[f.PushDecided]:
    return isinstance(fact, f.PushDecided) and fact.verdict == "send"


def _dead_token(ready: Ready, outcome: Outcome) -> f.TokenInvalidated:
    """Dead since the provider's own time, if it told one; else since we attempted."""
    decision, push = ready.decision, ready.push
    since = outcome.gone_since_ms if outcome.gone_since_ms is not None else ready.at
    return f.TokenInvalidated(
        event_id=derived("token_dead", push.push_id),
        app=decision.app,
        occurred_at=min(since, ready.at),
        source="processor:push_sender",
        subject=decision.subject,
        installation=ready.installation,
        token_id=token_id(push.provider, push.token),
        reason=outcome.error,
    )


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
