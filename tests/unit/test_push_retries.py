"""Which pushes go again, when, and what is recorded of them in the end: exactly one outcome."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from connectors import codec
from connectors.push.port import ACCEPTED, Outcome, Push
from ledger import facts as f
from ledger import reach
from ledger.gate import MARKETING, TRANSACTIONAL
from ledger.ids import push_id
from ledger.retry import TRIES_MAX, UNKNOWN_WAITS, WAIT_MS_MAX, next_try
from processors.agents import reach_rows
from processors.agents.delivery_facts import Lease
from processors.agents.push_sender import PushSenderHandler
from processors.agents.reach_rows import Attempt, attempt_key
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from processors.topic_names import DELIVERIES
from tests.support.given import ANN, HOUR, MINUTE, NOON, OnePolicy, decision, fact

NAME = push_id("decision-1", "shop/phone")
KEY = attempt_key(NAME)
BUSY = Outcome("rejected", "transient", "ServiceUnavailable")
WRONG_KEYS = Outcome("rejected", "credential", "InvalidProviderToken")
NOBODY_KNOWS = Outcome("unknown", error="timeout")
FOR_GOOD = Outcome("rejected", "payload", "BadPriority")


class World:
    """A send lane's partition with one decided push, and a provider that answers as it is told."""

    def __init__(self, category: str, *answers: Outcome, send_before: int | None = None) -> None:
        self.now = NOON
        self.answers = list(answers)
        self.got: list[Push] = []
        self.passes = True
        self.leaving = False
        self.told: list[f.TokenInvalidated] = []
        self.emitted: list[f.Fact] = []
        self.table = LaneTable("changelog", reach_rows.ROWS)
        self.table.partitions[0] = Partition()
        self.decided = decision(
            category=category, installations=("phone",), send_before=send_before or NOON + HOUR
        )
        self.reach = reach.NOBODY
        for said in (
            fact(f.InstallationSeen, NOON - HOUR, platform="ios", time_zone="UTC"),
            fact(f.PermissionGranted, NOON - HOUR, level="authorized"),
            fact(f.TokenRegistered, NOON - HOUR, provider="apns", token="token-1"),
        ):
            self.reach = reach.fold(self.reach, said, NOON - HOUR)
        self.handler = self._worker()

    def _worker(self, **more: Any) -> PushSenderHandler:
        return PushSenderHandler(
            self,
            OnePolicy(),
            lambda *_: self.reach,
            self._barrier,
            Lease(60.0, 1.0),
            lambda: self.now,
            leaving=lambda: self.leaving,
            append_all=self._append_all,
            **more,
        )

    async def _barrier(self, *_: int) -> bool:
        return self.passes

    async def _append_all(self, records: Sequence[Any]) -> None:
        found = [codec.decode(record.value) for record in records]
        self.told += [one for one in found if isinstance(one, f.TokenInvalidated)]

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """The next answer, for one push."""
        self.got += pushes
        return [self.answers.pop(0)]

    @property
    def row(self) -> Attempt | None:
        """What the lane keeps of the push."""
        found = self.table.get(0, KEY)
        assert found is None or isinstance(found, Attempt)
        return found

    @property
    def outcomes(self) -> list[str]:
        """All recorded outcomes."""
        return [type(one).__name__ for one in self.emitted if not isinstance(one, f.PushAttempted)]

    def decide(self) -> None:
        """The decision comes in."""
        transaction = Transaction(self.table, 0, self.now)
        self.handler._attempt(self.decided, "phone", 1, time.monotonic(), transaction)
        self._commit(transaction)

    def fire(self) -> None:
        """Its row's time has come."""
        assert self.row is not None
        self.now = max(self.now, self.row.lease_ends_at)
        transaction = Transaction(self.table, 0, self.now)
        self.handler.fire(KEY, self.row, transaction)
        self._commit(transaction)

    def crash(self) -> None:
        """The attempt is committed and nothing after it; another worker takes over."""
        transaction = Transaction(self.table, 0, self.now)
        self.handler._attempt(self.decided, "phone", 1, time.monotonic(), transaction)
        self._apply(transaction)
        self.handler = self._worker()

    def _commit(self, transaction: Transaction) -> None:
        while True:
            asyncio.run(self.handler.announce(0, transaction.announcements))
            self._apply(transaction)
            if not transaction.effects:
                return
            results = asyncio.run(self.handler.after(0, transaction.effects))
            transaction = Transaction(self.table, 0, self.now)
            for result in results:
                self.handler.conclude(result, transaction)

    def _apply(self, transaction: Transaction) -> None:
        self.emitted += [codec.decode(value) for _, value in transaction.outputs.get(DELIVERIES, [])]
        self.table.apply(0, transaction.rows, transaction.position())


