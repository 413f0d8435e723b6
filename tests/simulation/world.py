"""Runs a scenario: servers, workers that are started again when they die, producers, until all is settled."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from connectors.push.port import Push
from processors.topic_names import (
    ACTIVITY,
    CONSENT_CHANGELOG,
    DECISIONS,
    JOURNEYS_CHANGELOG,
    LINKS,
    LINKS_CHANGELOG,
    PERMISSIONS,
    SENDS_CHANGELOG,
    TOKENS,
)
from tests.simulation.broker import Broker, Ending
from tests.simulation.faults import RESTART_S, Strikes
from tests.simulation.group import Group
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.scenario import ROLES, TIME, Fault, Publication, Scenario

INPUTS: Final = (PERMISSIONS, TOKENS, ACTIVITY)
SETTLE_S_MAX: Final = 5 * 86_400.0
"""Two days cover a clock that is a day ahead and a hold until the next morning; twice that is a lost step."""
LOOK_S: Final = 0.5
LOOK_S_MAX: Final = 1_800.0
WORKERS_MAX: Final = 8
DOWN_S: Final = (0.1, 1.0, 8.0)
"""How long a restarting broker is away."""
LIVES_MAX: Final = 200
POSITION: Final = b"\x00position"


@dataclasses.dataclass(frozen=True, slots=True)
class HandOver:
    """A push that a worker gave to the provider."""

    at: float
    worker: str
    push_id: str
    lost: bool = False
    """It never got there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A worker asked how far a partition of permissions reaches."""

    at: float
    worker: str
    partition: int


class KnownEnds:
    """`RecordedEnds`' interface: where bounded inputs end."""

    def __init__(self) -> None:
        self.known: dict[str, list[int]] = {}

    def end(self, topic: str, partition: int) -> int | None:
        """The offset after the last record, or None while the input may grow."""
        return None if topic not in self.known else self.known[topic][partition]


