"""From a revocation's acknowledgement until it is folded and durable, in `journeys` and in `delivery`.

At a steady load, with two workers of each role on all cores: first in quiet, then while one worker of each
role is killed and comes back.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.errors import Transient
from connectors.placement import partition_of
from ledger import facts as f
from processors.agents import reach_rows
from processors.benchmarks import load
from processors.benchmarks.arena import PARTITIONS, WAIT_S_MAX, Arena, Running
from processors.benchmarks.changelog import Follower
from processors.benchmarks.contest import consents
from processors.benchmarks.latency import percentiles
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_wrong_rows
from processors.topic_names import CONSENT_CHANGELOG, JOURNEYS_CHANGELOG, PERMISSIONS

CHANGELOGS: Final = {"journeys": JOURNEYS_CHANGELOG, "delivery": CONSENT_CHANGELOG}
WORKERS: Final = 2
TICK_S: Final = 0.02
BEFORE_KILL_S: Final = 1.0
"""What was acknowledged so shortly before the kill may have been hit by it, and counts as its."""
READY: Final = re.compile(r"ready: generation (\d+), (\d+) partitions")
SETTLE_S_MAX: Final = 120.0
LOOK_S: Final = 0.2


Tick = tuple[int, int, list[tuple[bytes, bytes]]]
"""A batch of the load: its partition, its count of revocations, its records."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A batch of one partition: the offset behind it, when it was acknowledged, its count of revocations."""

    partition: int
    following: int
    at_s: float
    revocations: int


@dataclass(slots=True)
class Seen:
    """When a reader saw how far each partition was folded: (time, next offset), both growing."""

    by_partition: dict[int, list[tuple[float, int]]] = field(
        default_factory=lambda: {number: [] for number in range(PARTITIONS)}
    )

    def note(self, folded: dict[int, int], at_s: float) -> None:
        """Take in how far a follower sees the partitions at `at_s`."""
        for partition, following in folded.items():
            known = self.by_partition[partition]
            if not known or known[-1][1] < following:
                known.append((at_s, following))

    def waits(self, batches: Sequence[Acknowledged]) -> list[float]:
        """For each revocation of the batches, how long after its acknowledgement it was seen (s)."""
        waited: list[float] = []
        places = dict.fromkeys(self.by_partition, 0)
        for batch in sorted(batches, key=lambda one: one.following):
            known = self.by_partition[batch.partition]
            while known[places[batch.partition]][1] < batch.following:
                places[batch.partition] += 1
            at_s = known[places[batch.partition]][0]
            waited += [max(0.0, at_s - batch.at_s)] * batch.revocations
        return waited


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """Percentiles of the wait for each role, in quiet and from `BEFORE_KILL_S` before the kill to the end.

    Void unless the rows of both roles equal a plain fold.
    """
    arena.empty()
    workers = {
        (role, number): arena.worker(role, number, free=True)
        for role in CHANGELOGS
        for number in range(WORKERS)
    }
    try:
        for role in CHANGELOGS:
            _settle([workers[role, number] for number in range(WORKERS)])
        run = _Run(arena, workers, sizes)
        asyncio.run(run.go())
    finally:
        for running in workers.values():
            running.stop()
    expected = load.plain_fold(load.consent_facts(run.count, sizes.subjects))
    refuse_wrong_rows("journeys", consents(run.rows["journeys"]), expected)
    reached = {key.decode(): _consent(row) for key, row in run.rows["delivery"].items()}
    refuse_wrong_rows("delivery", reached, expected)
    return run.figures()


def _consent(row: bytes) -> Any:
    return reach_rows.ROWS.decode(row).consent


