"""The contest: our consent role, stock Faust and a plain loop over the same facts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from connectors import codec
from connectors.errors import Misconfigured
from connectors.kafka.read import read_topic
from connectors.placement import partition_of
from ledger import facts as f
from ledger import subject
from ledger.consent import Consent
from processors.benchmarks import load, machine
from processors.benchmarks.arena import PARTITIONS, Arena, Moment, Running
from processors.benchmarks.changelog import Follower, ends_of
from processors.benchmarks.clock_line import BEGUN, DONE, heard
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_wrong_rows
from processors.lane.position import POSITION_KEY
from processors.topic_names import JOURNEYS_CHANGELOG, PERMISSIONS

STOCK_TOPIC: Final = "optin.bench-stock-facts"
RAW_CHANGELOG: Final = "optin.bench-raw-changelog"
RECOVERED: Final = f"recovered {JOURNEYS_CHANGELOG}"
"""What a worker logs before it seeks: the last moment at which it can't have read a fact yet."""

Figures = dict[str, Any]


Look = Callable[[Running], AbstractContextManager[None]]
"""Looks at a worker while it folds; a profiler."""


def consent(arena: Arena, sizes: Sizes, look: Look = lambda _: nullcontext()) -> Figures:
    """One worker of `journeys` from before its first fetch until its last row and position are readable."""
    facts = sizes.events, sizes.subjects
    arena.empty()
    arena.publish(load.consent_facts(*facts), "consent facts")
    arena.progress("Folding in the consent role")
    running = arena.worker("journeys")
    try:
        begun, _ = running.wait_for(RECOVERED)
        with look(running):
            done, rows = asyncio.run(_until_folded(arena, running))
            memory_mb = machine.rss_mb(running.pid)
    finally:
        running.stop()
    refuse_wrong_rows("consent", consents(rows), load.plain_fold(load.consent_facts(*facts)))
    return {**rates(begun, done, sizes.events), "rss_mb": memory_mb}


async def _until_folded(arena: Arena, running: Running) -> tuple[Moment, dict[bytes, bytes]]:
    ends = await ends_of(arena.kafka, PERMISSIONS)
    async with Follower(arena.kafka, JOURNEYS_CHANGELOG, PERMISSIONS) as follower:
        await follower.until(ends, running.check)
        return running.now(), follower.rows


def stock_faust(arena: Arena, sizes: Sizes, configuration: str) -> Figures:
    """Stock Faust over the first facts of the same load: it takes long, and rates are per fact."""
    from processors.benchmarks import stock_app

    events, subjects = sizes.stock_events, sizes.subjects
    arena.empty()
    asyncio.run(_fill(arena.kafka, STOCK_TOPIC, load.consent_facts(events, subjects)))
    arena.progress(f"Folding in stock Faust, {configuration}")
    running = arena.program(
        f"stock-{configuration}",
        "processors.benchmarks.stock_app",
        *(configuration, STOCK_TOPIC, str(events)),
    )
    figures = _by_its_own_clock(running, events)
    rows = asyncio.run(last_rows(arena.kafka, stock_app.changelog(configuration)))
    refuse_wrong_rows("stock Faust", consents(rows), load.plain_fold(load.consent_facts(events, subjects)))
    return {"configuration": configuration, **figures}


def raw_c(arena: Arena, sizes: Sizes, *, checked: bool = True) -> Figures:
    """The plain loop on librdkafka. Raises Misconfigured where confluent-kafka is not installed."""
    try:
        import confluent_kafka  # noqa: F401 - the program needs it
    except ImportError:
        raise Misconfigured("raw_c needs confluent-kafka, which `make setup-dev` installs") from None
    facts = sizes.events, sizes.subjects
    arena.empty()
    asyncio.run(_create(arena.kafka, RAW_CHANGELOG))
    arena.publish(load.consent_facts(*facts), "consent facts")
    arena.progress("Folding in a plain loop")
    flags = () if checked else ("unchecked",)
    running = arena.program("raw", "processors.benchmarks.raw_loop", RAW_CHANGELOG, str(sizes.events), *flags)
    figures = _by_its_own_clock(running, sizes.events)
    rows = asyncio.run(last_rows(arena.kafka, RAW_CHANGELOG))
    refuse_wrong_rows("the plain loop", consents(rows), load.plain_fold(load.consent_facts(*facts)))
    return figures


def _by_its_own_clock(running: Running, events: int) -> Figures:
    try:
        begun = heard(running.wait_for(BEGUN)[1])
        done = heard(running.wait_for(DONE)[1])
        return {**rates(begun, done, events), "rss_mb": machine.rss_mb(running.pid)}
    finally:
        running.stop()


def rates(begun: Moment, done: Moment, events: int) -> Figures:
    """Events per second and CPU seconds per million events between two moments."""
    return {
        "events_s": round(events / (done.at_s - begun.at_s)),
        "cpu_s_per_million": round((done.cpu_s - begun.cpu_s) / events * 1e6, 2),
    }


def consents(rows: Mapping[bytes, bytes]) -> dict[str, Consent]:
    """The consent of each subject as a changelog of subject rows has it."""
    return {key.decode(): subject.decode(row).consent for key, row in rows.items()}


async def last_rows(bootstrap: str, changelog: str) -> dict[bytes, bytes]:
    """The latest value under each key of a changelog, without positions."""
    rows: dict[bytes, bytes] = {}
    async for records in read_topic(bootstrap, changelog):
        rows.update((record.key, record.value) for record in records)
    rows.pop(POSITION_KEY, None)
    return rows


async def _create(bootstrap: str, topic: str, settings: Mapping[str, str] | None = None) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=dict(settings or {}))])
    finally:
        await admin.close()
    await ends_of(bootstrap, topic)  # its partitions take records now


async def _fill(bootstrap: str, topic: str, facts: Iterable[f.SubjectFact]) -> None:
    """Append facts to a topic of the benchmark's own, placed and stamped as on `permissions`."""
    await _create(bootstrap, topic, {"message.timestamp.type": "LogAppendTime"})
    placed: dict[int, list[tuple[bytes, bytes]]] = {}
    for fact in facts:
        key = fact.subject.encode()
        placed.setdefault(partition_of(key, PARTITIONS), []).append((key, codec.encode(fact)))
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for partition, records in placed.items():
            for batch in batches(producer, records):
                await (await producer.send_batch(batch, topic, partition=partition))


def batches(producer: Any, records: Iterable[tuple[bytes, bytes]]) -> Iterator[Any]:
    """Batches of a producer that hold these records in order."""
    batch = producer.create_batch()
    for key, value in records:
        if batch.append(key=key, value=value, timestamp=None) is None:
            yield batch
            batch = producer.create_batch()
            assert batch.append(key=key, value=value, timestamp=None) is not None
    if batch.record_count():
        yield batch