class World:
    """One run. After `run`, what it left behind is in `broker`, `hand_overs`, `asks` and `deaths`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = VirtualLoop()  # type: ignore[abstract]  # what nobody here calls is left out
        self.draw = random.Random(scenario.seed + 1_000_003)
        self.broker = Broker(self.loop, self.draw, scenario.start_ms)
        self.ends = KnownEnds()
        self.groups: dict[str, Group] = {}
        self.strikes: dict[str, Strikes] = {}
        for role in ROLES:
            mine = [fault for fault in scenario.faults if fault.role == role]
            self.groups[role] = Group(self.loop, self.draw, scenario.partitions, static=scenario.static)
            self.strikes[role] = Strikes(mine, self._carry_out)
            for fault in mine:
                if fault.call == TIME:
                    self.loop.later(fault.effect / 1000, self._strike_idle, fault)
        self.hand_overs: list[HandOver] = []
        self.asks: list[Asked] = []
        self.deaths: list[str] = []
        self.settled_at: float | None = None
        self._workers: dict[tuple[str, int], Any] = {}
        self._lives = 0
        self._starting = 0
        self._restart_s: dict[str, float] = {}

    # What ports tell.

    def handed_over(self, process: Process, pushes: Sequence[Push], *, lost: bool = False) -> None:
        """Pushes left the house."""
        now = self.loop.time()
        self.hand_overs += [HandOver(now, process.name, push.push_id, lost) for push in pushes]

    def asked(self, process: Process, places: Sequence[tuple[str, int]]) -> None:
        """A worker asks for high watermarks."""
        now = self.loop.time()
        self.asks += [Asked(now, process.name, number) for topic, number in places if topic == PERMISSIONS]

    # Workers.

    def start_worker(self, role: str, index: int) -> None:
        """Start a process; when it dies, another one is started in its place."""
        from tests.simulation.ports import Wire
        from tests.simulation.worker import Worker

        self._starting = max(0, self._starting - 1)
        self._lives += 1
        if self._lives > LIVES_MAX:
            raise RuntimeError(f"{LIVES_MAX} processes died")

        def died(reason: str) -> None:
            self.deaths.append(f"{self.loop.time():.3f} s  {process.name}: {reason}")
            self.groups[role].silent(process)
            self._starting += 1
            pause = self._restart_s.pop(process.name, RESTART_S)
            self.loop.later(pause, self.start_worker, role, index)

        process = Process(f"{role}-{index}.{self._lives}", died)
        place = ROLES.index(role) * WORKERS_MAX // 2 + index
        ahead_s = self.scenario.clocks_s[place % len(self.scenario.clocks_s)]
        wire = Wire(self, process, self.strikes[role])
        worker = Worker(role, wire, self.groups[role], ahead_s, f"{role}-{index}")
        self._workers[role, index] = worker
        self.loop.spawn(process, worker.run())

    def _strike_idle(self, fault: Fault) -> None:
        worker = self._workers.get((fault.role, fault.effect % self.scenario.workers))
        if worker is not None and worker.process.alive:
            self.strikes[fault.role].struck.append((fault, "nothing"))
            self._carry_out(fault, worker.process)

    def _carry_out(self, fault: Fault, process: Process) -> None:
        role, index = process.name.split(".")[0].rsplit("-", 1)
        match fault.kind:
            case "crash":
                self._restart_s[process.name] = fault.seconds
                process.kill("killed")
            case "freeze":
                process.frozen_until = self.loop.time() + fault.seconds
                self.groups[role].silent(process)
            case "stop":
                self._restart_s[process.name] = fault.seconds
                self.loop.spawn(process, self._workers[role, int(index)].stop())
            case "join":
                free = [n for n in range(WORKERS_MAX // 2) if (role, n) not in self._workers]
                if free:
                    self.loop.later(0.0, self.start_worker, role, free[0])
            case "forget":
                self.broker.hold_markers()
                self.loop.later(fault.seconds, self.broker.restart, self.draw.choice(DOWN_S))
            case _:
                pass

    # The course of a run.

    def run(self) -> None:
        """Run until everything is settled, or for `SETTLE_S_MAX` after the last publication."""
        from tests.simulation.worker import real_parts_on

        with real_parts_on(self.loop, self.broker.now_ms):
            drive = self._drive_by_events() if self.scenario.by_events else self._drive()
            self.loop.run_until(self.loop.spawn(None, drive))

    def close(self) -> None:
        """Let go of everything."""
        self.loop.close()

    async def _drive(self) -> None:
        for publication in self.scenario.publications:
            self.loop.later(publication.at, self._publish, publication)
        for role in ROLES:
            self._start(role)
        last = max((one.at + one.held_s for one in self.scenario.publications), default=0.0)
        await asyncio.sleep(last + 1)
        await self._settle(self._unsettled)

    async def _drive_by_events(self) -> None:
        await asyncio.sleep(max((one.at for one in self.scenario.publications), default=0.0) + 1)
        for publication in self.scenario.publications:
            self._publish(publication)
        self._record_ends(INPUTS)
        self._start("journeys")
        await self._settle(lambda: self._undone(JOURNEYS_CHANGELOG))
        self._record_ends((DECISIONS,))
        self._start("delivery")
        await self._settle(lambda: self._undone(CONSENT_CHANGELOG))

    def _start(self, role: str) -> None:
        for index in range(self.scenario.workers):
            self.start_worker(role, index)

    def _publish(self, publication: Publication) -> None:
        place = publication.topic, publication.partition
        down_s = self.broker.down_until - self.loop.time()
        if down_s > 0:
            self.loop.later(down_s, self._publish, publication)
            return
        if not publication.held_s:
            self.broker.append(place, publication.key, publication.value)
            return
        ending = Ending()
        self.broker.append(place, publication.key, publication.value, ending=ending)
        outcome = "aborted" if publication.aborted else "committed"
        self.loop.later(publication.held_s, self.broker.end, ending, outcome)

    def _record_ends(self, topics: Sequence[str]) -> None:
        for topic in topics:
            places = [(topic, number) for number in range(self.scenario.partitions)]
            self.ends.known[topic] = [self.broker.last_offset(place) for place in places]

    # When is it over?

    async def _settle(self, unsettled: Any) -> None:
        pause, deadline = LOOK_S, self.loop.time() + SETTLE_S_MAX
        while self._starting or unsettled():
            if self.loop.time() > deadline:
                self.settled_at = None
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_S_MAX)
        self.settled_at = self.loop.time()

    def _rows(self, changelog: str) -> tuple[dict[tuple[int, bytes], Any], dict[int, list[Any]]]:
        rows: dict[tuple[int, bytes], Any] = {}
        positions: dict[int, list[Any]] = {}
        for record in self.broker.committed(changelog):
            assert record.key is not None
            if record.key == POSITION:
                positions[record.partition] = record.value  # type: ignore[assignment]
            else:
                rows[record.partition, record.key] = record.value
        return rows, {number: msgpack.unpackb(raw) for number, raw in positions.items()}

    def _behind(self, positions: dict[int, list[Any]], topics: Sequence[str]) -> list[str]:
        return [
            f"{topic}/{number} is not folded"
            for topic in topics
            for number in range(self.scenario.partitions)
            if positions.get(number, [0, {}])[1].get(topic, 0) < self.broker.last_offset((topic, number))
        ]

    def _unsettled(self) -> list[str]:
        rows, positions = self._rows(JOURNEYS_CHANGELOG)
        waits = [f"{place} has no marker" for place in self.broker.unmarked()]
        waits += self._behind(positions, INPUTS)
        waits += self._behind(self._rows(CONSENT_CHANGELOG)[1], (PERMISSIONS, TOKENS))
        waits += self._behind(self._rows(LINKS_CHANGELOG)[1], (LINKS,))
        attempts, positions = self._rows(SENDS_CHANGELOG)
        waits += self._behind(positions, (DECISIONS,))
        waits += [f"{key!r} has no outcome" for (_, key), raw in attempts.items() if raw is not None]
        if not waits:
            for (_, key), raw in rows.items():
                row = msgpack.unpackb(raw) if raw is not None else []
                if len(row) > 4 and (row[4] or row[5]):
                    waits.append(f"{key!r} has something due")
                    break
        return waits

    def _undone(self, changelog: str) -> list[str]:
        positions = self._rows(changelog)[1]
        topics = INPUTS if changelog == JOURNEYS_CHANGELOG else (PERMISSIONS, TOKENS, DECISIONS)
        waits = [f"{place} has no marker" for place in self.broker.unmarked()]
        return [*waits, *self._behind(positions, topics)] + [
            f"{number} is not done"
            for number in range(self.scenario.partitions)
            if not (len(positions.get(number, [])) > 4 and positions[number][4])
        ]
