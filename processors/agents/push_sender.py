"""push_sender: turns `send` decisions into pushes, at most once each, after a last look at consent.

Per set of decisions: wait until all permissions appended before now are folded (barrier), look at consent
again, commit the attempts (which proves ownership), hand them over beside the lane while the lease runs (who
hangs holds up no other provider), commit outcomes. One that got lost is unknown when the lease has ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeGuard

import msgspec

from connectors import codec
from connectors.kafka.append import Addressed
from connectors.push.port import Outcome, Push, PushSender
from connectors.push.shown import fields_of
from connectors.time_zones import zone_table
from ledger import facts as f
from ledger import retry
from ledger.consent import installation_key
from ledger.definitions import UnknownDefinition
from ledger.ids import push_id
from ledger.next_installation import next_installation
from ledger.reach import NOBODY, Reach, address, late_refusal
from processors.agents import failed_sends, intake
from processors.agents.address_life import AddressLife
from processors.agents.delivery_facts import (
    FRESH,
    Answered,
    Due,
    Lease,
    LookedAgain,
    Past,
    Probe,
    Probing,
    Ready,
    attempted,
    never_known,
    outcome_fact,
    withheld_late,
)
from processors.agents.failed_steps import FAILED, UNKNOWN_DEFINITION, put_record_aside
from processors.agents.hand_over import Barrier, Effect, HandOver, Policies, kind_of
from processors.agents.intake import Accepted, Refused
from processors.agents.reach_rows import Attempt, Worked, attempt_key
from processors.agents.tally import tell_outcome, tell_refused
from processors.lane.app import raw_topic
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import DECISIONS, DELIVERIES, TOKENS

ATTEMPTS_MAX: Final = 3
"""How often a push that was never handed over may be attempted anew (the last attempt counts)."""

PASSED_ON: Final = frozenset({"token_dead", "unlisted_service"})
"""Classes of refusal for the address's sake: surely nobody was shown anything, and another one may work."""

WORDS: Final[dict[type[f.DeliveryFact], str]] = {
    f.PushAccepted: "accepted",
    f.PushRejected: "rejected",
    f.PushOutcomeUnknown: "unknown",
    f.PushWithheldLate: "withheld_late",
}
"""Outcomes as metrics call them."""

AppendAll = Callable[[Sequence[Addressed]], Awaitable[None]]
"""Append outside the transaction; acknowledged when it returns. Raises `Transient`."""

