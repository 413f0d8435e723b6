"""How an item with very many watchers is told of: how fast, and how long everybody else waits meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from connectors import codec
from connectors.errors import Transient
from connectors.kafka.read import read_topic
from connectors.placement import partition_of
from ledger import facts as f
from processors.agents.item_watcher import watch_records
from processors.benchmarks import load, machine
from processors.benchmarks.arena import PARTITIONS, WAIT_S_MAX, Arena, Moment, Running
from processors.benchmarks.changelog import Follower, ends_of
from processors.benchmarks.contest import batches, consents
from processors.benchmarks.latency import READY, percentiles
from processors.benchmarks.revocation import Acknowledged, Seen
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal, refuse_wrong_rows
from processors.topic_names import (
    ITEM_CHANGES,
    ITEMS,
    ITEMS_CHANGELOG,
    JOURNEYS_CHANGELOG,
    PERMISSIONS,
    WATCHES,
)
from processors.wall_clock import wall_ms

ITEM: Final = "lamp"
SAVED_AGO_MS: Final = 3_600_000
LOOK_S: Final = 0.05
OTHERS: Final = 1_000_000
"""Other people are numbered within this, so none comes twice."""
SLICE: Final = 10_000


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """News of one item to all of its watchers, and facts of consent of other people at a steady low rate.

    `news_s`: from the acknowledgement of the lower price until the last fact is appended; `heard_s`:
    until all of them are folded by the subjects' lane of the same worker, which begins a journey for each.
    `bytes_per_watch`: growth of resident memory while the watches were folded. `quiet` and `news`: how long
    a fact of somebody else waited from its acknowledgement until its row could be read. Void unless each
    watcher has exactly one fact and all others' consents equal a plain fold.
    """
    arena.empty()
    running = arena.worker("journeys")
    try:
        running.wait_for(READY)
        before = machine.rss_bytes(running.pid)
        arena.progress(f"Watching: {sizes.watchers:,} people")
        asyncio.run(_watch(arena, running, sizes.watchers))
        grown = machine.rss_bytes(running.pid) - before
        run = _Run(arena, running, sizes)
        asyncio.run(run.go())
        memory_mb = machine.rss_mb(running.pid)
    finally:
        running.stop()
    told = asyncio.run(_told(arena.kafka))
    wrong = sum(1 for number in range(sizes.watchers) if told[_watcher(number).encode()] != 1)
    refuse_unequal("watchers", "the count of watchers without exactly one fact", wrong, 0)
    refuse_unequal("watchers", "the count of facts", told.total(), sizes.watchers)
    refuse_wrong_rows("others", consents(run.rows), load.plain_fold(load.consent_facts(run.asked, OTHERS)))
    return {
        "watchers": sizes.watchers,
        "bytes_per_watch": round(grown / sizes.watchers),
        **run.figures(),
        "worker_mb": memory_mb,
    }


def _watcher(number: int) -> str:
    return f"watcher-{number}"


def _saves(watchers: int) -> Iterator[f.ItemSaved]:
    at = wall_ms() - SAVED_AGO_MS
    for number in range(watchers):
        yield f.ItemSaved(
            event_id=f"saved-{number}",
            app="bench",
            occurred_at=at,
            source="device:bench",
            subject=_watcher(number),
            item=ITEM,
        )


async def _watch(arena: Arena, running: Running, watchers: int) -> None:
    """Append the watches as the journeys role does, and wait until they are folded."""
    saves = _saves(watchers)
    home = partition_of(ITEM.encode(), PARTITIONS)
    async with AIOKafkaProducer(
        bootstrap_servers=arena.kafka, acks="all", enable_idempotence=True, max_batch_size=1 << 18
    ) as producer:
        while part := list(islice(saves, SLICE)):
            records = [(one.key or b"", one.value or b"") for one in watch_records(part, PARTITIONS)]
            for batch in batches(producer, records):
                await (await producer.send_batch(batch, WATCHES, partition=home))
    ends = await ends_of(arena.kafka, WATCHES)
    refuse_unequal("watchers", "the count of appended watches", sum(ends.values()), watchers)
    async with Follower(arena.kafka, ITEMS_CHANGELOG, WATCHES) as follower:
        await follower.until(ends, running.check)
        refuse_unequal("watchers", "the count of watches that were folded", len(follower.rows), watchers)


class _Run:
    """The price goes down amid other people's facts."""

    def __init__(self, arena: Arena, running: Running, sizes: Sizes) -> None:
        self._arena = arena
        self._running = running
        self._sizes = sizes
        self._acknowledged: list[Acknowledged] = []
        self._seen = Seen()
        self._done = False
        self.asked = 0
        """Facts of other people so far."""
        self.rows: dict[bytes, bytes] = {}
        self._moments: dict[str, Moment] = {}

    async def go(self) -> None:
        """Quiet first; then the news, until all have heard of it and each other fact has its row."""
        async with (
            AIOKafkaProducer(
                bootstrap_servers=self._arena.kafka, acks="all", enable_idempotence=True
            ) as producer,
            Follower(self._arena.kafka, JOURNEYS_CHANGELOG, PERMISSIONS) as follower,
        ):
            others = asyncio.create_task(self._others(producer))
            reading = asyncio.create_task(self._read(follower, others))
            self._arena.progress(f"Folding {self._sizes.watch_others_s} facts a second of others")
            await asyncio.sleep(self._sizes.watch_quiet_s)
            self._arena.progress("Lowering the price")
            await producer.send_and_wait(
                ITEMS,
                codec.encode(_lower()),
                key=ITEM.encode(),
                partition=partition_of(ITEM.encode(), PARTITIONS),
            )
            self._moments["begun"] = self._running.now()
            ends = await self._until_told()
            self._moments["told"] = self._running.now()
            await self._until(lambda: _heard(follower, ends), "the news to be folded")
            self._moments["heard"] = self._running.now()
            begun_s = self._moments["begun"].at_s
            await self._until(lambda: self._acknowledged[-1].at_s > begun_s, "another fact to be appended")
            self._done = True
            await asyncio.gather(others, reading)
            self.rows = {key: row for key, row in follower.rows.items() if key.startswith(b"person-")}

    def figures(self) -> dict[str, Any]:
        """What came of it."""
        begun, count = self._moments["begun"], self._sizes.watchers
        phases = {
            "quiet": [one for one in self._acknowledged if one.at_s < begun.at_s],
            "news": [one for one in self._acknowledged if one.at_s >= begun.at_s],
        }
        figures: dict[str, Any] = {}
        for name, key in (("told", "news"), ("heard", "heard")):
            moment = self._moments[name]
            figures[f"{key}_s"] = round(count / (moment.at_s - begun.at_s))
            figures[f"{key}_cpu_s_per_million"] = round((moment.cpu_s - begun.cpu_s) / count * 1e6, 1)
        return {
            **figures,
            **{name: percentiles(self._seen.waits(batches)) for name, batches in phases.items()},
        }

    async def _others(self, producer: Any) -> None:
        begun = time.monotonic()
        noting: list[asyncio.Task[None]] = []
        while not self._done:
            await asyncio.sleep(max(0.0, begun + self.asked / self._sizes.watch_others_s - time.monotonic()))
            fact = load.consent_fact(self.asked, OTHERS)
            key = fact.subject.encode()
            partition = partition_of(key, PARTITIONS)
            sent = await producer.send(PERMISSIONS, codec.encode(fact), key=key, partition=partition)
            self.asked += 1
            noting.append(asyncio.create_task(self._note(sent)))
        await asyncio.gather(*noting)

    async def _note(self, sent: Any) -> None:
        told = await sent
        self._acknowledged.append(Acknowledged(told.partition, told.offset + 1, time.monotonic(), 1))

    async def _read(self, follower: Follower, others: asyncio.Task[None]) -> None:
        while not (others.done() and follower.reached(self._ends())):
            await follower.poll()
            self._seen.note(follower.folded, time.monotonic())
            self._running.check()
        others.result()

    def _ends(self) -> dict[int, int]:
        ends: dict[int, int] = {}
        for one in self._acknowledged:
            ends[one.partition] = max(ends.get(one.partition, 0), one.following)
        return ends

    async def _until_told(self) -> dict[int, int]:
        """Wait until as many facts are appended as there are watchers; where their topic ends then."""
        places = [TopicPartition(ITEM_CHANGES, number) for number in range(PARTITIONS)]
        async with AIOKafkaConsumer(
            bootstrap_servers=self._arena.kafka, enable_auto_commit=False
        ) as consumer:
            deadline = time.monotonic() + WAIT_S_MAX
            while True:
                ends = await consumer.end_offsets(places)
                if sum(ends.values()) >= self._sizes.watchers:
                    return {place.partition: end for place, end in ends.items()}
                if time.monotonic() > deadline:
                    raise Transient(f"{sum(ends.values()):,} watchers were told in {WAIT_S_MAX:.0f} s")
                self._running.check()
                await asyncio.sleep(LOOK_S)

    async def _until(self, is_so: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        while not is_so():
            if time.monotonic() > deadline:
                raise Transient(f"waited for {what} for {WAIT_S_MAX:.0f} s")
            await asyncio.sleep(LOOK_S)


def _lower() -> f.ItemPriceChanged:
    return f.ItemPriceChanged(
        event_id="lower",
        app="bench",
        occurred_at=wall_ms(),
        source="server:bench",
        item=ITEM,
        price_minor=7_900,
        previous_minor=9_900,
        currency="EUR",
    )


def _heard(follower: Follower, ends: dict[int, int]) -> bool:
    return all(follower.next.get(number, {}).get(ITEM_CHANGES, 0) >= end for number, end in ends.items())


async def _told(bootstrap: str) -> Counter[bytes]:
    """How many facts each watcher has."""
    told: Counter[bytes] = Counter()
    async for records in read_topic(bootstrap, ITEM_CHANGES):
        told.update(record.key for record in records)
    return told
