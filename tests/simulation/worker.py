"""One worker process of a role: the real lanes, handlers and agents on simulated servers.

Built as `processors.wiring` does it, with the same barrier. What Faust does around them (join, recover, feed,
give back) is in `Worker.run`; a process that ends itself is dead for the simulation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest import mock

from faust.types import TP

from connectors.push import paced
from connectors.push.pace import Pace
from connectors.push.paced import PacedSender
from connectors.push.port import PushSender
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from processors import wiring
from processors.agents import hand_over, intake, push_sender, reach_rows, subject_rows
from processors.agents import identity_linker as linking
from processors.agents.bad_share import BadShare
from processors.agents.consent_projector import consent_projector
from processors.agents.delivery_facts import Lease
from processors.agents.journey_runner import journey_runner
from processors.agents.push_sender import PushSenderHandler
from processors.agents.reach_rows import ReachHandler
from processors.agents.subject_rows import SubjectHandler
from processors.lane import lane as lane_module
from processors.lane import recovery
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.lane.probe import UNMEASURED
from processors.lane.steps import Steps
from processors.lane.table import LaneTable, RowCodec
from processors.topic_names import (
    CONSENT_CHANGELOG,
    JOURNEYS_CHANGELOG,
    LANE_OUTPUTS,
    LINKS_CHANGELOG,
    SENDS_CHANGELOG,
)
from tests.simulation.consumer import App
from tests.simulation.definitions import definitions_of
from tests.simulation.group import Assignment, Group, Member
from tests.simulation.loop import PROCESS, Process, VirtualLoop
from tests.simulation.ports import Ends, Provider, Reappender, Wire, Writer, read_back
from tests.support.given import ZONES, OnePolicy

LEASE_S = 10.0
SKEW_S = 2.0
BARRIER_S = 10.0
GROUP_CHUNKS = 4
RATE = 2_000.0
IDLE_S_MAX = 7_200.0
"""Looking again at nothing costs time in a simulation of days."""


class Died(BaseException):
    """A process ended itself."""


class Worker:
    """A process of `role`, to be started with `run`."""

    def __init__(self, role: str, wire: Wire, group: Group, ahead_s: float, name: str) -> None:
        self.role = role
        self.process = wire.process
        self._wire = wire
        self._group = group
        self._ahead_ms = int(ahead_s * 1000)
        self._name = name
        self.member: Member | None = None
        self.app = App(wire)
        self.watermarks = Ends(wire)
        self.settings = SimpleNamespace(barrier_timeout_s=BARRIER_S)
        {"journeys": self._journeys, "delivery": self._delivery}[role]()

    def wall_ms(self) -> int:
        """This process's clock."""
        return self._wire.world.broker.now_ms() + self._ahead_ms

    # The parts, as `processors.wiring` puts them together.

    def _lane(self, name: str, changelog: str, rows: RowCodec, *, real_timers: bool = False) -> Lane:
        world = self._wire.world
        writer: Any = Writer(self._wire, f"optin.{self.role}-{name}", LANE_OUTPUTS)
        wire: Any = self._wire
        watermarks: Any = self.watermarks
        return Lane(
            self.app,
            name,
            LaneTable(changelog, rows),
            writer,
            watermarks,
            bootstrap=wire,
            clock=self.wall_ms,
            ends=world.ends if world.scenario.by_events else None,  # type: ignore[arg-type]
            group_chunks=GROUP_CHUNKS,
            merge_records=20,
            real_timers=real_timers,
            # A step that raises ends the worker: the judges then say so, instead of a dead letter.
            steps=Steps(BadShare(1.0), (Exception,), name, UNMEASURED),
        )

    def _journeys(self) -> None:
        scenario = self._wire.world.scenario
        lane = self._lane("subjects", JOURNEYS_CHANGELOG, subject_rows.ROWS)
        appender = Reappender(self._wire, intake.FIRST_APPENDED_HEADER)
        reappend = None if scenario.by_events else appender.append
        handler = SubjectHandler(
            definitions_of(scenario), ZONES, CelRules(), LiquidTexts(), scenario.partitions, reappend
        )
        consent_projector(self.app, lane, handler)
        journey_runner(self.app, lane, handler, Hooks(fire=handler.fire, before=handler.before))
        if not scenario.by_events:
            links_lane = self._lane("links", LINKS_CHANGELOG, linking.ROWS)
            linking.identity_linker(
                self.app, links_lane, linking.IdentityLinker(scenario.partitions, appender.append_all)
            )

    def _delivery(self) -> None:
        scenario = self._wire.world.scenario
        consent_lane = self._lane("consent", CONSENT_CHANGELOG, reach_rows.ROWS, real_timers=True)
        consent_projector(self.app, consent_lane, ReachHandler(scenario.partitions))
        by_events = scenario.by_events
        parts: Any = self

        def reach_of(key: bytes, transaction: Any) -> Any:
            if by_events:
                return transaction.get(key)
            return consent_lane.table.get(transaction.partition, key)

        async def barrier(partition: int, permissions_next: int, tokens_next: int) -> bool:
            if by_events:
                return True
            return await wiring._folded(parts, partition, permissions_next, tokens_next)

        sender: PushSender = Provider(self._wire)
        if scenario.outage is not None:
            sender = PacedSender(sender, Pace(RATE))
        handler = PushSenderHandler(
            sender,
            OnePolicy(definitions_of(scenario).policy),
            reach_of,
            barrier,
            Lease(LEASE_S, SKEW_S),
            self.wall_ms,
            leaving=lambda: self.app.rebalancing,
            by_events=by_events,
        )
        lane = consent_lane
        if not by_events:
            lane = self._lane("sends", SENDS_CHANGELOG, reach_rows.ROWS, real_timers=True)
        push_sender.push_sender(self.app, lane, handler)

    # What Faust does around them.

    async def run(self) -> None:
        """Join, recover, work, give back; for ever."""
        for stream, agent in self.app.agents:
            self._wire.world.loop.create_task(agent(stream))  # type: ignore[arg-type]
        try:
            while True:
                await self._once()
        except Exception as error:  # noqa: BLE001 - whatever a worker's main part raises ends the process
            self.process.kill(f"main part: {error!r}")

    async def _once(self) -> None:
        member = await self._join()
        generation, numbers = await self._assignment
        self.app.consumer_generation_id = generation
        recovering = asyncio.ensure_future(self._recover(set(numbers), member))
        told = asyncio.ensure_future(member.told.wait())
        await asyncio.wait([recovering, told], return_when=asyncio.FIRST_COMPLETED)
        if not recovering.done():
            recovering.cancel()
            await asyncio.wait([recovering])
        if not recovering.cancelled() and (error := recovering.exception()) is not None:
            raise error
        await told
        self.app.rebalancing = True
        self.app.consumer.stop()
        await self.app.on_partitions_revoked.send(self.app, set())

    async def _join(self) -> Member:
        member = self.member = Member(self._name, self.process, asyncio.Event())
        self._assignment: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()
        await self._wire.call("join", lambda: self._group.join(member, self._assignment))
        return member

    async def _recover(self, numbers: set[int], member: Member) -> None:
        for lane in self.app.tables.lanes:
            await recovery.assign(lane, numbers, member.told.is_set)
        if member.told.is_set():
            return
        starts = {}
        for lane in self.app.tables.lanes:
            starts.update({TP(topic, number): 0 for topic in lane.topics for number in numbers})
            starts.update(lane.positions())
        for lane in self.app.tables.lanes:
            lane.resume()
        self.app.rebalancing = False
        self.app.consumer.start(starts, self._wire.world.scenario.chunk_records)

    async def stop(self) -> None:
        """SIGTERM: finish what runs, leave the group, end."""
        await self.app.on_before_shutdown.send(self.app)
        if self.member is not None:
            member = self.member
            await self._wire.call("leave", lambda: self._group.leave(member))
        self.process.kill("stopped")


@contextlib.contextmanager
def real_parts_on(loop: VirtualLoop, now_ms: Callable[[], int]) -> Iterator[None]:
    """While this holds, what the real parts take from the machine comes from the simulation."""

    def exit_process(code: int) -> NoReturn:
        process: Process | None = PROCESS.get()
        assert process is not None
        process.kill(f"ended itself with {code}")
        raise Died(code)

    clock: Any = SimpleNamespace(monotonic=loop.time)
    quiet: Any = SimpleNamespace(shutdown=lambda: None)
    with contextlib.ExitStack() as changes:
        for module, name, stand_in in (
            (hand_over, "time", clock),
            (paced, "time", clock),
            (wiring, "time", clock),
            (subject_rows, "wall_ms", now_ms),
            (linking, "wall_ms", now_ms),
            (lane_module, "os", SimpleNamespace(_exit=exit_process)),
            (lane_module, "logging", quiet),
            (lane_module, "IDLE_S_MAX", IDLE_S_MAX),
            (recovery, "read_back", read_back),
        ):
            changes.enter_context(mock.patch.object(module, name, stand_in))
        yield