def _settle(workers: Sequence[Running]) -> None:
    """Wait until all workers of a role are ready in one generation of their group, with partitions each."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while True:
        last = []
        for running in workers:
            running.check()
            last.append((READY.findall(running.log.read_text()) or [("", "0")])[-1])
        if len({generation for generation, _ in last}) == 1 and all(int(count) for _, count in last):
            return
        if time.monotonic() > deadline:
            raise Transient(f"workers did not share their group's partitions in {SETTLE_S_MAX:.0f} s: {last}")
        time.sleep(LOOK_S)


class _Run:
    """The load, the two readers and the kill, in one event loop, so that all times are of one clock."""

    def __init__(self, arena: Arena, workers: dict[tuple[str, int], Running], sizes: Sizes) -> None:
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.count = 2 * sizes.revocation_phase_s * sizes.revocation_facts_s
        self._arena = arena
        self._workers = workers
        self._sizes = sizes
        self._acknowledged: list[Acknowledged] = []
        self._seen = {role: Seen() for role in CHANGELOGS}
        self._begun_s = self._killed_s = self._loaded_s = 0.0

    async def go(self) -> None:
        """Everything from the first fact until the last is folded by both roles."""
        self._arena.progress("Encoding facts")
        ticks = list(_ticks(self._sizes, self.count))
        self._arena.progress(f"Revoking at {self._sizes.revocation_facts_s:,} facts a second")
        loading = asyncio.create_task(self._load(ticks))
        reading = [asyncio.create_task(self._read(role, loading)) for role in CHANGELOGS]
        await asyncio.sleep(self._sizes.revocation_phase_s)
        self._killed_s = time.monotonic()
        for role in CHANGELOGS:
            self._workers[role, WORKERS - 1].kill()
        for role in CHANGELOGS:
            self._workers[role, WORKERS - 1] = self._arena.worker(role, WORKERS - 1, free=True)
        await asyncio.gather(loading, *reading)

    def figures(self) -> dict[str, Any]:
        """What came of it."""
        first_of_kill = self._killed_s - BEFORE_KILL_S
        phases = {
            "quiet": [batch for batch in self._acknowledged if batch.at_s < first_of_kill],
            "kill": [batch for batch in self._acknowledged if batch.at_s >= first_of_kill],
        }
        return {
            "facts_s": round(self.count / (self._loaded_s - self._begun_s)),
            "revocations": sum(batch.revocations for batch in self._acknowledged),
            **{
                role: {phase: percentiles(seen.waits(batches)) for phase, batches in phases.items()}
                for role, seen in self._seen.items()
            },
        }

    async def _load(self, ticks: list[list[Tick]]) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._arena.kafka, acks="all", enable_idempotence=True, max_batch_size=1 << 18
        ) as producer:
            self._begun_s = time.monotonic()
            sending: set[asyncio.Task[None]] = set()
            for number, tick in enumerate(ticks):
                await asyncio.sleep(max(0.0, self._begun_s + number * TICK_S - time.monotonic()))
                for partition, revocations, records in tick:
                    batch = producer.create_batch()
                    for key, value in records:
                        assert batch.append(key=key, value=value, timestamp=None) is not None
                    sent = await producer.send_batch(batch, PERMISSIONS, partition=partition)
                    task = asyncio.create_task(self._note(sent, len(records), revocations))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
            await asyncio.gather(*sending)
            self._loaded_s = time.monotonic()

    async def _note(self, sent: Any, count: int, revocations: int) -> None:
        told = await sent
        at_s = time.monotonic()
        self._acknowledged.append(Acknowledged(told.partition, told.offset + count, at_s, revocations))

    async def _read(self, role: str, loading: asyncio.Task[None]) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        async with Follower(self._arena.kafka, CHANGELOGS[role], PERMISSIONS) as follower:
            while not (loading.done() and follower.reached(self._ends())):
                await follower.poll()
                self._seen[role].note(follower.folded, time.monotonic())
                if time.monotonic() > deadline:
                    raise Transient(f"{role} came to {follower.folded} only")
            loading.result()
            self.rows[role] = follower.rows

    def _ends(self) -> dict[int, int]:
        ends: dict[int, int] = {}
        for batch in self._acknowledged:
            ends[batch.partition] = max(ends.get(batch.partition, 0), batch.following)
        return ends


def _ticks(sizes: Sizes, count: int) -> Iterator[list[Tick]]:
    """The batches of each tick."""
    facts = load.consent_facts(count, sizes.subjects)
    for begin in range(0, count, max(1, int(sizes.revocation_facts_s * TICK_S))):
        placed: dict[int, list[tuple[bytes, bytes]]] = {}
        revocations: dict[int, int] = {}
        for _ in range(min(int(sizes.revocation_facts_s * TICK_S), count - begin)):
            fact = next(facts)
            key = fact.subject.encode()
            partition = partition_of(key, PARTITIONS)
            placed.setdefault(partition, []).append((key, codec.encode(fact)))
            revocations[partition] = revocations.get(partition, 0) + isinstance(fact, f.PermissionRevoked)
        yield [(partition, revocations[partition], records) for partition, records in placed.items()]