ReachOf = Callable[[bytes, Transaction], Reach | None]
"""The subject's folded consent, as the barrier left it."""


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
        retry_ms: int = 10_000,
        by_events: bool = False,
        prober: PushSender | None = None,
        probes_max: int = 0,
        meters: Meters = FORGETFUL,
    ) -> None:
        """`retry_ms`: the first wait of a push that was not taken; see `ledger.retry`.

        `leaving()`: the group rebalances, so consent is folded no further until it is over.

        `append_all`: where dead tokens are told of; None: nowhere (a bounded run, whose inputs are complete).
        `by_events`: outcomes are dated by their attempt, not by when they came in.
        `prober`: hands `probes_max` silent probes over at once; None: there are none.
        """
        self._hand_over = HandOver(sender, policies, barrier, lease, leaving, meters, prober)
        self._addresses = AddressLife(0 if prober is None else probes_max)
        self._policies = policies
        self._reach_of = reach_of
        self._lease = lease
        self._retry_ms = retry_ms
        self._wall_ms = wall_ms
        self._append_all = append_all
        self._by_events = by_events
        self._takes_ms = 0 if by_events else int(lease.lease_s * 1_000)
        self._meters = meters
        self._on_their_way: set[str] = set()
        """Pushes that were attempted and have no result yet: their own row must not call them unknown."""

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`; a decision's time is that of the clock that made it, which may be ahead."""
        return intake.read(record, ours=True)

    async def before(self, partition: int, items: Sequence[Accepted | Refused]) -> bool:
        """The read barrier of a set of decisions; the lease of their attempts starts here.

        A set without sends waits for nothing, so it must not renew the lease of one that it shares a
        transaction with.
        """
        sends = [i.fact for i in items if isinstance(i, Accepted) and _is_send(i.fact)]
        return not sends or await self._hand_over.begin(partition, sends)

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Attempt the pushes of a `send`; every other decision needs nothing."""
        if isinstance(item, Refused):
            intake.dead_letter(item, transaction)
            tell_refused(item.reason, transaction, self._meters)
            return
        if not _is_send(item.fact):
            return
        if self._policies.policy(item.fact.policy_version) is None:
            cited = f"policy {item.fact.policy_version}"  # who decides publishes first: it never was
            put_record_aside(item, UNKNOWN_DEFINITION, cited, transaction, self._meters)
            self._end_all(failed_sends.of_decision(item.fact, transaction.now), transaction)
            return
        begun_s = self._hand_over.begun_s(transaction.partition)
        for installation in item.fact.installations:
            self._attempt(item.fact, installation, 1, begun_s, transaction)

    def fold_failed(self, item: Accepted | Refused, place: str, transaction: Transaction) -> None:
        """Put a decision aside: its pushes are withheld, for which there is no other try."""
        put_record_aside(item, FAILED, place, transaction, self._meters)
        if isinstance(item, Accepted):
            self._end_all(failed_sends.of_decision(item.fact, transaction.now), transaction)

    def conclude_failed(self, result: Answered | LookedAgain, _: str, transaction: Transaction) -> None:
        """End the push whose result could not be recorded."""
        self._end_all(failed_sends.of_result(result, transaction.now), transaction)

    def fire_failed(self, key: bytes, row: Any, _: str, transaction: Transaction) -> None:
        """End an attempt as one of which nobody knows; forget when an address worked."""
        transaction.put(key, None)
        if isinstance(row, Attempt):
            self._end(row.push_id, never_known(row, transaction.now), transaction)

    def _end_all(self, ended: Sequence[failed_sends.Ended], transaction: Transaction) -> None:
        for name, fact in ended:
            self._on_their_way.discard(name)
            self._end(name, fact, transaction)

    def _attempt(
        self,
        decision: f.PushDecided,
        installation: str,
        number: int,
        begun_s: float,
        transaction: Transaction,
        past: Past = FRESH,
    ) -> None:
        """Attempt a push after a last look, if that allows it. `begun_s`: when the lease began."""
        key = decision.subject.encode()
        reach = self._reach(decision.subject, transaction)
        where = installation_key(decision.app, installation)
        name = push_id(decision.decision_id, where)
        policy = self._policies.policy(decision.policy_version)
        if policy is None:
            raise UnknownDefinition(f"policy {decision.policy_version}")
        now = transaction.now
        late = late_refusal(reach, decision, installation, policy, now, takes_ms=self._takes_ms)
        to = address(reach, where)
        if late is not None or to is None:
            reason = late or "token"
            # An address that died since is refused for itself alone, like one that its provider calls dead.
            other = self._next(decision, installation, past, transaction) if reason == "token" else None
            said = withheld_late(name, decision, installation, reason, now, past, other)
            self._end(name, said, transaction)
            if other is not None:
                self._attempt(decision, other, 1, begun_s, transaction)
            return
        provider, token = to
        attempt = attempted(name, decision, installation, number, provider, now)
        transaction.emit(DELIVERIES, key, codec.encode(attempt))
        ends = self._wall_ms() + int((self._lease.lease_s + self._lease.skew_s) * 1000)
        transaction.put(attempt_key(name), self._row(name, decision, installation, number, ends, past))
        push = Push(
            name,
            decision.app,
            provider,
            token,
            decision.title or "",
            decision.body or "",
            expires_at_ms=decision.send_before,
            **fields_of(decision.shown),
        )
        self._on_their_way.add(name)
        transaction.effect(Ready(decision, installation, push, number, now, begun_s, past))

    def _row(
        self, name: str, decision: f.PushDecided, installation: str, number: int, ends: int, past: Past
    ) -> Attempt:
        """An attempt's row; with its decision where it may go again although nobody knows of it."""
        again = retry.may_go_again(decision.category, is_unknown=True, error_class="")
        return Attempt(
            name,
            decision.subject,
            decision.app,
            decision.decision_id,
            installation,
            number,
            ends,
            past.tries,
            unknowns=past.unknowns,
            decision=codec.encode(decision) if again and not self._by_events else b"",
        )

    async def after(self, partition: int, effects: list[Effect]) -> list[Answered | LookedAgain]:
        """See `HandOver.after`."""
        return await self._hand_over.after(partition, effects)

    def conclude(self, result: Answered | LookedAgain, transaction: Transaction) -> None:
        """Record what became of an attempt, or have it go again."""
        if isinstance(result, LookedAgain):
            self._looked_again(result.what, result.begun_s, transaction)
            return
        ready, outcome = result.ready, result.outcome
        if isinstance(ready, Probing):
            reach = self._reach(ready.handed.subject, transaction)
            self._addresses.answered(ready, outcome, reach, transaction)
            return
        self._on_their_way.discard(ready.push.push_id)
        if self._waits(ready, outcome, transaction):
            return
        at = ready.at if self._by_events else transaction.now
        if self._append_all is not None:
            reach = self._reach(ready.decision.subject, transaction)
            self._addresses.learn(ready.handed, outcome, at, reach, transaction)
        other = None
        if outcome.error_class in PASSED_ON:
            other = self._next(ready.decision, ready.installation, ready.past, transaction)
        self._end(ready.push.push_id, outcome_fact(ready, outcome, at, other), transaction)
        if other is not None:
            self._attempt(ready.decision, other, 1, ready.begun_s, transaction)

    def _next(
        self, decision: f.PushDecided, refused: str, past: Past, transaction: Transaction
    ) -> str | None:
        """Who gets a marketing push whose address was refused, none of its tries possibly taken; or None."""
        policy = self._policies.policy(decision.policy_version)
        if past.unknowns or policy is None:
            return None
        reach, now = self._reach(decision.subject, transaction), transaction.now
        return next_installation(reach, decision, refused, policy, zone_table(), now, takes_ms=self._takes_ms)

    def _reach(self, subject: str, transaction: Transaction) -> Reach:
        return self._reach_of(subject.encode(), transaction) or NOBODY

    def _looked_again(self, what: Effect, begun_s: float | None, transaction: Transaction) -> None:
        match what:
            case Due():
                self._go_again(what, begun_s, transaction)
            case Ready():
                self._on_their_way.discard(what.push.push_id)
                self._missed(what, begun_s, transaction)
            case Probe():
                reach = self._reach(what.noted.subject, transaction)
                self._addresses.probe(what, begun_s, reach, transaction)
            case Probing():
                self._addresses.missed(what)

    def _go_again(self, due: Due, begun_s: float | None, transaction: Transaction) -> None:
        """Attempt what waited; what may not be looked at any more is due still, for its next owner."""
        row = due.row
        if begun_s is None:
            transaction.put(attempt_key(row.push_id), row)
            return
        past = Past(row.tries, unknowns=int(row.unknowns))
        self._attempt(due.decision, row.installation, row.attempt + 1, begun_s, transaction, past)

    def _missed(self, ready: Ready, begun_s: float | None, transaction: Transaction) -> None:
        """The lease ended before the push could be handed over: attempt it anew, a few times.

        Not without another look at consent: as nobody has it, it is withheld.
        """
        decision, installation, past = ready.decision, ready.installation, ready.past
        if begun_s is not None and past.misses + 1 < ATTEMPTS_MAX:
            missed = dataclasses.replace(past, misses=past.misses + 1)
            self._attempt(decision, installation, ready.attempt + 1, begun_s, transaction, missed)
            return
        at = ready.at if self._by_events else transaction.now
        name = ready.push.push_id
        self._end(name, withheld_late(name, decision, installation, "expired", at, past), transaction)

    def _waits(self, ready: Ready, outcome: Outcome, transaction: Transaction) -> bool:
        """Have a push wait for its next try, if there is one."""
        decision, past, is_unknown = ready.decision, ready.past, outcome.kind == "unknown"
        again = retry.may_go_again(decision.category, is_unknown=is_unknown, error_class=outcome.error_class)
        if outcome.kind == "accepted" or not again or self._by_events:
            return False
        tried = Past(past.tries + 1, unknowns=past.unknowns + is_unknown)
        name = ready.push.push_id
        at = retry.next_try(
            name,
            tried.tries,
            unknowns=tried.unknowns if is_unknown else 0,
            first_ms=self._retry_ms,
            retry_after_ms=int((outcome.retry_after_s or 0.0) * 1_000),
            now=self._wall_ms(),
            last=None if decision.send_before is None else decision.send_before - self._takes_ms,
        )
        if at is None:
            return False
        row = self._row(name, decision, ready.installation, ready.attempt, at, tried)
        row = msgspec.structs.replace(row, waits=True, decision=codec.encode(decision))
        transaction.put(attempt_key(name), row)
        reason = outcome.error_class or "unknown"
        transaction.once_durable(lambda: self._meters.add(c.PUSH_RETRIES, reason=reason))
        return True

    def _end(self, name: str, fact: f.DeliveryFact, transaction: Transaction) -> None:
        """Record the one outcome of a push."""
        transaction.emit(DELIVERIES, fact.subject.encode(), codec.encode(fact))
        transaction.put(attempt_key(name), None)
        tell_outcome(WORDS[type(fact)], transaction, self._meters)

    async def announce(self, partition: int, dead: Sequence[f.TokenInvalidated]) -> None:
        """Tell tokens of those that died, acknowledged before their outcomes are. Raises `Transient`.

        Outside the transaction, which would hold back the readers of tokens; repeated after a crash, by the
        same event ids. The fold knows whether a token is newer than its death.
        """
        if self._append_all is not None:
            await self._append_all(
                [Addressed(TOKENS, partition, one.subject.encode(), codec.encode(one)) for one in dead]
            )

    def fire(self, _: bytes, row: Any, transaction: Transaction) -> None:
        """A waiting push is tried again; an attempt without outcome whose lease has ended is unknown.

        A marketing push stays so. A transactional one goes again, by the same ids. A note about an address
        that is nobody's any more goes.
        """
        if isinstance(row, Worked):
            self._addresses.look_again(row, self._reach(row.subject, transaction), transaction)
            return
        if not isinstance(row, Attempt) or row.push_id in self._on_their_way:
            return  # what is on its way has a result soon, which sees to the row
        if row.decision and (row.waits or row.unknowns < len(retry.UNKNOWN_WAITS)):
            decision = codec.decode(row.decision)
            assert isinstance(decision, f.PushDecided)
            if not row.waits:
                row = msgspec.structs.replace(row, tries=row.tries + 1, unknowns=row.unknowns + 1)
            transaction.effect(Due(decision, row))
            return
        self._end(row.push_id, never_known(row, transaction.now), transaction)
        transaction.once_durable(lambda: self._meters.add(c.LEASE_EXPIRIES))


def push_sender(app: Any, lane: Lane, handler: PushSenderHandler) -> None:
    """Register the agent on `app`; decisions are folded, and pushes handed over, by `lane`."""
    lane.handle(DECISIONS, handler)
    lane.hooks = Hooks(
        fire=handler.fire,
        fire_failed=handler.fire_failed,
        before=handler.before,
        announce=handler.announce,
        after=handler.after,
        conclude=handler.conclude,
        conclude_failed=handler.conclude_failed,
        kind=kind_of,
    )

    @app.agent(raw_topic(app, DECISIONS), name="push_sender")  # type: ignore[untyped-decorator]
    async def send(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)


def _is_send(fact: f.SubjectFact) -> TypeGuard[f.PushDecided]:
    return isinstance(fact, f.PushDecided) and fact.verdict == "send"
