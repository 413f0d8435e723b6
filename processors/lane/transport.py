"""Kafka transport for the lane: one Faust event is a chunk, and nothing is ever stepped over.

Three rules hold here, each because its absence lost records:
only `finish` moves a commit (Faust also acknowledges what it skipped);
a fetch that was dropped in mid-rebalance is read again before anything behind it;
the fetcher is only ever moved inside the consumer's own thread.
"""

# Faust's abstract types hide what its drivers really are; this file works on the drivers.
# mypy: disable-error-code="attr-defined, override, arg-type, assignment, type-arg"
# mypy: disable-error-code="no-any-return, return-value"

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from faust.serializers.schemas import Schema
from faust.streams import Stream
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

SCHEME: Final = "optin"
FINISHED: Final = 1.0
"""Mark in a message's `time_out`; Faust's own `acked` belongs to Faust."""
POLL_S: Final = 0.5
POLL_WHILE_FULL_S: Final = 0.02
"""A short poll while some partition waits for room, so that it isn't kept waiting by the others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetch:
    """How chunks are cut and fetched. Bounds memory: partitions x window x records x record size."""

    chunk_records: int = 1_000
    window_chunks: int = 4
    max_wait_ms: int = 100
    max_bytes: int = 32 << 20


class LaneThread(driver.AIOKafkaConsumerThread):
    """The consumer's thread: read_committed, co-partitioned, with safe seeks."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no setting for these; aiokafka reads them when it starts.
        consumer._fetch_max_wait_ms = self.consumer.fetch.max_wait_ms
        consumer._fetch_min_bytes = 1
        consumer._fetch_max_bytes = self.consumer.fetch.max_bytes
        consumer._isolation_level = "read_committed"
        # Without Faust tables stock code picks round-robin, which would not keep one partition number of
        # all topics on one worker.
        self._assignor = self.app.assignor
        consumer._partition_assignment_strategy = [self._assignor]
        return consumer

    async def fetch(self, active: set[TP], wait_s: float) -> tuple[dict[Any, list[Any]], dict[TP, int]]:
        """Fetch records, and with them where each partition's fetcher stands behind them.

        The second value passes control records and aborted batches, which are never delivered.
        """

        async def both() -> tuple[dict[Any, list[Any]], dict[TP, int]]:
            consumer = self._ensure_consumer()
            limit = consumer._max_poll_records
            records = await self._fetch_records(consumer, active, timeout=wait_s, max_records=limit)
            assignment = consumer._subscription.subscription.assignment
            reached = {}
            for tp in active:
                state = assignment.state_value(tp) if assignment else None
                if state is not None and state.has_valid_position:
                    reached[tp] = state.position
            return records or {}, reached

        return await self.call_thread(both)

    async def check_coordinator(self) -> bool:
        """Raise what aiokafka parks for its own `getmany`, which Faust never calls.

        Returns whether a coordinator is known: it is not from a missed answer until it is found again.
        """

        async def check() -> bool:
            coordinator = self._ensure_consumer()._coordinator
            coordinator.check_errors()
            return coordinator.coordinator_id is not None

        return await self.call_thread(check)

    async def seek_to(self, offsets: Mapping[TP, int]) -> None:
        """Seek owned partitions, inside the thread whose fetcher iterates over them."""

        async def seek() -> None:
            consumer = self._ensure_consumer()
            owned = consumer.assignment()
            for tp, offset in offsets.items():
                if tp in owned:
                    consumer.seek(tp, offset)

        await self.call_thread(seek)


