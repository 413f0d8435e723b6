"""metrics_streamer: writes facts to ClickHouse in large column-wise batches.

Delivery guarantee: at least once, and a second copy changes no answer (rows are replaced by event id).
Offsets are committed after the insert; while ClickHouse is away, the batch waits and reading pauses.
What the ledger refuses (see `intake`) is not measured either: its dead letter is. What nobody of ours wrote
to a topic of ours is stepped over, counted, and its place logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from connectors import codec
from connectors.errors import Backpressure, Poison, Transient
from ledger.facts import Fact
from processors.agents import intake
from processors.lane.app import raw_topic
from processors.lane.hooks import Prepare
from processors.lane.sparse_log import SparseLog
from processors.telemetry import catalogue as c
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import (
    ACTIVITY,
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    ITEMS,
    LINKS,
    PERMISSIONS,
    TOKENS,
)

log = logging.getLogger(__name__)

TOPICS: Final = (PERMISSIONS, TOKENS, ACTIVITY, LINKS, ITEMS, DECISIONS, DELIVERIES, DEAD_LETTERS)
BACKOFF_S: Final = 0.5
BACKOFF_S_MAX: Final = 30.0
CHUNKS_QUEUED_MAX: Final = 1_000

Row = tuple[Fact, int, int, int]
"""(fact, partition, offset, first append in ms)."""

INPUTS: Final = frozenset({PERMISSIONS, TOKENS, ACTIVITY, LINKS, ITEMS})
"""Topics that others write to, whose records need checking."""


class Sink(Protocol):
    """Where rows go."""

    def insert(self, rows: Sequence[Row]) -> None:
        """Write all rows, or ask whether it would answer if there are none; blocking.

        Raises `Transient` if it may work later.
        """


class MetricsStreamer:
    """Gathers chunks until a batch is large or old enough, inserts it, then finishes its chunks."""

    def __init__(
        self,
        app: Any,
        sink: Sink,
        rows_max: int,
        wait_s: float,
        prepare: Prepare | None = None,
        meters: Meters = FORGETFUL,
    ) -> None:
        """`prepare`: see `lane.Prepare`; while it has nothing to give, all partitions wait."""
        self._app = app
        self._sink = sink
        self._rows_max = rows_max
        self._wait_s = wait_s
        self._prepare = prepare
        self._queue: asyncio.Queue[Any] = asyncio.Queue(CHUNKS_QUEUED_MAX)
        self.inserted = 0
        self.inserting = False
        self._meters = meters
        self._answers = False
        self._strangers = SparseLog(
            log, logging.WARNING, "%s/%d offset %d is no fact of this system's and is stepped over: %s"
        )

    async def feed(self, message: Any) -> None:
        """Take a chunk, once its records can be read."""
        while self._prepare is not None and not await self._prepare(message.value):
            pass  # it paused, and said why
        await self._queue.put(message)

    def refused(self) -> bool:
        """Whether ClickHouse has not answered yet, or refused what it was last asked. For any thread."""
        return not self._answers

    async def run(self) -> None:
        """Insert for ever. An error that is not `Transient` ends the agent, and with it the process."""
        self.inserting = True
        await self._insert([])  # before anything is read: whether ClickHouse answers
        while True:
            self.inserting = False
            chunks = [await self._queue.get()]
            rows = self._rows(chunks[0])
            deadline = time.monotonic() + self._wait_s
            while len(rows) < self._rows_max:
                try:
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        chunk = await self._queue.get()
                except TimeoutError:
                    break
                chunks.append(chunk)
                rows += self._rows(chunk)
            self.inserting = True
            began = time.monotonic()
            if rows:
                await self._insert(rows)
                self._meters.observe(c.INSERT, time.monotonic() - began)
                self._meters.add(c.INSERTED, len(rows))
            for chunk in chunks:
                self._app.consumer.finish(chunk)

    async def _insert(self, rows: list[Row]) -> None:
        pause = BACKOFF_S
        while True:
            try:
                await asyncio.to_thread(self._sink.insert, rows)
            except Backpressure as error:
                self._answers = False
                pause = error.retry_after_s
            except Transient as error:
                self._answers = False
                log.warning(
                    "ClickHouse does not take %d rows, next try in %.1f s: %s", len(rows), pause, error
                )
            else:
                self._answers = True
                self.inserted += len(rows)
                if rows:
                    log.info("inserted %d rows, %d since the start", len(rows), self.inserted)
                return
            self._meters.add(c.INSERT_RETRIES)
            await asyncio.sleep(pause)
            pause = min(2 * pause, BACKOFF_S_MAX)

    def _rows(self, message: Any) -> list[Row]:
        rows: list[Row] = []
        refused = 0
        for record in message.value:
            if record.topic in INPUTS:
                found = intake.checked(record, intake.kind_on(record.topic))
                if isinstance(found, intake.Refused):
                    # The journeys role puts it into dead-letters, with its bytes; here it is only counted.
                    refused += 1
                else:
                    fact, appended_ms, _ = found
                    rows.append((fact, record.partition, record.offset, appended_ms))
            else:
                own = self._own(record)
                if own is None:
                    refused += 1
                else:
                    rows.append((own, record.partition, record.offset, record.timestamp))
        if refused:
            self._meters.add(c.UNMEASURED, refused)
        return rows

    def _own(self, record: Any) -> Fact | None:
        """The fact of a record on a topic of ours, or None: whoever wrote that is not one of us."""
        try:
            fact = codec.decode(record.value)
        except Poison as poison:
            self._strangers.write(record.topic, record.partition, record.offset, poison.reason)
            return None
        if codec.topic_of(type(fact)) == record.topic:
            return fact
        self._strangers.write(record.topic, record.partition, record.offset, "misplaced_fact")
        return None


def metrics_streamer(app: Any, streamer: MetricsStreamer) -> None:
    """Register the agent on `app`."""
    waits_already = app.lane_waits_outside
    app.lane_waits_outside = lambda: streamer.inserting or waits_already()

    @app.agent(raw_topic(app, *TOPICS), name="metrics_streamer")  # type: ignore[untyped-decorator]
    async def stream(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            await streamer.feed(chunk.message)

    @app.task  # type: ignore[untyped-decorator]
    async def insert() -> None:
        await streamer.run()
