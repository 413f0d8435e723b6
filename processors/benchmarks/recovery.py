"""How fast a worker takes over: from joining its group until it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from connectors.placement import partition_of
from ledger import subject
from ledger.consent_fold import take_in
from ledger.subject import NEW, Subject
from processors.benchmarks import load, machine
from processors.benchmarks.arena import PARTITIONS, Arena, Running
from processors.benchmarks.changelog import Follower, ends_of
from processors.benchmarks.contest import RECOVERED, batches, consents
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal, refuse_wrong_rows
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.topic_names import JOURNEYS_CHANGELOG, PERMISSIONS

STARTING: Final = "starting a worker of journeys"
READY: Final = "ready: generation"
ROWS_PER_TRANSACTION: Final = 2_000
PROBES: Final = 200
"""Facts that are folded after the recovery, to see that the rows under them were read back."""

Records = list[tuple[bytes, bytes]]


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """Records per second of the whole worker: join, claim, read back, timers, seek, ready.

    The clock starts when the process has imported and built everything, right before it joins. Void unless
    the worker read every record, and unless facts that come later are folded onto the rows that were read.
    """
    records, keys = sizes.recovery_records, sizes.recovery_keys
    arena.empty()
    arena.progress(f"Writing a changelog of {records:,} rows under {keys:,} keys")
    written, rows = asyncio.run(_write(arena.kafka, records, keys))
    arena.progress("Recovering")
    running = arena.worker("journeys")
    try:
        begun, _ = running.wait_for(STARTING)
        _, told = running.wait_for(RECOVERED)
        ready, _ = running.wait_for(READY)
        memory = machine.rss_mb(running.pid)
        refuse_unequal("recovery", "the count of records read", _number_before(told, "records"), written)
        _probe(arena, running, rows, records, keys)
    finally:
        running.stop()
    seconds = ready.at_s - begun.at_s
    return {
        "records_s": round(written / seconds),
        "records": written,
        "keys": keys,
        "ready_s": round(seconds, 2),
        "claim_s": _number_after(told, "claim"),
        "read_s": _number_after(told, "read"),
        "cpu_s_per_million": round((ready.cpu_s - begun.cpu_s) / written * 1e6, 2),
        "rss_mb": memory,
    }


async def _write(bootstrap: str, records: int, keys: int) -> tuple[int, dict[bytes, Subject]]:
    """Write rows as the role would have: in transactions that end with a position. Returns their number."""
    rows: dict[bytes, Subject] = {}
    waiting: dict[int, Records] = {number: [] for number in range(PARTITIONS)}
    written = 0
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id="optin.bench-recovery", acks="all"
    ) as producer:
        for key, value in _history(records, keys, rows):
            partition = partition_of(key, PARTITIONS)
            waiting[partition].append((key, value))
            if len(waiting[partition]) == ROWS_PER_TRANSACTION:
                written += await _transact(producer, partition, waiting[partition])
                waiting[partition] = []
        for partition, left in waiting.items():
            written += await _transact(producer, partition, left)
    return written, rows


def _history(records: int, keys: int, rows: dict[bytes, Subject]) -> Iterator[tuple[bytes, bytes]]:
    for fact in load.consent_facts(records, keys):
        key = fact.subject.encode()
        before = rows.get(key, NEW)
        rows[key] = Subject(consent=take_in(before.consent, fact, fact.occurred_at))
        yield key, subject.encode(rows[key])


async def _transact(producer: Any, partition: int, rows: Records) -> int:
    # Nothing is on the input, so its position is the beginning.
    records = [*rows, (POSITION_KEY, positions.encode(Position(next={PERMISSIONS: 0})))]
    async with producer.transaction():
        for batch in batches(producer, records):
            await (await producer.send_batch(batch, JOURNEYS_CHANGELOG, partition=partition))
    return len(records)


def _probe(arena: Arena, running: Running, rows: dict[bytes, Subject], records: int, keys: int) -> None:
    probes = list(load.consent_facts(min(PROBES, keys), keys, first=records))
    arena.publish(probes, "probes")
    expected = {
        fact.subject: take_in(rows[fact.subject.encode()].consent, fact, fact.occurred_at) for fact in probes
    }

    async def folded() -> dict[bytes, bytes]:
        ends = await ends_of(arena.kafka, PERMISSIONS)
        async with Follower(arena.kafka, JOURNEYS_CHANGELOG, PERMISSIONS) as follower:
            await follower.until(ends, running.check)
            return follower.rows

    found = asyncio.run(folded())
    probed = {key: row for key, row in found.items() if key.decode() in expected}
    refuse_wrong_rows("recovery", consents(probed), expected)


def _number_before(line: str, word: str) -> int:
    words = line.replace(",", "").split()
    return int(words[words.index(word) - 1])


def _number_after(line: str, word: str) -> float:
    words = line.replace(",", "").split()
    return float(words[words.index(word) + 1])
