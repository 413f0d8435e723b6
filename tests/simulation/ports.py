"""The servers as one worker sees them: every call takes time, and is a point at which the worker can die.

A call is sent, done at the server, and answered. A worker that dies in between is gone, but what it sent
is done all the same; that is why a claim must fence.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar

from connectors.kafka.append import Addressed
from connectors.push.port import Outcome, Push
from processors.lane import markers
from processors.lane.markers import Producing, Sequences
from processors.lane.position import POSITION_KEY
from processors.lane.writer import Writes
from tests.simulation.broker import Fenced, Place, Record
from tests.simulation.faults import Strikes
from tests.simulation.loop import Process
from tests.simulation.world import World

T = TypeVar("T")
RETRY_S = 0.02
BEGIN_TRIES_MAX = 500
READ_BACK_RECORDS = 40
CALL_S = 5.0
"""After so long a sender waits for an answer no more."""


class Wire:
    """The connections of one worker process."""

    def __init__(self, world: World, process: Process, strikes: Strikes) -> None:
        self.world = world
        self.process = process
        self.strikes = strikes

    async def call(self, what: str, done: Callable[[], T]) -> T:
        """One round trip to a server, at which `done` happens. Raises what it raises."""
        loop, draw, base = self.world.loop, self.world.draw, self.world.scenario.latency_s
        there, back = base * (0.2 + draw.random()), base * (0.2 + draw.random())
        strike = self.strikes.next(what)
        there += strike.slow_s
        answer: asyncio.Future[T] = loop.create_future()

        def answered(result: T | None, error: Exception | None) -> None:
            if not answer.done():
                if error is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(result)  # type: ignore[arg-type]

        def again() -> None:
            if self.process.alive:  # whoever lives tries again until the broker answers
                at_server()

        def at_server() -> None:
            if what != "send" and loop.time() < self.world.broker.down_until:
                loop.later(self.world.broker.down_until - loop.time() + there, again)
                return
            try:
                result, error = done(), None
            except Exception as raised:  # noqa: BLE001 - it goes to whoever called
                result, error = None, raised
            loop.later(back, answered, result, error)

        if strike.hits("before"):
            await strike.strike(self.process)
        loop.later(there, at_server)
        if strike.hits("in_flight"):
            await strike.strike(self.process)
        result = await answer
        if strike.hits("after"):
            await strike.strike(self.process)
        return result


class Writer:
    """`TransactionalWriter`'s interface on the simulated broker."""

    def __init__(self, wire: Wire, prefix: str, outputs: Sequence[str]) -> None:
        self._wire = wire
        self._prefix = prefix
        self._outputs = outputs
        self._owned: dict[int, tuple[int, int, Sequences]] = {}
        """Partition number -> (producer id, epoch, what was written)."""
        self.transactions = 0
        self.batches = 0

    async def claim(self, partition: int) -> None:
        """InitProducerId, and again until the former transaction is over."""
        broker, name = self._wire.world.broker, f"{self._prefix}-{partition}"
        producer, epoch = await self._wire.call("claim", lambda: broker.claim(name))
        for _ in range(BEGIN_TRIES_MAX):
            if await self._wire.call("claimed", lambda: broker.settled(name)):
                self._owned[partition] = producer, epoch, Sequences()
                return
            await asyncio.sleep(RETRY_S)
        raise Fenced(f"{name}: the former transaction does not end")

    async def settle(self, partition: int, changelog: str) -> dict[Place, bool]:
        """End what hangs of the partition number."""
        producer, _, _ = self._owned[partition]
        servers = Leaders(self._wire)
        return await markers.settle(servers, servers, (changelog, partition), self._outputs, producer)

    async def release(self, partition: int) -> None:
        """Forget the partition."""
        self._owned.pop(partition, None)

    async def transact(self, partition: int, writes: Writes) -> None:
        """One transaction: begin, a batch for each topic at the same time, commit, and its markers."""
        broker, name = self._wire.world.broker, f"{self._prefix}-{partition}"
        producer, epoch, sequences = self._owned[partition]
        call = self._wire.call
        batches = [(topic, list(items)) for topic, items in writes.items()]
        places = [(topic, partition) for topic, _ in batches]
        for _ in range(BEGIN_TRIES_MAX):
            if await call("begin", lambda: broker.begun(name, epoch, places)):
                break
            await asyncio.sleep(RETRY_S)
        counts = {topic: len(items) for topic, items in batches if topic in self._outputs}
        stamp = sequences.stamp(producer, epoch, counts)

        def batch(topic: str, items: list[tuple[bytes | None, bytes | None]]) -> Any:
            stamped = [(key, value, markers.headers_of(key, stamp)) for key, value in items]
            return call("produce", lambda: broker.produce(name, epoch, (topic, partition), stamped))

        await asyncio.gather(*(batch(topic, items) for topic, items in batches))
        self.batches += len(batches)
        await call("commit", lambda: broker.commit(name, epoch))
        await markers.marked(Leaders(self._wire), places, producer, epoch)
        self.transactions += 1


