"""A run over bounded input by the event clock: publish everything, let the roles finish, count.

Inputs are published completely before the roles start, and their ends are recorded once in the data
folder; so the result does not depend on how many workers there are, or on what was killed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from connectors import child, codec
from connectors.errors import Misconfigured, Transient
from connectors.kafka.publish import FactPublisher
from connectors.kafka.read import read_topic
from connectors.kafka.topics import partition_count
from ledger import facts as f
from processors.agents.intake import FIRST_APPENDED_HEADER
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.settings import ENDS_FILE
from processors.stack import Stack
from processors.topic_names import (
    ACTIVITY,
    CONSENT_CHANGELOG,
    DECISIONS,
    DELIVERIES,
    JOURNEYS_CHANGELOG,
    LINKS,
    PERMISSIONS,
    TOKENS,
)

INPUTS: Final = (PERMISSIONS, TOKENS, ACTIVITY)
PUBLISH_BATCH: Final = 20_000
POLL_S: Final = 0.2
STALLED_S_MAX: Final = 180.0
"""A run in which nothing moves for so long is given up; restarts after kills take far less."""

Progress = Callable[[str], None]


class BoundedRun:
    """One run over a stack whose servers answer. Call the steps in the order in which they stand here."""

    def __init__(self, stack: Stack, progress: Progress) -> None:
        self._stack = stack
        self._bootstrap = stack.kafka_bootstrap
        self._progress = progress
        self._ends_file = stack.data / ENDS_FILE
        self.published = 0

    def publish(self, facts: Iterable[f.Fact], what: str) -> int:
        """Append facts in the given order; returns how many. Raises `Transient`.

        Each carries its own time as its first append: the past that is replayed knew no other.
        """
        before = self.published

        async def run() -> None:
            async with FactPublisher(self._bootstrap, appended_header=FIRST_APPENDED_HEADER) as publisher:
                batch: list[f.Fact] = []
                for fact in facts:
                    batch.append(fact)
                    if len(batch) == PUBLISH_BATCH:
                        await publisher.publish(batch)
                        self.published += len(batch)
                        self._progress(f"Publishing {what}: {self.published - before:,} facts")
                        batch = []
                await publisher.publish(batch)
                self.published += len(batch)

        asyncio.run(run())
        self._progress(f"Published {what}: {self.published - before:,} facts")
        return self.published - before

    def refuse_used_topics(self) -> None:
        """Raise `Misconfigured` if the inputs hold anything: a run needs them for itself."""
        found = asyncio.run(self._ends_now((*INPUTS, LINKS)))
        used = [topic for topic, ends in found.items() if any(ends)]
        if used:
            raise Misconfigured(
                f"{', '.join(used)} at {self._bootstrap} hold facts already: a replay or demo needs"
                " empty topics. Name other servers, or none to use embedded ones."
            )

    def record_ends(self, topics: Sequence[str]) -> dict[str, list[int]]:
        """Record where inputs that are complete now end; workers read it from the data folder."""
        known = json.loads(self._ends_file.read_text()) if self._ends_file.exists() else {}
        known.update(asyncio.run(self._last_records(topics)))
        child.write_atomically(self._ends_file, json.dumps(known).encode())
        return {topic: known[topic] for topic in topics}

    def finish_journeys(self, ends: dict[str, list[int]]) -> None:
        """Wait until every partition folded its inputs to `ends` and fired all that was due."""
        self._finish("journeys", JOURNEYS_CHANGELOG, ends)

    def finish_delivery(self, ends: dict[str, list[int]]) -> None:
        """Wait until every decided push has its outcome."""
        self._finish("delivery", CONSENT_CHANGELOG, ends)

    def finish_metrics(self, ends: dict[str, list[int]]) -> None:
        """Wait until metrics committed everything below `ends`."""
        asyncio.run(self._wait_for_group("optin.metrics", ends))

    def summary(self) -> dict[str, Any]:
        """Count journeys, decisions and deliveries on their topics, read_committed."""
        return asyncio.run(summarise(self._bootstrap, self.published))

    async def _ends_now(self, topics: Sequence[str]) -> dict[str, list[int]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            found = {}
            for topic in topics:
                tps = [TopicPartition(topic, n) for n in range(await partition_count(self._bootstrap, topic))]
                ends = await consumer.end_offsets(tps)
                found[topic] = [ends[tp] for tp in tps]
            return found
        finally:
            await consumer.stop()

    async def _last_records(self, topics: Sequence[str]) -> dict[str, list[int]]:
        """The offset after the last record of each partition: the end may be a transaction's marker."""
        ends = await self._ends_now(topics)
        for topic in topics:
            if topic in INPUTS:
                continue
            exact = [0] * len(ends[topic])
            async for records in read_topic(self._bootstrap, topic):
                last = records[-1]
                exact[last.partition] = max(exact[last.partition], last.offset + 1)
            ends[topic] = exact
        return ends

    def _finish(self, role: str, changelog: str, ends: dict[str, list[int]]) -> None:
        asyncio.run(self._wait_for_positions(role, changelog, ends))

    async def _wait_for_positions(self, role: str, changelog: str, ends: dict[str, list[int]]) -> None:
        count = await partition_count(self._bootstrap, changelog)
        found: dict[int, Position] = {}
        watch = _Watch(role, sum(map(sum, ends.values())), self._stack, self._progress)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, isolation_level="read_committed"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(changelog, number) for number in range(count)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while True:
                answer = await consumer.getmany(*tps, timeout_ms=int(POLL_S * 1000), max_records=5_000)
                for tp, records in answer.items():
                    for record in records:
                        if record.key == POSITION_KEY:
                            found[tp.partition] = positions.decode(record.value)
                if len(found) == count and all(
                    p.done and all(p.next.get(t, 0) >= e[n] for t, e in ends.items())
                    for n, p in found.items()
                ):
                    return
                watch.look(sum(sum(p.next.values()) for p in found.values()))
        finally:
            await consumer.stop()

    async def _wait_for_group(self, group: str, ends: dict[str, list[int]]) -> None:
        watch = _Watch("metrics", sum(map(sum, ends.values())), self._stack, self._progress)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            while True:
                offsets = await admin.list_consumer_group_offsets(group)
                at = {(tp.topic, tp.partition): committed.offset for tp, committed in offsets.items()}
                wanted = {(t, n): end for t, e in ends.items() for n, end in enumerate(e) if end}
                if all(at.get(tp, 0) >= end for tp, end in wanted.items()):
                    return
                watch.look(sum(max(offset, 0) for offset in at.values()))
                await asyncio.sleep(POLL_S)
        finally:
            await admin.close()


