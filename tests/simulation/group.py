"""A consumer group: who tries to own which partition number. It is often wrong; only the broker decides.

A member that is silent for a session is thrown out, though it may be alive and frozen. Everybody gives
everything back at a rebalance and gets it, or something else, anew. With static membership a restarted
worker takes its predecessor's place without a rebalance.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Final

from tests.simulation.loop import Process, VirtualLoop

SESSION_S: Final = 10.0
REBALANCE_S: Final = 30.0
HEARTBEAT_S: Final = SESSION_S / 6

Assignment = tuple[int, list[int]]
"""(generation, partition numbers)."""


@dataclasses.dataclass(slots=True)
class Member:
    """One process in the group. `told`: it must give everything back and join again."""

    name: str
    process: Process
    told: asyncio.Event
    waiting: asyncio.Future[Assignment] | None = None


class Group:
    """The coordinator of one role's group."""

    def __init__(self, loop: VirtualLoop, draw: random.Random, partitions: int, *, static: bool) -> None:
        self._loop = loop
        self._draw = draw
        self._partitions = partitions
        self._static = static
        self._members: dict[str, Member] = {}
        self._assigned: dict[str, list[int]] = {}
        self._preparing = False
        self.generation = 0
        self.rebalances = 0

    def join(self, member: Member, answer: asyncio.Future[Assignment]) -> None:
        """Take a member in, or in again; `answer` gets its assignment when everybody has come."""
        former = self._members.get(member.name)
        takes_over = former is not None and former.process is not member.process
        self._members[member.name] = member
        member.waiting = answer
        member.told = asyncio.Event()
        if takes_over and self._static and not self._preparing and member.name in self._assigned:
            self._answer(member, answer)
            return
        if not self._preparing:
            self._prepare()
        self._complete_if_all_came()

    def leave(self, member: Member) -> None:
        """An orderly good-bye."""
        if self._members.get(member.name) is member:
            self._remove(member)

    def silent(self, process: Process) -> None:
        """A process was killed or frozen just now: it will be missed when its session is over."""
        for member in self._members.values():
            if member.process is process:
                self._loop.later(SESSION_S, self._miss, member)

    def _miss(self, member: Member) -> None:
        process = member.process
        silent = not process.alive or process.frozen_until > self._loop.time()
        if silent and self._members.get(member.name) is member:
            self._remove(member)
            # When it wakes up, its next heartbeat tells it.
            self._loop.later(HEARTBEAT_S * self._draw.random(), member.told.set)

    def _remove(self, member: Member) -> None:
        del self._members[member.name]
        self._assigned.pop(member.name, None)
        if self._preparing:
            self._complete_if_all_came()
        elif self._members:
            self._prepare()

    def _prepare(self) -> None:
        self._preparing = True
        self.rebalances += 1
        for member in self._members.values():
            if member.waiting is None:
                self._loop.later(HEARTBEAT_S * self._draw.random(), member.told.set)
        self._loop.later(REBALANCE_S, self._give_up_waiting, self.rebalances)

    def _give_up_waiting(self, rebalance: int) -> None:
        if self._preparing and rebalance == self.rebalances:
            for member in [m for m in self._members.values() if m.waiting is None]:
                del self._members[member.name]
                self._loop.later(HEARTBEAT_S * self._draw.random(), member.told.set)
            self._complete_if_all_came()

    def _complete_if_all_came(self) -> None:
        if not self._preparing or any(m.waiting is None for m in self._members.values()):
            return
        self._preparing = False
        self.generation += 1
        order = sorted(self._members)
        if order and self._draw.random() < 0.5:
            order = order[1:] + order[:1]
        self._assigned = {name: [] for name in order}
        for number in range(self._partitions if order else 0):
            self._assigned[order[number % len(order)]].append(number)
        for name in order:
            member = self._members[name]
            assert member.waiting is not None
            self._answer(member, member.waiting)

    def _answer(self, member: Member, answer: asyncio.Future[Assignment]) -> None:
        member.waiting = None
        assignment = self.generation, list(self._assigned[member.name])

        def arrive() -> None:
            if not answer.done():
                answer.set_result(assignment)

        self._loop.later(0.01 * self._draw.random(), arrive)