@pytest.mark.parametrize("answer", [BUSY, WRONG_KEYS])
@pytest.mark.parametrize("category", [MARKETING, TRANSACTIONAL])
def test_what_nobody_took_goes_again(category: str, answer: Outcome) -> None:
    """Later, by the same id; in between nothing is recorded but the attempts."""
    world = World(category, answer, answer, ACCEPTED)

    world.decide()
    assert world.outcomes == []
    first = world.row
    assert first is not None
    assert first.waits
    assert NOON + 10_000 <= first.lease_ends_at <= NOON + 12_500
    world.fire()
    second = world.row
    assert second is not None
    assert world.now + 20_000 <= second.lease_ends_at <= world.now + 25_000
    world.fire()

    assert world.outcomes == ["PushAccepted"]
    assert [one.attempt for one in world.emitted if isinstance(one, f.PushAttempted)] == [1, 2, 3]
    assert {push.push_id for push in world.got} == {NAME}
    assert world.row is None


def test_a_provider_says_how_long_it_wants_to_be_left_alone() -> None:
    """Retry-After counts where it is longer than our own wait."""
    world = World(MARKETING, Outcome("rejected", "transient", "QUOTA_EXCEEDED", retry_after_s=300.0))

    world.decide()

    assert world.row is not None
    assert world.row.lease_ends_at == NOON + 300_000


def test_how_it_is_shown_reaches_the_provider_each_time() -> None:
    """Also when it goes again, from the row."""
    world = World(MARKETING, BUSY, ACCEPTED)
    shown = {"link": "shop://cart", "collapse": "cart", "fcm.channel": "carts"}
    world.decided = msgspec.structs.replace(world.decided, shown=shown)

    world.decide()
    world.fire()

    assert [(one.link, one.collapse_id, one.options.fcm_channel) for one in world.got] == [
        ("shop://cart", "cart", "carts")
    ] * 2


def test_nothing_goes_after_its_end() -> None:
    """When it can't be tried again in time, the refusal is its outcome."""
    world = World(MARKETING, BUSY, BUSY, send_before=NOON + 75_000)  # its lease lasts 60 s

    world.decide()
    world.fire()

    assert world.outcomes == ["PushRejected"]
    assert len(world.got) == 2
    assert world.row is None


def test_consent_is_looked_at_before_each_try() -> None:
    """A revocation in between stops it."""
    world = World(MARKETING, BUSY, ACCEPTED)
    world.decide()
    revoked = fact(f.PermissionRevoked, NOON + 1, cause="os_settings")
    world.reach = reach.fold(world.reach, revoked, NOON + 1)

    world.fire()

    assert world.outcomes == ["PushWithheldLate"]
    assert len(world.got) == 1


def test_while_consent_cannot_be_looked_at_it_keeps_waiting() -> None:
    """A worker that has to leave hands its due pushes to the next owner."""
    world = World(MARKETING, BUSY, ACCEPTED)
    world.decide()
    before = world.row
    world.passes, world.leaving = False, True

    world.fire()
    assert (world.outcomes, world.row, len(world.got)) == ([], before, 1)

    world.passes, world.leaving = True, False
    world.fire()
    assert world.outcomes == ["PushAccepted"]


def test_a_marketing_push_that_nobody_knows_about_never_goes_again() -> None:
    """Whether its answer got lost or the worker did."""
    world = World(MARKETING, NOBODY_KNOWS)
    world.decide()
    assert world.outcomes == ["PushOutcomeUnknown"]

    crashed = World(MARKETING)
    crashed.crash()
    crashed.fire()
    assert (crashed.outcomes, crashed.got) == (["PushOutcomeUnknown"], [])


