"""Probes: who is asked in silence whether an address still works, how often, and what follows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from connectors.push.port import ACCEPTED, LEASE_OVER, Outcome, Push
from ledger import facts as f
from ledger import reach
from ledger.consent import token_id
from ledger.reach import probed
from processors.agents.address_life import LOOK_MS, AddressLife
from processors.agents.delivery_facts import Answered, Probe, Probing
from processors.agents.hand_over import PROBES, kind_of
from processors.agents.push_sender import PushSenderHandler
from processors.agents.reach_rows import Worked, worked_key
from processors.lane.transaction import Transaction
from tests.support.given import ANN, DAY, HOUR, NOON, fact
from tests.unit.test_address_life import GONE, KEY, NAME, Days
from tests.unit.test_push_retries import BUSY, NOBODY_KNOWS


class Asking:
    """A provider that is only asked in silence."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers)
        self.got: list[Push] = []

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """The next answer for each."""
        self.got += pushes
        return [self.answers.pop(0) for _ in pushes]


class Probed(Days):
    """An address that worked at noon, and is probed from then on."""

    def __init__(self, *answers: Outcome, probes_max: int = 1, provider: str = "apns") -> None:
        self.asking = Asking(*answers)
        self.probes_max = probes_max
        super().__init__(ACCEPTED, provider=provider)
        self.push(NOON)

    def _worker(self, **more: Any) -> PushSenderHandler:
        return super()._worker(prober=self.asking, probes_max=self.probes_max, **more)

    def look(self) -> None:
        """The time of the note has come."""
        assert self.noted is not None
        self.now = self.noted.look_at
        transaction = Transaction(self.table, 0, self.now)
        self.handler.fire(KEY, self.noted, transaction)
        self._commit(transaction)


def test_an_address_that_nothing_went_to_for_a_day_is_asked_in_silence() -> None:
    """It shows nothing, has a name of its own, is no fact where it is taken, and moves the interval on."""
    world = Probed(ACCEPTED, ACCEPTED, GONE)
    world.look()
    (probe,) = world.asking.got

    assert (probe.background, probe.title, probe.body, probe.token) == (True, "", "", "token-1")
    assert world.outcomes == ["PushAccepted"]
    assert world.told == []
    assert world.noted == Worked(NAME, ANN, NOON + DAY, NOON + 2 * DAY)

    world.look()
    world.look()

    assert len({one.push_id for one in world.asking.got}) == 3
    assert world.told_of() == ("uninstall", NOON + 2 * DAY, NOON + 3 * DAY)
    assert world.outcomes == ["PushAccepted"]


def test_an_address_that_a_push_went_to_that_day_is_not_asked() -> None:
    """The push itself said that it works, and moved the next look a day on."""
    world = Probed()
    world.answers.append(ACCEPTED)
    world.push(NOON + DAY)

    assert world.noted == Worked(NAME, ANN, NOON + DAY, NOON + 2 * DAY)
    assert world.asking.got == []


@pytest.mark.parametrize("answer", [BUSY, NOBODY_KNOWS, LEASE_OVER], ids=["busy", "unknown", "late"])
def test_a_probe_that_was_not_taken_says_nothing_and_is_not_tried_again_that_day(answer: Outcome) -> None:
    """The note stays as it was."""
    world = Probed(answer, GONE)
    world.look()

    assert world.noted == Worked(NAME, ANN, NOON, NOON + 2 * DAY)
    assert world.told == []

    world.look()

    assert world.told_of() == ("uninstall", NOON, NOON + 2 * DAY)


SILENCED = {
    "denied": (fact(f.PermissionRevoked, NOON, cause="os_settings"),),
    "suppressed": (fact(f.SubjectSuppressed, NOON, reason="support"),),
    "erased": (fact(f.SubjectErased, NOON),),
    "replaced": (fact(f.TokenRegistered, NOON, provider="apns", token="token-2"),),
    "died": (fact(f.TokenInvalidated, NOON, token_id=NAME, reason="Unregistered"),),
}


@pytest.mark.parametrize("said", SILENCED.values(), ids=SILENCED)
def test_who_must_not_be_spoken_to_is_not_asked_either(said: tuple[f.SubjectFact, ...]) -> None:
    """What is noted stays for as long as the address is the subject's."""
    world = Probed()
    for one in said:
        world.learn(one)
    world.look()

    assert world.asking.got == []
    assert (world.noted is not None) == (NAME in world.reach.addresses)


