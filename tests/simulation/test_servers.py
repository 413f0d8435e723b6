"""The simulated loop, broker and group do what the real ones do, as far as the lane leans on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any
from unittest import mock

import pytest

from tests.simulation.broker import Broker, Ending, Fenced
from tests.simulation.group import SESSION_S, Assignment, Group, Member
from tests.simulation.loop import Process, VirtualLoop
from tests.support.given import NOON

PLACE = ("changelog", 0)


class Servers:
    """A loop and a broker, and a way to let time pass."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()  # type: ignore[abstract]  # what nobody here calls is left out
        self.broker = Broker(self.loop, random.Random(1), NOON)

    def run(self, course: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until(self.loop.spawn(None, course))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))

    def seen(self) -> list[bytes | None]:
        """What a read_committed reader gets."""
        return [record.value for record in self.broker.fetch(PLACE, 0, 100)[0]]


@pytest.fixture
def servers() -> Servers:
    """Fresh ones."""
    return Servers()


def test_sleeping_costs_no_time_and_keeps_the_order(servers: Servers) -> None:
    """A day passes at once, and whoever sleeps shorter wakes up first."""
    woken: list[str] = []

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(name)

    async def both() -> None:
        await asyncio.gather(sleep("day", 86_400), sleep("second", 1))

    servers.run(both())

    assert woken == ["second", "day"]
    assert servers.loop.time() == 86_400


def test_a_killed_process_runs_no_further(servers: Servers) -> None:
    """Not even its `finally`; others go on."""
    left: list[str] = []
    process = Process("victim")

    async def victim() -> None:
        try:
            await asyncio.sleep(2)
        finally:
            left.append("finally")

    servers.loop.spawn(process, victim())
    servers.loop.later(1, process.kill, "test")
    servers.wait(5)

    assert left == []


def test_a_frozen_process_goes_on_when_it_is_thawed(servers: Servers) -> None:
    """Its timers went off meanwhile."""
    woken: list[float] = []
    process = Process("sleeper")

    async def sleeper() -> None:
        await asyncio.sleep(2)
        woken.append(servers.loop.time())

    servers.loop.spawn(process, sleeper())
    servers.wait(1)
    process.frozen_until = 10.0
    servers.wait(20)

    assert woken == [10.0]


def test_a_transaction_is_seen_whole_after_its_marker(servers: Servers) -> None:
    """Before it, nothing behind its first record is seen either; the marker takes an offset."""
    broker = servers.broker
    _, epoch = broker.claim("id")
    assert broker.begun("id", epoch, [PLACE])
    broker.produce("id", epoch, PLACE, [(b"k", b"1", ()), (b"k", b"2", ())])
    broker.append(PLACE, b"k", b"plain")
    assert servers.seen() == []
    assert (broker.stable_offset(PLACE), broker.end_offset(PLACE)) == (0, 3)

    broker.commit("id", epoch)
    assert not broker.begun("id", epoch, [PLACE])
    servers.wait(1)

    assert servers.seen() == [b"1", b"2", b"plain"]
    assert broker.fetch(PLACE, 0, 100)[1] == broker.end_offset(PLACE) == 4
    assert broker.begun("id", epoch, [PLACE])


def test_a_claim_aborts_what_is_open_and_locks_the_old_owner_out(servers: Servers) -> None:
    """Whatever the old owner does next fails, and its records are never seen."""
    broker = servers.broker
    _, old = broker.claim("id")
    broker.begun("id", old, [PLACE])
    broker.produce("id", old, PLACE, [(b"k", b"lost", ())])

    _, new = broker.claim("id")
    for act in (
        lambda: broker.commit("id", old),
        lambda: broker.produce("id", old, PLACE, [(b"k", b"late", ())]),
        lambda: broker.begun("id", old, [PLACE]),
    ):
        with pytest.raises(Fenced):
            act()
    servers.wait(1)
    broker.begun("id", new, [PLACE])
    broker.produce("id", new, PLACE, [(b"k", b"kept", ())])
    broker.commit("id", new)
    servers.wait(1)

    assert servers.seen() == [b"kept"]
    assert broker.aborted == 1


def test_a_forgotten_transaction_is_aborted(servers: Servers) -> None:
    """Its producer can't go on with it."""
    broker = servers.broker
    _, epoch = broker.claim("id")
    broker.begun("id", epoch, [PLACE])
    broker.produce("id", epoch, PLACE, [(b"k", b"lost", ())])
    servers.wait(60)

    assert broker.stable_offset(PLACE) == broker.end_offset(PLACE)
    with pytest.raises(Fenced):
        broker.commit("id", epoch)


