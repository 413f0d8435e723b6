"""Reads topics whole, as they are now: for checks, reports and definitions, not for processing.

Belongs to no consumer group and commits nothing: any number of readers leave no trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from connectors.errors import Misconfigured, Transient
from connectors.kafka.topics import partition_count

FETCH_BYTES: Final = 4 << 20
"""Fetched at most at once for each partition; a single larger record still comes."""
RECORDS_MAX: Final = 5_000
"""The longest list that is handed out."""
WAIT_MS: Final = 500
BACKOFF_MS: Final = 20
STALL_S: Final = 30.0
"""How long the broker may give nothing although there is more."""


async def read_topic(
    bootstrap: str,
    topic: str,
    partitions: Collection[int] | None = None,
    from_offsets: Mapping[int, int] | None = None,
) -> AsyncIterator[list[Any]]:
    """Yield the committed records from the start (or `from_offsets`) to the end as of the first step.

    Each list holds aiokafka `ConsumerRecord`s of one partition in offset order; the lists of several
    partitions come interleaved. Records of aborted transactions and those behind an open one are not
    seen. An offset that is no longer kept means the oldest kept one. Raises Misconfigured for a topic
    that does not exist and Transient when the broker stops answering.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="optin-reader",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=WAIT_MS,
        retry_backoff_ms=BACKOFF_MS,
    )
    try:
        await consumer.start()
        known = range(await partition_count(bootstrap, topic))
        chosen = [
            TopicPartition(topic, number) for number in sorted(known if partitions is None else partitions)
        ]
        if not all(place.partition in known for place in chosen):
            raise Misconfigured(f"{topic} has {len(known)} partitions, asked for {partitions}")
        ends = await consumer.end_offsets(chosen)
        starts = await consumer.beginning_offsets(chosen)
        positions = {
            place: max(starts[place], (from_offsets or {}).get(place.partition, 0)) for place in chosen
        }
        left = {place for place in chosen if positions[place] < ends[place]}
        consumer.assign(sorted(left))
        for place in left:
            consumer.seek(place, positions[place])
        async for records in _until_ends(consumer, left, ends):
            yield records
    except (KafkaError, OSError) as error:
        raise Transient(f"reading {topic} from Kafka at {bootstrap} failed: {error!r}") from error
    finally:
        await consumer.stop()


async def first_offset(bootstrap: str, topic: str, partition: int) -> int:
    """The oldest kept offset of a partition: 0 until retention deletes something. Raises Transient."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    place = TopicPartition(topic, partition)
    try:
        await consumer.start()
        return int((await consumer.beginning_offsets([place]))[place])
    except (KafkaError, OSError) as error:
        raise Transient(f"Kafka at {bootstrap} does not tell where {topic} begins: {error!r}") from error
    finally:
        await consumer.stop()


async def _until_ends(consumer: Any, left: set[Any], ends: Mapping[Any, int]) -> AsyncIterator[list[Any]]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STALL_S
    while left:
        answer = await consumer.getmany(*left, timeout_ms=WAIT_MS, max_records=RECORDS_MAX)
        for place, records in answer.items():
            before_end = [record for record in records if record.offset < ends[place]]
            if before_end:
                yield before_end
        # The position also passes what holds no record: transaction markers and compacted gaps.
        reached = {place for place in left if await consumer.position(place) >= ends[place]}
        if reached:
            left = left - reached
            consumer.pause(*reached)
        if answer or reached:
            deadline = loop.time() + STALL_S
        elif loop.time() > deadline:
            raise Transient(f"no records for {STALL_S:.0f} s although {sorted(left)} hold more")
