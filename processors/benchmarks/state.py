"""How the consent role does with few and with many people: its rate, and the bytes that each takes."""

from __future__ import annotations

import asyncio
from typing import Any

from processors.benchmarks import load, machine
from processors.benchmarks.arena import Arena, Moment, Running
from processors.benchmarks.changelog import Follower, ends_of
from processors.benchmarks.contest import RECOVERED, consents, rates
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_wrong_rows
from processors.topic_names import JOURNEYS_CHANGELOG, PERMISSIONS


def measure(arena: Arena, sizes: Sizes, subjects: int) -> dict[str, Any]:
    """One fact for each of `subjects` people, then `sizes.events` more, which are what is measured.

    All facts are there before the worker starts. `bytes_per_subject`: growth of resident memory while every
    person got a row, divided by people; `row_bytes`: a row's mean length in the changelog.
    """
    arena.empty()
    arena.publish(load.consent_facts(subjects, subjects), "a fact for each person")
    filled = asyncio.run(ends_of(arena.kafka, PERMISSIONS))
    arena.publish(load.consent_facts(sizes.events, subjects, first=subjects), "consent facts")
    arena.progress(f"Folding about {subjects:,} people")
    running = arena.worker("journeys")
    try:
        begun, _ = running.wait_for(RECOVERED)
        figures, grown, rows = asyncio.run(_follow(arena, running, begun, filled))
    finally:
        running.stop()
    expected = load.plain_fold(load.consent_facts(subjects + sizes.events, subjects))
    refuse_wrong_rows(f"{subjects:,} subjects", consents(rows), expected)
    row_bytes = sum(map(len, rows.values())) / len(rows)
    return {
        **figures,
        "subjects": subjects,
        "bytes_per_subject": round(grown / subjects),
        "row_bytes": round(row_bytes),
    }


async def _follow(
    arena: Arena, running: Running, begun: Moment, filled: dict[int, int]
) -> tuple[dict[str, Any], int, dict[bytes, bytes]]:
    memory = machine.rss_bytes(running.pid)
    ends = await ends_of(arena.kafka, PERMISSIONS)
    async with Follower(arena.kafka, JOURNEYS_CHANGELOG, PERMISSIONS) as follower:
        await follower.until(filled, running.check)
        full, folded = running.now(), sum(follower.folded.values())
        grown = machine.rss_bytes(running.pid) - memory
        await follower.until(ends, running.check)
        done = running.now()
        total = sum(ends.values())
        # A small load may be seen to its end at once; then all of it is what can be measured.
        since, events = (full, total - folded) if folded < total else (begun, total)
        figures = {
            **rates(since, done, events),
            "rss_mb": machine.rss_mb(running.pid),
            "first_facts_s": rates(begun, full, folded)["events_s"],
        }
        return figures, grown, follower.rows
