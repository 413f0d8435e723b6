"""Many pending timers: their memory, how fast they are armed and fired, and derived after a recovery.

`python -m processors.benchmarks.timers COUNT` measures in a process of its own, so that its memory is the
timers'.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

from ledger import subject
from ledger.subject import Instance, Subject
from processors.agents.subject_rows import ROWS
from processors.benchmarks import machine
from processors.benchmarks.arena import Arena
from processors.benchmarks.load import FIRST_MS, SPREAD
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal
from processors.lane.table import LaneTable, Partition
from processors.lane.timers import Timers
from processors.topic_names import JOURNEYS_CHANGELOG

RESULT: Final = "bench-timers"


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """`bytes_each`, and armed, fired and rebuilt timers per CPU second (nothing here waits for anything)."""
    arena.progress(f"Arming and firing {sizes.timers:,} timers")
    running = arena.program("timers", "processors.benchmarks.timers", str(sizes.timers))
    try:
        _, line = running.wait_for(RESULT)
    finally:
        running.stop()
    figures: dict[str, Any] = json.loads(line.partition(" ")[2])
    return figures


def due_of(number: int, count: int) -> int:
    """When timer `number` is due: all at different times, in a scattered order."""
    return FIRST_MS + number * SPREAD % count


def heap(count: int) -> dict[str, Any]:
    """Arm `count` timers and fire them all. Void unless each fires once, and in order of its due time."""
    keys = [f"person-{number}".encode() for number in range(count)]
    dues = [due_of(number, count) for number in range(count)]
    before = machine.rss_bytes(os.getpid())
    timers = Timers()
    begun = time.process_time()
    for key, due in zip(keys, dues, strict=True):
        timers.arm(key, due)
    armed = time.process_time()
    grown = machine.rss_bytes(os.getpid()) - before
    fired = []
    firing = time.process_time()
    while timers.next_due() is not None:
        fired.append(timers.pop())
    ended = time.process_time()
    in_order = [key for _, key in sorted(zip(dues, keys, strict=True))]
    refuse_unequal("timers", "the count of fired ones", len(fired), count)
    refuse_unequal("timers", "firing in order", fired == in_order, expected=True)
    return {
        "pending": count,
        "bytes_each": round(grown / count),
        "armed_s": round(count / (armed - begun)),
        "fired_s": round(count / (ended - firing)),
    }


def rebuild(count: int) -> dict[str, Any]:
    """Derive the timers of `count` rows as a changelog gives them. Void unless each row has its timer."""
    owned = Partition()
    for number in range(count):
        due = due_of(number, count)
        waiting = Instance(
            f"instance-{number}", "cart_abandonment", "1", "bench", due, ("boots",), holdout=False
        )
        owned.rows[f"person-{number}".encode()] = subject.encode(Subject(instances=(waiting,)))
    table = LaneTable(JOURNEYS_CHANGELOG, ROWS)
    table.partitions[0] = owned
    begun = time.process_time()
    table.rebuild_timers(0)
    seconds = time.process_time() - begun
    refuse_unequal("timers", "the count of rebuilt ones", len(owned.timers), count)
    refuse_unequal("timers", "the first due time", owned.timers.next_due(), FIRST_MS)
    return {"rebuilt_s": round(count / seconds), "rebuild_s": round(seconds, 2)}


def main(argv: list[str]) -> None:
    """Measure and print one line."""
    count = int(argv[0])
    print(RESULT, json.dumps({**heap(count), **rebuild(count)}), flush=True)  # noqa: T201 - its log
    time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1:])
