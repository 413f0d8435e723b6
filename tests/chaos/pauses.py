"""How long partitions stood still: gaps between the records that move a lane's position."""

from __future__ import annotations

import itertools
import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

POSITION_KEY: Final = b"\x00position"
PAUSED_MS: Final = 1_000
"""A shorter gap is the load's own rhythm."""

Times = Mapping[tuple[str, int], Sequence[int]]
"""(changelog, partition) -> when its position moved (ms), in order."""


def times_of(changelogs: Mapping[str, Iterable[Any]]) -> dict[tuple[str, int], list[int]]:
    """When each partition's position moved, from the committed records of changelogs."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, records in changelogs.items():
        for record in records:
            if record.key == POSITION_KEY:
                found[topic, record.partition].append(record.timestamp)
    return {place: sorted(times) for place, times in found.items()}


def longest_gaps(times: Times, begin: int, end: int) -> list[int]:
    """For each partition the longest gap (ms) that overlaps a span, if it is a pause."""
    gaps = []
    for moved in times.values():
        longest = max((b - a for a, b in itertools.pairwise(moved) if a < end and b > begin), default=0)
        if longest >= PAUSED_MS:
            gaps.append(longest)
    return gaps


def resumptions(times: Times, back: int) -> list[int]:
    """How long after a time (ms) each partition moved on that did not move right before it."""
    found = []
    for moved in times.values():
        following = bisect_left(moved, back)
        if 0 < following < len(moved) and moved[following - 1] < back - PAUSED_MS:
            found.append(moved[following] - back)
    return found


def summary(gaps: Sequence[int]) -> str:
    """How many partitions paused, and for how long (p50, max)."""
    if not gaps:
        return "none of 1 s"
    return f"{len(gaps):4d} pauses, p50 {statistics.median(gaps) / 1e3:5.1f} s, max {max(gaps) / 1e3:5.1f} s"