class _Watch:
    """Reports progress and gives up when nothing moves."""

    def __init__(self, role: str, total: int, stack: Stack, progress: Progress) -> None:
        self._role, self._total, self._stack, self._progress = role, total, stack, progress
        self._seen = -1
        self._moved = time.monotonic()

    def look(self, folded: int) -> None:
        self._stack.check()
        now = time.monotonic()
        if folded != self._seen:
            self._seen, self._moved = folded, now
            self._progress(f"{self._role}: {min(folded, self._total):,} of {self._total:,} records")
        elif now - self._moved > STALLED_S_MAX:
            raise Transient(
                f"{self._role} has not moved for {STALLED_S_MAX:.0f} s; see {self._stack.data / 'logs'}"
            )


async def summarise(bootstrap: str, facts: int) -> dict[str, Any]:
    """Count what a run gave: `facts` published, journeys, final decisions, outcomes of pushes."""
    journeys: dict[str, Counter[str]] = {}
    candidates: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    async for records in read_topic(bootstrap, DECISIONS):
        for record in records:
            match codec.decode(record.value):
                case f.JourneyStarted(journey=name):
                    journeys.setdefault(name, Counter())["started"] += 1
                case f.JourneyEnded(journey=name, outcome=outcome):
                    journeys.setdefault(name, Counter())[outcome] += 1
                case f.PushDecided(journey=name, verdict=verdict, reason=reason, revision=revision):
                    candidates[name] += revision == 0
                    if verdict == "withhold":
                        reasons[reason or ""] += 1
                    else:
                        decisions[verdict] += 1
                case _:
                    pass
    async for records in read_topic(bootstrap, DELIVERIES):
        outcomes.update(type(codec.decode(record.value)).__name__ for record in records)
    return {
        "facts": facts,
        "journeys": {
            name: {
                "started": count["started"],
                "converted": count["converted"],
                "candidates": candidates[name],
                "open": 2 * count["started"] - count.total(),
            }
            for name, count in sorted(journeys.items())
        },
        "decisions": {
            "send": decisions["send"],
            "hold_out": decisions["hold_out"],
            "withhold": dict(sorted(reasons.items())),
        },
        "deliveries": {
            "accepted": outcomes["PushAccepted"],
            "rejected": outcomes["PushRejected"],
            "withheld_late": outcomes["PushWithheldLate"],
            "unknown": outcomes["PushOutcomeUnknown"],
        },
    }


def event_environment(definitions: Path | None) -> dict[str, str]:
    """What workers of a bounded run need in their environment."""
    env = {"OPTIN_CLOCK": "event"}
    if definitions is not None:
        env["OPTIN_DEFINITIONS"] = str(definitions)
    return env
