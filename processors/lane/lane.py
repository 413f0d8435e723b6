"""A lane: one task per partition number that folds chunks and due timers, each in a transaction.

Handlers give the meaning; the lane gives order, durability and ownership. Delivery guarantee: every record
is folded exactly once, in one recorded order, into state that read_committed readers see with its outputs.
Any error that isn't a handler's own answer ends the process: Kafka holds nothing half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from faust.types import TP

from processors.lane.changelog import Watermarks
from processors.lane.hooks import Handler, Hooks, Prepare
from processors.lane.merge import Head, Merge, RecordedEnds
from processors.lane.probe import UNMEASURED, Probe
from processors.lane.runner import Runner
from processors.lane.steps import Steps
from processors.lane.table import LaneTable, UnreadableState
from processors.lane.transaction import Transaction
from processors.lane.unreadable_state import end_unreadable
from processors.lane.writer import TransactionalWriter

log = logging.getLogger(__name__)

EXIT_LANE_FAILED: Final = 76
"""Exit code of a process whose lane failed or was fenced."""

DRAIN_S_MAX: Final = 30.0
"""A chunk that isn't through by then when its partition is taken away ends the process."""

BLOCKED_POLL_S: Final = 0.05
IDLE_S_MAX: Final = 60.0
"""A task with nothing due looks again after this; whatever is queued wakes it at once."""
FIRES_PER_TRANSACTION: Final = 1_000