class LaneConsumer(driver.Consumer):
    """Delivers chunks in order, without gaps, and commits what was finished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.window: dict[TP, deque[ConsumerMessage]] = {}
        self.following: dict[TP, int] = {}
        """Where the next delivery of each partition must start."""
        self.delivered: dict[TP, int] = {}
        """Where the last chunk of each partition ended. `following` also passes what holds no record."""
        self.dropped: set[TP] = set()
        """Partitions of which something was fetched and not delivered: to be rewound."""
        self.revocations = 0
        self.rewinds = 0
        self._room = asyncio.Event()
        super().__init__(*args, **kwargs)
        self.fetch: Fetch = getattr(self.app, "lane_fetch", Fetch())

    def _new_consumer_thread(self) -> LaneThread:
        return LaneThread(self, loop=self.loop, beacon=self.beacon)

    # What is finished, and what the group is told of it. The group's offsets feed lag tools; lanes with a
    # table never read them back.

    def finish(self, message: ConsumerMessage) -> None:
        """Declare a chunk durable. No-op for a chunk of an earlier assignment."""
        message.time_out = FINISHED
        self._room.set()

    def ack(self, message: ConsumerMessage) -> bool:
        """Faust's own acknowledgement, which moves nothing here."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:  # noqa: ARG002
        return [tp for tp, window in self.window.items() if window and window[0].time_out]

    def _new_offset(self, tp: TP) -> int | None:
        window, offset = self.window.get(tp), None
        while window and window[0].time_out:
            offset = window.popleft().offset + 1
        self._room.set()
        return offset

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        owned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        return True

    # Where to start.

    async def perform_seek(self) -> None:
        """Forget what was delivered and start over from the lanes' positions, else committed offsets.

        Raises RuntimeError when the position's record is gone (retention): aiokafka would reset silently.
        """
        self.window.clear()
        self.following.clear()
        self.delivered.clear()
        self.dropped.clear()
        committed = {_tp(tp): offset for tp, offset in (await self.seek_to_committed()).items()}
        owned = self.assignment()
        starts = {_tp(tp): offset for tp, offset in (await self.earliest_offsets(*owned)).items()}
        known = {tp: offset for tp, offset in committed.items() if offset is not None and tp in starts}
        if self.app.lane_from_beginning:
            known = {}
            self.app.lane_from_beginning = False  # once in a process, not at each rebalance
        for lane in self.app.tables.lanes:
            mine = lane.positions()
            known.update({tp: offset for tp, offset in mine.items() if tp in starts})
            fresh = {tp for tp in starts if tp.topic in lane.topics and tp not in mine}
            known = {tp: offset for tp, offset in known.items() if tp not in fresh}
        # One missing offset is the marker of the last transaction before retention emptied the partition.
        gone = {tp: offset for tp, offset in known.items() if offset < starts[tp] - 1}
        if gone:
            raise RuntimeError(f"input was deleted before it was folded: {gone}, first offsets {starts}")
        self.delivered.update({**starts, **known})
        following = {tp: max(offset, starts[tp]) for tp, offset in self.delivered.items()}
        await self._thread.seek_to(following)
        self.following.update(following)
        self._committed_offset.update(known)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Count revocations, so that a recovery knows when it was overtaken by one."""
        self.revocations += 1
        self.app.lane_probe.revoked()
        await super().on_partitions_revoked(revoked)

    # Where we stand.

    def reached(self, tp: TP) -> int:
        """All records below this offset are folded and durable, or were never ours to fold."""
        for message in self.window.get(tp, ()):
            if not message.time_out:
                start: int = message.key
                return start
        return self.following.get(tp, 0)

    # Delivery.

    def _unfinished(self, tp: TP) -> int:
        return sum(1 for message in self.window.get(tp, ()) if not message.time_out)

    async def _drain_messages(self, fetcher: Any) -> None:
        stopping, halting = self._stopped.is_set, fetcher._stopped.is_set
        try:
            while not (stopping() or halting()):
                await asyncio.sleep(0)
                if self.flow_active:
                    await self._drain_once()
                else:
                    await self.wait(self.can_resume_flow)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        generation = self.app.consumer_generation_id
        assigned = set(self._get_active_partitions())
        has_room = {tp for tp in assigned if self._unfinished(tp) < self.fetch.window_chunks}
        if not has_room:
            self._room.clear()
            await self.wait_first(self._room.wait(), self.suspend_flow.wait(), timeout=1.0)
            return
        timeout = POLL_S if len(has_room) == len(assigned) else POLL_WHILE_FULL_S
        records, reached = await self._thread.fetch(has_room, timeout)
        undelivered = {_tp(tp) for tp in records}
        try:
            if self.flow_active and generation == self.app.consumer_generation_id:
                deliver = self._deliver(records, reached, generation, undelivered)
                await self.wait_first(deliver, self.suspend_flow.wait())
        finally:
            self.dropped |= undelivered

    async def _deliver(
        self, records: dict[Any, list[Any]], reached: dict[TP, int], generation: int, undelivered: set[TP]
    ) -> None:
        for raw_tp, batch in records.items():
            tp = _tp(raw_tp)
            if await self._rewound(tp, batch[0].offset):
                undelivered.discard(tp)
                reached.pop(tp, None)
                continue
            for begin in range(0, len(batch), self.fetch.chunk_records):
                if not self.flow_active or generation != self.app.consumer_generation_id:
                    return
                await self._deliver_chunk(tp, batch[begin : begin + self.fetch.chunk_records], generation)
            undelivered.discard(tp)
        for tp, offset in reached.items():
            # Behind the records there may be control records: they count as read.
            if tp not in self.dropped and offset > self.following.get(tp, 0):
                self.following[tp] = offset

    async def _deliver_chunk(self, tp: TP, records: list[Any], generation: int) -> None:
        last = records[-1]
        start = self.delivered.get(tp, records[0].offset)
        self.following[tp] = self.delivered[tp] = last.offset + 1
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            start,  # `key`: where this chunk begins, holes before its first record included
            records,
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )
        self.window.setdefault(tp, deque()).append(message)
        await self.callback(message)

    async def _rewound(self, tp: TP, first: int) -> bool:
        """Go back if records between the expected and the first offset were fetched and dropped.

        A fetch that spans a rebalance can answer after the seek; its records are dropped, and the next
        fetch would start behind them. Holes without a drop are real: control records or compaction.
        """
        expected = self.following.get(tp)
        if expected is None or first == expected or (first > expected and tp not in self.dropped):
            self.dropped.discard(tp)
            return False
        self.rewinds += 1
        self.log.warning("rewind %s/%d from %d to %d", tp.topic, tp.partition, first, expected)
        await self._thread.seek_to({tp: expected})
        self.dropped.discard(tp)
        return True


def _tp(tp: Any) -> TP:
    return TP(tp.topic, tp.partition)


class RawSchema(Schema):
    """Hands the chunk through; what the bytes mean is the agents' business."""

    def compile(self, app: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return a decoder that decodes nothing."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001
            return create_event(message.key, message.value, None, message)

        return decode


class ChunkStream(Stream):
    """A stream on the Python iterator: the compiled one inlines its own acknowledgement."""

    def __aiter__(self) -> Any:
        return self._py_aiter()


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = LaneConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
