"""One event at a time, at low load: from its acknowledgement until a read_committed reader has its row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.errors import Transient
from connectors.placement import partition_of
from processors.benchmarks import load
from processors.benchmarks.arena import PARTITIONS, Arena, Running
from processors.benchmarks.changelog import Follower
from processors.benchmarks.contest import consents
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_wrong_rows
from processors.topic_names import JOURNEYS_CHANGELOG, PERMISSIONS

READY: Final = "ready: generation"
ROW_S_MAX: Final = 30.0


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """`p50_ms`, `p99_ms` and `max_ms` over `sizes.latency_events` facts about as many people."""
    arena.empty()
    running = arena.worker("journeys")
    try:
        running.wait_for(READY)
        arena.progress(f"Folding {sizes.latency_events:,} facts, {sizes.latency_events_s} a second")
        waited_s, rows = asyncio.run(_one_by_one(arena, running, sizes))
    finally:
        running.stop()
    expected = load.plain_fold(load.consent_facts(sizes.latency_events, sizes.latency_events))
    refuse_wrong_rows("latency", consents(rows), expected)
    return {**percentiles(waited_s), "events": len(waited_s), "events_s": sizes.latency_events_s}


async def _one_by_one(arena: Arena, running: Running, sizes: Sizes) -> tuple[list[float], dict[bytes, bytes]]:
    waited_s: list[float] = []
    async with (
        AIOKafkaProducer(bootstrap_servers=arena.kafka, acks="all", enable_idempotence=True) as producer,
        Follower(arena.kafka, JOURNEYS_CHANGELOG, PERMISSIONS) as follower,
    ):
        begun = time.monotonic()
        for number, fact in enumerate(load.consent_facts(sizes.latency_events, sizes.latency_events)):
            await asyncio.sleep(max(0.0, begun + number / sizes.latency_events_s - time.monotonic()))
            key = fact.subject.encode()
            partition = partition_of(key, PARTITIONS)
            await producer.send_and_wait(PERMISSIONS, codec.encode(fact), key=key, partition=partition)
            acknowledged = time.monotonic()
            while key not in follower.rows:
                if time.monotonic() > acknowledged + ROW_S_MAX:
                    raise Transient(f"a fact had no row {ROW_S_MAX:.0f} s after its acknowledgement")
                await follower.poll()
                running.check()
            waited_s.append(time.monotonic() - acknowledged)
        return waited_s, follower.rows


def percentiles(waited_s: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum of some waits, in ms. At least one is needed."""
    ordered = sorted(waited_s)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)}