def test_a_revocation_that_the_barrier_waits_for_counts() -> None:
    """Consent is looked at again right before the probe leaves."""
    world = Probed()

    async def barrier(*_: int) -> bool:
        world.learn(fact(f.PermissionRevoked, NOON + DAY, cause="os_settings"))
        return True

    world.handler._hand_over._barrier = barrier
    world.look()

    assert world.asking.got == []
    assert world.noted == Worked(NAME, ANN, NOON, NOON + 2 * DAY)


@pytest.mark.parametrize(("provider", "asked"), [("fcm", 1), ("web_push", 0), ("console", 0)])
def test_only_what_can_be_silent_is_asked(provider: str, asked: int) -> None:
    """A browser shows something for each push, or takes the permission away."""
    world = Probed(ACCEPTED, provider=provider)
    key = worked_key(token_id(provider, "token-1"))
    noted = world.table.get(0, key)
    assert isinstance(noted, Worked)
    transaction = Transaction(world.table, 0, noted.look_at)
    world.handler.fire(key, noted, transaction)
    world._commit(transaction)

    assert len(world.asking.got) == asked


def test_a_rebalance_leaves_the_probe_to_the_next_owner() -> None:
    """Consent can't be looked at any more: the note is due as before, and nothing is under way."""
    world = Probed(ACCEPTED)
    world.passes, world.leaving = False, True
    before = world.noted
    world.look()

    assert world.noted == before
    assert world.asking.got == []

    world.passes = True
    world.look()

    assert len(world.asking.got) == 1


def test_the_row_says_so_before_a_probe_leaves() -> None:
    """A worker that dies with a probe on its way asks no second time that day."""
    world = Probed()
    noted = world.noted
    assert noted is not None
    life, later = AddressLife(1), noted.look_at
    transaction = Transaction(world.table, 0, later)
    life.look_again(noted, world.reach, transaction)
    assert transaction.effects == [Probe(noted)]
    life.probe(Probe(noted), 0.0, world.reach, transaction)

    assert isinstance(transaction.effects[-1], Probing)
    assert transaction.rows[KEY] == Worked(NAME, ANN, NOON, later + DAY)


def test_what_exceeds_the_rate_waits_for_another_day_and_never_for_a_place() -> None:
    """Thousands may come due together; beyond what may be under way each is put off, spread over a day."""
    world = Probed()
    life = AddressLife(2)
    for number in range(100):
        token = f"token-of-{number}"
        known = world.reach
        for what in (
            fact(f.InstallationSeen, NOON - HOUR, platform="ios", installation=token),
            fact(f.PermissionGranted, NOON - HOUR, level="authorized", installation=token),
            fact(f.TokenRegistered, NOON - HOUR, provider="apns", token=token, installation=token),
        ):
            known = reach.fold(known, what, NOON - HOUR)
        transaction = Transaction(world.table, 0, NOON + DAY)
        name = token_id("apns", token)
        life.look_again(Worked(name, ANN, NOON, NOON + DAY), known, transaction)
        if not transaction.effects:
            row: Any = transaction.rows[worked_key(name)]
            assert NOON + DAY * 3 // 2 <= row.look_at < NOON + DAY * 5 // 2
            assert row.at == NOON
    assert len(life._under_way) == 2


def test_probes_go_apart_from_pushes() -> None:
    """They wait for their own rate, and a push of the same app does not wait for them."""
    world = Probed()
    assert world.noted is not None
    transaction = Transaction(world.table, 0, NOON + DAY)
    AddressLife(1).probe(Probe(world.noted), 0.0, world.reach, transaction)
    (probing,) = transaction.effects

    assert kind_of(probing) == PROBES


def test_a_probe_whose_lease_is_over_is_missed() -> None:
    """It is not handed over, and its place is free again."""
    world = Probed(ACCEPTED)
    assert world.noted is not None
    transaction = Transaction(world.table, 0, NOON + DAY)
    world.handler._addresses.probe(Probe(world.noted), -1_000_000.0, world.reach, transaction)
    (probing,) = transaction.effects
    world.handler._addresses._under_way.add(NAME)

    (result,) = asyncio.run(world.handler.after(0, [probing]))
    assert not isinstance(result, Answered)
    world.handler.conclude(result, transaction)

    assert world.asking.got == []
    assert world.handler._addresses._under_way == set()


def test_nothing_is_probed_unless_it_is_asked_for() -> None:
    """Then notes are looked at once a week."""
    world = Days(ACCEPTED)
    world.push(NOON)

    assert world.noted == Worked(NAME, ANN, NOON, NOON + LOOK_MS)
    assert probed(world.reach, NAME) == ("shop", "phone")