def test_a_transactional_push_that_nobody_knows_about_goes_again() -> None:
    """By the same id, which is also its collapse id: the device shows it once."""
    world = World(TRANSACTIONAL, NOBODY_KNOWS, ACCEPTED)
    world.decide()
    assert world.outcomes == []
    world.fire()
    assert world.outcomes == ["PushAccepted"]

    crashed = World(TRANSACTIONAL, ACCEPTED)
    crashed.crash()
    crashed.fire()
    assert crashed.outcomes == ["PushAccepted"]
    assert {push.push_id for push in (*world.got, *crashed.got)} == {NAME}


@pytest.mark.parametrize("last", [FOR_GOOD, "revoked"])
def test_what_may_have_been_shown_is_never_called_refused(last: Outcome | str) -> None:
    """A later refusal says nothing of an earlier try that nobody knows about."""
    world = World(TRANSACTIONAL, NOBODY_KNOWS, *([last] if isinstance(last, Outcome) else []))
    world.decide()
    if last == "revoked":
        revoked = fact(f.PermissionRevoked, NOON + 1, cause="os_settings")
        world.reach = reach.fold(world.reach, revoked, NOON + 1)

    world.fire()

    assert world.outcomes == ["PushOutcomeUnknown"]


def test_unknown_tries_are_few() -> None:
    """Being told six times in half a day is enough, whatever became of it."""
    tries = len(UNKNOWN_WAITS) + 1
    world = World(TRANSACTIONAL, *[NOBODY_KNOWS] * tries, send_before=NOON + 24 * HOUR)
    world.decide()
    while world.row is not None:
        world.fire()

    assert len(world.got) == tries
    assert NOON + 8 * HOUR < world.now < NOON + 12 * HOUR
    assert world.outcomes == ["PushOutcomeUnknown"]


def test_pauses_are_no_unknown_tries() -> None:
    """A push that waited for long, and was then the one to try a silent provider with, goes again."""
    world = World(TRANSACTIONAL, *[BUSY] * 20, NOBODY_KNOWS, ACCEPTED, send_before=NOON + 24 * HOUR)
    world.decide()
    while world.row is not None:
        world.fire()

    assert world.outcomes == ["PushAccepted"]
    assert len(world.got) == 22


def test_a_provider_may_be_away_for_hours() -> None:
    """Five hours, and a push that is good for six: it leaves once, after the recovery."""
    outage = [BUSY] * TRIES_MAX
    world = World(TRANSACTIONAL, *outage, send_before=NOON + 6 * HOUR)
    world.decide()
    while world.row is not None and world.row.lease_ends_at < NOON + 5 * HOUR:
        world.fire()
    world.answers = [ACCEPTED]
    world.fire()

    assert world.outcomes == ["PushAccepted"]
    assert world.now < NOON + 5 * HOUR + 2 * WAIT_MS_MAX


@pytest.mark.parametrize("gone_since", [None, NOON - 5 * MINUTE])
def test_a_dead_token_is_told_of_before_its_outcome(gone_since: int | None) -> None:
    """With the provider's own time where it has one; a token that is newer stays alive."""
    gone = Outcome("rejected", "token_dead", "Unregistered", gone_since_ms=gone_since)
    world = World(MARKETING, gone)

    world.decide()

    (told,) = world.told
    assert told.occurred_at == (gone_since or NOON)
    assert (told.subject, told.installation, told.reason) == (ANN, "phone", "Unregistered")
    assert world.outcomes == ["PushRejected"]
    assert reach.address(reach.fold(world.reach, told, NOON), "shop/phone") is None
    newer = fact(f.TokenRegistered, NOON + MINUTE, provider="apns", token="token-1")
    after = reach.fold(reach.fold(world.reach, newer, NOON + MINUTE), told, NOON + MINUTE)
    assert reach.address(after, "shop/phone") == ("apns", "token-1")


def test_waits_grow_to_a_bound_and_differ_between_pushes() -> None:
    """So that those who were refused together don't come back together."""

    def wait(push: str, tries: int) -> int:
        at = next_try(push, tries, unknowns=0, first_ms=10_000, retry_after_ms=0, now=0, last=None)
        assert at is not None
        return at

    waits = [wait("push", tries) for tries in range(1, TRIES_MAX)]
    assert all(10_000 << n <= waits[n] <= 12_500 << n for n in range(6))
    assert max(waits) <= WAIT_MS_MAX * 5 // 4
    assert len({wait(f"push-{number}", 1) for number in range(1_000)}) > 600