def test_a_forgotten_marker_leaves_records_to_the_next_end(servers: Servers) -> None:
    """The coordinator calls the commit over; its records share the fate of what comes next there."""
    broker, other = servers.broker, ("output", 0)
    _, epoch = broker.claim("id")
    broker.hold_markers()
    broker.begun("id", epoch, [PLACE, other])
    broker.produce("id", epoch, PLACE, [(b"k", b"1", ())])
    broker.commit("id", epoch)
    servers.wait(1)
    assert not broker.begun("id", epoch, [PLACE])

    with mock.patch("tests.simulation.broker.FORGOTTEN", 1.0):
        broker.restart(0.1)
    servers.wait(1)
    assert (broker.stable_offset(PLACE), broker.end_offset(PLACE)) == (0, 1)
    assert [(one.epoch, one.open_at) for one in broker.describe(PLACE)] == [(epoch, 0)]

    assert broker.begun("id", epoch, [other])
    broker.commit("id", epoch)
    servers.wait(1)
    assert servers.seen() == []
    broker.begun("id", epoch, [PLACE])
    broker.produce("id", epoch, PLACE, [(b"k", b"2", ())])
    broker.claim("id")
    servers.wait(1)

    assert servers.seen() == []
    assert broker.stable_offset(PLACE) == broker.end_offset(PLACE) == 3


def test_a_marker_from_outside_ends_what_hangs(servers: Servers) -> None:
    """Unless a later owner was seen on the partition."""
    broker = servers.broker
    number, epoch = broker.claim("id")
    broker.hold_markers()
    broker.begun("id", epoch, [PLACE])
    broker.produce("id", epoch, PLACE, [(b"k", b"1", ())])
    broker.commit("id", epoch)
    with mock.patch("tests.simulation.broker.FORGOTTEN", 1.0):
        broker.restart(0.1)
    servers.wait(1)

    broker.mark(PLACE, number, epoch, committed=True)
    assert servers.seen() == [b"1"]
    _, later = broker.claim("id")
    broker.begun("id", later, [PLACE])
    broker.produce("id", later, PLACE, [(b"k", b"2", ())])
    with pytest.raises(Fenced):
        broker.mark(PLACE, number, epoch, committed=True)


def test_an_aborted_record_of_others_is_stepped_over(servers: Servers) -> None:
    """A reader comes past it, to what is behind."""
    ending = Ending()
    servers.broker.append(PLACE, b"k", b"lost", ending=ending)
    servers.broker.append(PLACE, b"k", b"kept")
    servers.broker.end(ending, "aborted")
    servers.wait(1)

    assert servers.seen() == [b"kept"]


class Members:
    """Workers that join again whenever they are told."""

    def __init__(self, servers: Servers, *, static: bool) -> None:
        self.servers = servers
        self.group = Group(servers.loop, random.Random(1), 4, static=static)
        self.owns: dict[str, Assignment] = {}

    def start(self, name: str) -> Process:
        """A worker that only tells what it owns."""
        process = Process(name)

        async def work() -> None:
            while True:
                member = Member(name, process, asyncio.Event())
                answer: asyncio.Future[Assignment] = self.servers.loop.create_future()
                self.group.join(member, answer)
                self.owns[name] = await answer
                await member.told.wait()

        self.servers.loop.spawn(process, work())
        return process


def test_a_silent_member_loses_its_partitions(servers: Servers) -> None:
    """After its session, not before; the others get them."""
    members = Members(servers, static=False)
    victim = members.start("a")
    members.start("b")
    servers.wait(5)
    assert sorted(members.owns["a"][1] + members.owns["b"][1]) == [0, 1, 2, 3]

    victim.kill("test")
    members.group.silent(victim)
    servers.wait(SESSION_S - 1)
    assert len(members.owns["b"][1]) == 2
    servers.wait(5)

    assert members.owns["b"][1] == [0, 1, 2, 3]


def test_a_static_member_takes_its_predecessors_place(servers: Servers) -> None:
    """Without a rebalance of the others."""
    members = Members(servers, static=True)
    victim = members.start("a")
    members.start("b")
    servers.wait(5)
    before = members.owns["a"]
    victim.kill("test")
    members.group.silent(victim)
    rebalances = members.group.rebalances
    members.start("a")
    servers.wait(1)

    assert members.owns["a"] == before
    assert members.group.rebalances == rebalances
