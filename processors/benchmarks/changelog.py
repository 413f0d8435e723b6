"""Follows a changelog while a role works: how far it came, and at what moment that was seen.

Reads read_committed, as any other reader must: what it has seen is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.errors import Transient
from processors.benchmarks.arena import PARTITIONS, WAIT_S_MAX
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY

POLL_MS: Final = 20
RECORDS_PER_POLL: Final = 50_000


class Follower:
    """Rows and positions of one changelog as they are committed; an async context manager.

    `rows`: the latest value under each key, without positions. `folded`: of the input topic asked for, how
    far each partition came; `next`: the same of all topics.
    """

    def __init__(self, bootstrap: str, changelog: str, topic: str) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.folded: dict[int, int] = {}
        self.next: dict[int, Mapping[str, int]] = {}
        self._topic = topic
        self._tps = [TopicPartition(changelog, number) for number in range(PARTITIONS)]
        self._consumer = committed(bootstrap)

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def poll(self) -> bool:
        """Take in what is there, waiting a moment for more; whether there was anything."""
        answer = await self._consumer.getmany(*self._tps, timeout_ms=POLL_MS, max_records=RECORDS_PER_POLL)
        rows = self.rows
        for tp, records in answer.items():
            latest: Any = None
            for record in records:
                if record.key == POSITION_KEY:
                    latest = record.value
                elif record.value is None:
                    rows.pop(record.key, None)
                else:
                    rows[record.key] = record.value
            if latest is not None:
                following = self.next[tp.partition] = positions.decode(latest).next
                self.folded[tp.partition] = following.get(self._topic, 0)
        return bool(answer)

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether every partition came at least to its offset in `ends`."""
        return all(self.folded.get(number, 0) >= end for number, end in ends.items())

    async def until(self, ends: Mapping[int, int], look: Callable[[], object]) -> None:
        """Poll until every partition came to its end; `look` is called after each poll.

        Raises Transient after `WAIT_S_MAX`.
        """
        deadline = time.monotonic() + WAIT_S_MAX
        while not self.reached(ends):
            if time.monotonic() > deadline:
                raise Transient(
                    f"{self._topic} was folded to {self.folded}, not to {ends}, in {WAIT_S_MAX:.0f} s"
                )
            await self.poll()
            look()


def committed(bootstrap: str) -> AIOKafkaConsumer:
    """A consumer of what is durable, for one who assigns partitions and keeps up with a role."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
        check_crcs=False,
    )


async def ends_of(bootstrap: str, topic: str) -> dict[int, int]:
    """Where the partitions of an input topic end now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, n) for n in range(PARTITIONS)])
        return {tp.partition: offset for tp, offset in ends.items()}
    finally:
        await consumer.stop()