class Lane:
    """One table, its topics in the order of their rank, and a task per partition number."""

    def __init__(
        self,
        app: Any,
        name: str,
        table: LaneTable,
        writer: TransactionalWriter,
        watermarks: Watermarks,
        *,
        bootstrap: str,
        clock: Callable[[], int],
        ends: RecordedEnds | None,
        group_chunks: int = 4,
        merge_records: int = 2_000,
        real_timers: bool = False,
        prepare: Prepare | None = None,
        probe: Probe = UNMEASURED,
        steps: Steps,
    ) -> None:
        """`clock` gives wall time in ms. With `ends` the lane runs by the event clock instead.

        `steps` takes each step and puts aside what fails.

        `real_timers`: due times are wall times even then (a lease counts in real time). While `prepare` has
        nothing to give, only its own partition number waits.
        """
        self.app = app
        self.name = name
        self.table = table
        self.writer = writer
        self.bootstrap = bootstrap
        self.hooks = Hooks()
        self.folded = 0
        self.probe = probe
        self._watermarks = watermarks
        self._clock = clock
        self._ends = ends
        self.by_events = ends is not None
        self._group_chunks = group_chunks
        self._merge_records = merge_records
        self._real_timers = real_timers
        self._prepare = prepare
        self._steps = steps
        self._handlers: dict[str, Handler] = {}
        self._leads: set[str] = set()
        self._runners: dict[int, Runner] = {}
        self._open = False
        self._idle = asyncio.Event()
        app.tables.lanes.append(self)
        app.on_partitions_revoked.connect(self._drain_or_die, weak=False)
        app.on_before_shutdown.connect(self._drain_or_die, weak=False)

    @property
    def topics(self) -> tuple[str, ...]:
        """Input topics in the order of their rank."""
        return tuple(self._handlers)

    def handle(self, topic: str, handler: Handler, *, leads: bool = False) -> None:
        """Give a topic its meaning. The order of calls is the rank under the event clock.

        `leads`: by the wall clock, what it holds when a partition is taken over is folded before all else.
        """
        self._handlers[topic] = handler
        if leads:
            self._leads.add(topic)

    def positions(self) -> dict[TP, int]:
        """Where each owned input partition goes on, as far as the table knows."""
        return {
            TP(topic, number): offset
            for number, partition in self.table.partitions.items()
            for topic, offset in partition.position.next.items()
            if topic in self._handlers
        }

    def feed(self, message: Any) -> None:
        """Take a chunk from an agent. One of an earlier assignment is dropped: it will come again."""
        if message.generation_id != self.app.consumer_generation_id or not self._open:
            return
        runner = self._runner(message.partition)
        runner.chunks.append(message)
        runner.wake.set()

    def resume(self) -> None:
        """Begin anew after an assignment: owned partitions start with nothing queued."""
        self._runners = {}
        self._open = True
        for partition in self.table.partitions:
            self._runner(partition).wake.set()

    async def drain(self) -> None:
        """Stop taking chunks and have what runs concluded; raises TimeoutError if it is not."""
        self._open = False
        async with asyncio.timeout(DRAIN_S_MAX):
            while any(runner.busy for runner in self._runners.values()):
                self._idle.clear()
                await self._idle.wait()
        for runner in self._runners.values():
            if runner.task is not None:
                runner.task.cancel()
        self._runners = {}

    async def behind(self, topic: str) -> int:
        """How many records of a topic wait to be folded, in the partitions that are owned here."""
        ends = await self._watermarks.ends((topic, number) for number in self.table.partitions)
        reached = self.app.consumer.reached
        return sum(max(0, end - reached(TP(*tp))) for tp, end in ends.items())

    def done(self) -> bool:
        """Whether every owned partition has folded its bounded inputs to their ends, dues included."""
        return all(partition.position.done for partition in self.table.partitions.values())

    def _runner(self, partition: int) -> Runner:
        runner = self._runners.get(partition)
        if runner is None:
            runner = self._runners[partition] = Runner()
            if self._ends is not None:
                runner.merge = Merge(self.topics, self._ends, partition)
            runner.task = asyncio.create_task(self._run(partition, runner))
        return runner

    async def _run(self, partition: int, runner: Runner) -> None:
        pause = 0.0
        while self._open or runner.beside.busy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await runner.wake.wait()
            runner.wake.clear()
            if not (self._open or runner.beside.busy):
                return
            runner.in_turn = True
            try:
                if runner.merge is None:
                    pause = await self._turn_by_wall(partition, runner)
                else:
                    pause = await self._turn_by_events(partition, runner, runner.merge)
            except UnreadableState as error:
                await end_unreadable(self, error)
            except Exception as error:
                # Fenced, or unknown. Nothing is to be saved: the next owner's claim does the rest.
                log.critical("lane %s/%d failed: %r", self.name, partition, error, exc_info=error)
                logging.shutdown()
                os._exit(EXIT_LANE_FAILED)
            finally:
                runner.in_turn = False
                self._idle.set()

    # The wall clock: chunks as they come; timers once everything appended before them is folded.

    async def _turn_by_wall(self, partition: int, runner: Runner) -> float:
        await self._conclude(partition, runner)
        if not self._open or runner.beside.full:
            return IDLE_S_MAX
        if runner.leading is None:
            await self._take_over(partition, runner)
        led = runner.led(self.app.consumer.reached)
        chunks = runner.take(self._group_chunks)
        if chunks:
            await self._fold_chunks(partition, chunks)
        if not led:
            return BLOCKED_POLL_S
        pause = await self._fire_by_wall(partition, runner)
        return 0.0 if runner.chunks else pause

    async def _take_over(self, partition: int, runner: Runner) -> None:
        if self.hooks.owned is not None:
            await self.hooks.owned(partition)
        leads = [(topic, partition) for topic in self._leads]
        runner.leading = await self._watermarks.ends(leads) if leads else {}

    async def _fold_chunks(self, partition: int, chunks: Sequence[Any]) -> None:
        read, spent_s = [], 0.0
        for chunk in chunks:
            handler = self._handlers[chunk.topic]
            if not await self._prepared(chunk):
                return
            began = time.perf_counter()
            items = [handler.read(record)[1] for record in chunk.value]
            spent_s += time.perf_counter() - began
            if self.hooks.before is not None:
                while not await self.hooks.before(partition, items):
                    if not self._open:
                        return
            read.append((chunk, handler, items))
        began = time.perf_counter()
        transaction = Transaction(self.table, partition, self._clock())
        for chunk, handler, items in read:
            start = transaction.next.get(chunk.topic, chunk.key)
            if start != chunk.key:
                raise RuntimeError(f"{chunk.topic}/{partition}: chunk at {chunk.key}, position {start}")
            transaction.advance(chunk.topic, start, chunk.offset + 1)
            self._steps.fold(handler, items, transaction)
            transaction.folded += len(items)
        spent_s += time.perf_counter() - began
        self.probe.folded(self.name, [len(items) for _, _, items in read], spent_s)
        await self._commit(transaction)
        for chunk in chunks:
            self.app.consumer.finish(chunk)

    async def _fire_by_wall(self, partition: int, runner: Runner) -> float:
        """Fire what is due; return how long to wait for more (s)."""
        timers = self.table.partitions[partition].timers
        due, now = timers.next_due(), self._clock()
        if due is None or self.hooks.fire is None:
            return IDLE_S_MAX
        if due > now:
            return min((due - now) / 1000, IDLE_S_MAX)
        if runner.barrier is None:
            # An unread fact may cancel the step: note where the inputs end now, fire once that is folded.
            ends = await self._watermarks.ends((topic, partition) for topic in self._handlers)
            runner.barrier = (now, ends)
        horizon, ends = runner.barrier
        reached = self.app.consumer.reached
        if any(reached(TP(*tp)) < end for tp, end in ends.items()):
            return BLOCKED_POLL_S
        runner.barrier = None
        transaction = Transaction(self.table, partition, now)
        for _ in range(FIRES_PER_TRANSACTION):
            due = timers.next_due()
            if due is None or due > horizon:
                break
            self._steps.fire(self.hooks, timers.pop(), transaction)
        await self._commit(transaction)
        return 0.0

    # The event clock: everything in the order in which it happened, dues between facts.

    async def _turn_by_events(self, partition: int, runner: Runner, merge: Merge) -> float:
        began, sizes = time.perf_counter(), [len(chunk.value) for chunk in runner.chunks]
        while runner.chunks:
            chunk = runner.chunks.popleft()
            handler = self._handlers[chunk.topic]
            if not await self._prepared(chunk):
                return 0.0
            heads: list[Head] = []
            for record in chunk.value:
                time_ms, item = handler.read(record)
                heads.append((time_ms, record.offset, item))
            merge.add(chunk.topic, heads)
            runner.undone.append(chunk)
        timers = self.table.partitions[partition].timers
        transaction = Transaction(self.table, partition, 0, eager_timers=True)
        if transaction.done:
            if not merge.pending() and timers.next_due() is None:
                return IDLE_S_MAX
            transaction.done = False  # an input was extended after all
        blocked = self._merge(transaction, merge)
        if sizes or transaction.folded:
            self.probe.folded(self.name, sizes, time.perf_counter() - began)
        if transaction.folded or transaction.done:
            await self._commit(transaction)
            self._finish_folded(runner, transaction)
        return BLOCKED_POLL_S if blocked else 0.0

    def _merge(self, transaction: Transaction, merge: Merge) -> bool:
        blocked = self._fold_merged(transaction, merge)
        # One run per topic: inside it the order is given by the merge rule.
        spans: dict[str, tuple[str, int, int]] = {}
        for topic, first, following in transaction.runs:
            spans[topic] = (topic, spans.get(topic, (topic, first, 0))[1], following)
        transaction.runs = list(spans.values())
        return blocked

    def _fold_merged(self, transaction: Transaction, merge: Merge) -> bool:
        timers = self.table.partitions[transaction.partition].timers
        while transaction.folded < self._merge_records:
            topic, blocked = merge.first(transaction.next)
            if blocked:
                return True
            due = timers.next_due()
            if topic is not None and (due is None or merge.peek(topic)[0] <= due):
                time_ms, offset, item = merge.take(topic)
                transaction.now = max(transaction.now, time_ms)
                transaction.advance(topic, offset, offset + 1)
                self._steps.fold(self._handlers[topic], (item,), transaction)
            elif due is None:
                transaction.done = True
                return False
            elif self._real_timers and due > self._clock():
                return True
            else:
                transaction.now = max(transaction.now, due)
                self._steps.fire(self.hooks, timers.pop(), transaction)
            transaction.folded += 1
        return False

    def _finish_folded(self, runner: Runner, transaction: Transaction) -> None:
        for chunk in tuple(runner.undone):
            if chunk.offset < transaction.next.get(chunk.topic, 0):
                self.app.consumer.finish(chunk)
                runner.undone.remove(chunk)

    async def _prepared(self, chunk: Any) -> bool:
        """Wait until the chunk can be read; False when its partition goes away before: it will come again."""
        while self._prepare is not None and not await self._prepare(chunk.value):
            if not self._open:
                return False
        return True

    async def _commit(self, transaction: Transaction) -> None:
        """Write, apply, then do what was asked for after the commit, each round in its transaction."""
        partition = transaction.partition
        while True:
            if transaction.announcements and self.hooks.announce is not None:
                await self.hooks.announce(partition, transaction.announcements)
            began = time.perf_counter()
            await self.writer.transact(partition, transaction.writes())
            self.table.apply(partition, transaction.rows, transaction.position())
            self.folded += transaction.folded
            self.probe.committed(self.name, transaction.folded, time.perf_counter() - began)
            for tell in transaction.durable:
                tell()
            if not transaction.effects or self.hooks.after is None:
                return
            if self._ends is None:
                self._go_on_beside(partition, transaction.effects)
                return
            # By the event clock what follows belongs to its place in the order.
            results = await self.hooks.after(partition, transaction.effects)
            transaction = self._concluded(partition, results, transaction.now)

    def _go_on_beside(self, partition: int, effects: Sequence[Any]) -> None:
        assert self.hooks.after is not None
        by_kind: dict[Hashable, list[Any]] = defaultdict(list)
        for effect in effects:
            by_kind[self.hooks.kind(effect)].append(effect)
        for kind, some in by_kind.items():
            self._runners[partition].beside.begin(kind, len(some), self.hooks.after(partition, some))

    async def _conclude(self, partition: int, runner: Runner) -> None:
        """Record what became of effects, in a transaction of their own."""
        if results := runner.beside.take():
            await self._commit(self._concluded(partition, results, self._clock()))

    def _concluded(self, partition: int, results: Sequence[Any], now: int) -> Transaction:
        transaction = Transaction(self.table, partition, now)
        for result in results:
            self._steps.conclude(self.hooks, result, transaction)
        return transaction

    async def _drain_or_die(self, *_: Any, **__: Any) -> None:
        try:
            await self.drain()
        except TimeoutError:
            log.critical("lane %s did not come to rest within %.0f s", self.name, DRAIN_S_MAX)
            logging.shutdown()
            os._exit(EXIT_LANE_FAILED)
