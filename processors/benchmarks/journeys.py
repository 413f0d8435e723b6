"""How fast one worker folds activity, with all shipped journeys on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from connectors import codec
from connectors.kafka.read import read_topic
from ledger import facts as f
from ledger import subject
from processors.benchmarks import machine
from processors.benchmarks.activity import Made, activity_facts, expected, known_people
from processors.benchmarks.arena import Arena, Moment, Running
from processors.benchmarks.changelog import Follower, ends_of
from processors.benchmarks.contest import RECOVERED, Look, rates
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal, refuse_wrong_rows
from processors.topic_names import ACTIVITY, DECISIONS, JOURNEYS_CHANGELOG, PERMISSIONS, TOKENS


def measure(arena: Arena, sizes: Sizes, look: Look = lambda _: nullcontext()) -> dict[str, Any]:
    """Like `contest.consent`, over activity of people of whom some have permission and an address.

    What is known of those is folded before, by a worker that is not looked at. Void unless each person's
    profile and begun instances are those of the core alone. `bytes_per_subject`: growth of resident memory
    divided by people; `row_bytes`: a row's mean length in the changelog.
    """
    facts = sizes.events, sizes.subjects
    arena.empty()
    arena.publish(known_people(sizes.subjects), "people with permission")
    known = arena.worker("journeys")
    try:
        for topic in (PERMISSIONS, TOKENS):
            asyncio.run(_until_folded(arena, known, topic))
    finally:
        known.stop()
    arena.publish(activity_facts(*facts), "activity")
    arena.progress("Folding activity with all shipped journeys")
    running = arena.worker("journeys")
    try:
        begun, _ = running.wait_for(RECOVERED)
        before = machine.rss_bytes(running.pid)
        with look(running):
            done, rows = asyncio.run(_until_folded(arena, running, ACTIVITY))
            memory = machine.rss_bytes(running.pid)
    finally:
        running.stop()
    arena.progress("Folding the same with the core alone")
    wanted = expected(*facts)
    started = asyncio.run(_started(arena.kafka))
    refuse_wrong_rows("journeys", _made(rows, started), wanted)
    count = sum(len(instances) for instances in started.values())
    refuse_unequal(
        "journeys", "the count of begun instances", count, sum(len(m.started) for m in wanted.values())
    )
    return {
        **rates(begun, done, sizes.events),
        "rss_mb": round(memory / 1e6),
        "begun": count,
        "bytes_per_subject": round((memory - before) / len(rows)),
        "row_bytes": round(sum(map(len, rows.values())) / len(rows)),
    }


async def _until_folded(arena: Arena, running: Running, topic: str) -> tuple[Moment, dict[bytes, bytes]]:
    ends = await ends_of(arena.kafka, topic)
    async with Follower(arena.kafka, JOURNEYS_CHANGELOG, topic) as follower:
        await follower.until(ends, running.check)
        return running.now(), follower.rows


async def _started(bootstrap: str) -> dict[str, list[str]]:
    """Instances that began, by subject; one that is said to begin twice is there twice."""
    started: dict[str, list[str]] = {}
    async for records in read_topic(bootstrap, DECISIONS):
        for record in records:
            fact = codec.decode(record.value)
            if isinstance(fact, f.JourneyStarted):
                started.setdefault(fact.subject, []).append(fact.instance)
    return started


def _made(rows: Mapping[bytes, bytes], started: Mapping[str, list[str]]) -> dict[str, Made]:
    return {
        (name := key.decode()): Made(subject.decode(row).profile, frozenset(started.get(name, ())))
        for key, row in rows.items()
    }
