"""Reading a changelog back: in bulk, read_committed, outside any group.

Only to be called after the partition was claimed: then nobody else can move its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

FETCH_BYTES: Final = 4 << 20
RECORDS_PER_POLL: Final = 5_000

Apply = Callable[[int, list[Any]], None]
"""Takes (partition, records in offset order)."""


async def read_back(
    bootstrap: str,
    topic: str,
    partitions: Iterable[int],
    apply: Apply,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Read whole partitions from their beginning to their committed end; return how many records.

    Stops early, with partial results, as soon as `cancelled()` is true. Raises KafkaError.
    """
    tps = [TopicPartition(topic, partition) for partition in partitions]
    if not tps:
        return 0
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=FETCH_BYTES,
        check_crcs=False,
    )
    await reader.start()
    total = 0
    try:
        reader.assign(tps)
        begins, ends = await asyncio.gather(reader.beginning_offsets(tps), reader.end_offsets(tps))
        pending = set()
        for tp in tps:
            if begins[tp] < ends[tp]:
                reader.seek(tp, begins[tp])
                pending.add(tp)
            else:
                reader.pause(tp)
        while pending and not cancelled():
            batches = await reader.getmany(*pending, timeout_ms=500, max_records=RECORDS_PER_POLL)
            for tp, records in batches.items():
                apply(tp.partition, records)
                total += len(records)
            for tp in tuple(pending):
                # By position, not by offset: the tail may be compacted, aborted, or control records.
                if await reader.position(tp) >= ends[tp]:
                    pending.discard(tp)
                    reader.pause(tp)
            await asyncio.sleep(0)
    finally:
        await reader.stop()
    return total


class Watermarks:
    """Asks the broker how far partitions reach now: the high watermark, not the last stable offset."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._client: AIOKafkaConsumer | None = None
        self._starting = asyncio.Lock()

    async def ends(self, tps: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The next offset to be written of each (topic, partition). Raises KafkaError."""
        async with self._starting:
            if self._client is None:
                client = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False
                )
                await client.start()
                self._client = client
        asked = [TopicPartition(topic, partition) for topic, partition in tps]
        answer = await self._client.end_offsets(asked)
        return {(tp.topic, tp.partition): offset for tp, offset in answer.items()}

    async def stop(self) -> None:
        """Close the connection, if one was opened."""
        if self._client is not None:
            await self._client.stop()