class Leaders:
    """`markers.Leaders` and `markers.Changelogs` on the simulated broker."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._broker = wire.world.broker

    def now_ms(self) -> int:
        """The broker's clock."""
        return self._broker.now_ms()

    async def describe(self, places: Iterable[Place]) -> dict[Place, list[Producing]]:
        """DescribeProducers."""
        asked = list(places)
        return await self._wire.call(
            "describe", lambda: {place: self._broker.describe(place) for place in asked}
        )

    async def mark(self, place: Place, producing: Producing, epoch: int, *, committed: bool) -> None:
        """WriteTxnMarkers."""
        await self._wire.call(
            "mark", lambda: self._broker.mark(place, producing.producer, epoch, committed=committed)
        )

    async def last_open(self, place: Place, open_at: int) -> markers.Headers | None:
        """Read uncommitted."""
        return await self._wire.call("last open", lambda: _position(self._broker.tail(place, open_at)))

    async def last_committed(self, place: Place) -> markers.Headers | None:
        """Read committed."""
        end = self._broker.end_offset(place)
        return await self._wire.call("last", lambda: _position(self._broker.fetch(place, 0, end)[0]))


def _position(records: Iterable[Record]) -> markers.Headers | None:
    found = [record.headers for record in records if record.key == POSITION_KEY]
    return found[-1] if found else None


class Ends:
    """`Watermarks`' interface; the judge is told who asked for which permissions, and when."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """High watermarks."""
        broker, asked = self._wire.world.broker, list(places)
        self._wire.world.asked(self._wire.process, asked)
        return await self._wire.call(
            "watermarks", lambda: {place: broker.end_offset(place) for place in asked}
        )


async def read_back(
    wire: Wire,
    topic: str,
    partitions: Iterable[int],
    apply: Callable[[int, list[Any]], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """`changelog.read_back` on the simulated broker; a worker's `bootstrap` is its wire."""
    broker, total = wire.world.broker, 0
    for partition in sorted(partitions):
        place, at = (topic, partition), 0
        end = await wire.call("end", lambda place=place: broker.stable_offset(place))  # type: ignore[misc]
        while at < end and not cancelled():
            records, at = await wire.call(
                "read",
                lambda place=place, at=at: broker.fetch(place, at, READ_BACK_RECORDS),  # type: ignore[misc]
            )
            apply(partition, records)
            total += len(records)
    return total


class Reappender:
    """`Appender.append` on the simulated broker."""

    def __init__(self, wire: Wire, header: str) -> None:
        self._wire = wire
        self._header = header

    async def append(
        self, topic: str, partition: int, key: bytes, value: bytes | None, first_appended_ms: int
    ) -> None:
        """Append, acknowledged."""
        await self.append_all([Addressed(topic, partition, key, value, first_appended_ms)])

    async def append_all(self, records: Sequence[Addressed]) -> None:
        """Append side by side; in the order given where they go to one partition."""
        await asyncio.gather(
            *(
                self._wire.call("reappend", lambda batch=list(batch): self._append(batch))  # type: ignore[misc]
                for _, batch in groupby(sorted(records, key=_place), key=_place)
            )
        )

    def _append(self, records: Sequence[Addressed]) -> None:
        for record in records:
            first_ms = record.first_appended_ms
            headers = [] if first_ms is None else [(self._header, str(first_ms).encode())]
            self._wire.world.broker.append(_place(record), record.key, record.value, headers)


def _place(record: Addressed) -> tuple[str, int]:
    return record.topic, record.partition


class Provider:
    """A push provider that takes pushes, or hangs, fails, refuses, or leaves it open."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._connected = True

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """The moment of this call is when pushes are handed over."""
        world = self._wire.world
        outage, now = world.scenario.outage, world.loop.time()
        if outage is not None and outage.begins <= now < outage.ends:
            return await self._away(outage.how, pushes)
        self._connected = True
        world.handed_over(self._wire.process, pushes)
        hang, fail, unknown, rejected = world.scenario.provider
        luck = world.draw.random()
        if luck < hang:
            await asyncio.sleep(1_000)
        if luck < hang + fail:
            raise ConnectionResetError("the provider went away")

        def outcome() -> Outcome:
            luck = world.draw.random()
            if luck < unknown:
                return Outcome("unknown", error="timeout")
            if luck < unknown + rejected:
                return Outcome("rejected", "token_dead", "gone")
            return Outcome("accepted")

        return await self._wire.call("send", lambda: [outcome() for _ in pushes])

    async def _away(self, how: str, pushes: Sequence[Push]) -> list[Outcome]:
        world = self._wire.world
        if how == "refuses" or not self._connected:
            busy = Outcome("rejected", "transient", "unreachable")
            return await self._wire.call("send", lambda: [busy] * len(pushes))
        self._connected = how == "mute"
        world.handed_over(self._wire.process, pushes, lost=how == "swallows")
        await asyncio.sleep(CALL_S)
        return [Outcome("unknown", error="timeout")] * len(pushes)
