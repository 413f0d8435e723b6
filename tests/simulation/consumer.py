"""What a lane and its agents need of Faust: an app with signals, streams of chunks, and a consumer.

The consumer delivers chunks from where the lanes' positions stand, a bounded number unfinished, and says
how far everything is folded (`reached`), past control records and aborted batches; as `LaneConsumer` does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final, Self

from faust.types import TP

from processors.lane.transport import FINISHED
from tests.simulation.ports import Wire

WINDOW_CHUNKS: Final = 4


@dataclasses.dataclass(slots=True, eq=False)
class Chunk:
    """Faust's message, as far as the lane reads it. `key`: where the chunk begins."""

    topic: str
    partition: int
    offset: int
    key: int
    value: list[Any]
    generation_id: int
    time_out: float | None = None


class Signal:
    """A signal of Faust's: receivers are awaited one after the other."""

    def __init__(self) -> None:
        self._receivers: list[Callable[..., Awaitable[None]]] = []

    def connect(self, receiver: Callable[..., Awaitable[None]], *, weak: bool) -> None:
        """Add a receiver."""
        assert not weak
        self._receivers.append(receiver)

    async def send(self, *args: Any) -> None:
        """Await all receivers."""
        for receiver in self._receivers:
            await receiver(*args)


class Stream:
    """The chunks of one agent."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Chunk] = asyncio.Queue()

    def noack(self) -> Self:
        """The same stream."""
        return self

    def events(self) -> Self:
        """The same stream."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return SimpleNamespace(message=await self.queue.get())


class App:
    """A Faust app, as far as lanes and agents use one."""

    def __init__(self, wire: Wire) -> None:
        self.tables: Any = SimpleNamespace(lanes=[])
        self.on_partitions_revoked = Signal()
        self.on_before_shutdown = Signal()
        self.consumer_generation_id = 0
        self.rebalancing = False
        self.consumer = Consumer(self, wire)
        self.streams: dict[str, Stream] = {}
        self.agents: list[tuple[Stream, Callable[[Any], Awaitable[None]]]] = []

    def topic(self, *names: str, schema: Any) -> tuple[str, ...]:  # noqa: ARG002 - Faust's signature
        """A channel is the names of its topics."""
        return names

    def agent(self, channel: tuple[str, ...], name: str) -> Callable[[Any], Any]:  # noqa: ARG002
        """Register an agent: its function takes the stream of these topics."""

        def register(agent: Any) -> Any:
            stream = Stream()
            self.streams.update(dict.fromkeys(channel, stream))
            self.agents.append((stream, agent))
            return agent

        return register


class Consumer:
    """Delivers chunks and knows how far each partition is folded."""

    def __init__(self, app: App, wire: Wire) -> None:
        self._app = app
        self._wire = wire
        self.window: dict[TP, deque[Chunk]] = {}
        self.following: dict[TP, int] = {}
        self._room = asyncio.Event()
        self._followers: list[asyncio.Task[None]] = []
        self.delivered = 0

    def finish(self, chunk: Chunk) -> None:
        """The chunk is durable."""
        chunk.time_out = FINISHED
        self._room.set()

    def reached(self, tp: TP) -> int:
        """All records below this offset are folded and durable, or hold nothing."""
        for chunk in self.window.get(tp, ()):
            if not chunk.time_out:
                return chunk.key
        return self.following.get(tp, 0)

    def start(self, starts: dict[TP, int], chunk_records: int) -> None:
        """Follow these partitions, each from its offset."""
        self.window = {tp: deque() for tp in starts}
        self.following = dict(starts)
        self._followers = [
            asyncio.create_task(self._follow(tp, chunk_records, self._app.consumer_generation_id))
            for tp in starts
        ]

    def stop(self) -> None:
        """Deliver nothing more."""
        for follower in self._followers:
            follower.cancel()
        self._followers = []

    async def _follow(self, tp: TP, chunk_records: int, generation: int) -> None:
        broker, place = self._wire.world.broker, (tp.topic, tp.partition)
        grown, begin = asyncio.Event(), self.following[tp]
        position, window = begin, self.window[tp]
        stream = self._app.streams[tp.topic]

        def may_be_more() -> None:
            grown.set()

        broker.watch(place, may_be_more)
        try:
            while True:
                while sum(not chunk.time_out for chunk in window) >= WINDOW_CHUNKS:
                    self._room.clear()
                    await self._room.wait()
                while window and window[0].time_out:
                    window.popleft()
                grown.clear()
                records, following = await self._wire.call(
                    "fetch",
                    lambda position=position: broker.fetch(place, position, chunk_records),  # type: ignore[misc]
                )
                if records:
                    last = records[-1].offset
                    chunk = Chunk(tp.topic, tp.partition, last, begin, records, generation)
                    begin = last + 1
                    window.append(chunk)
                    stream.queue.put_nowait(chunk)
                    self.delivered += len(records)
                moved = following > position
                position = self.following[tp] = following
                if not moved:
                    await grown.wait()
        finally:
            broker.unwatch(place, may_be_more)
