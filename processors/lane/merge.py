"""The event clock: several topics of one partition number, folded in the order in which things happened.

Order: (time of the record, rank of its topic, offset). A topic without a head blocks the merge until it is
known to be at its recorded end. So the fold order depends on the input alone, not on fetches or workers.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class RecordedEnds:
    """The ends of bounded inputs: a JSON file {topic: [next offset of partition 0, 1, ...]}.

    Written once when an input is complete, read by every worker and every restart. Topics may be added to
    the file later; a topic that is not there yet has an unknown end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends: dict[str, list[int]] = {}
        self._read_at = -1

    def end(self, topic: str, partition: int) -> int | None:
        """The next offset after the last record, or None while the input may still grow."""
        if topic not in self._ends:
            self._refresh()
        ends = self._ends.get(topic)
        return None if ends is None else ends[partition]

    def _refresh(self) -> None:
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed != self._read_at:
            self._ends = json.loads(self._path.read_text())
            self._read_at = changed


Head = tuple[int, int, Any]
"""(time in ms, offset, what the handler read from the record)."""


class Merge:
    """Heads of all topics of one partition number."""

    def __init__(self, topics: Sequence[str], ends: RecordedEnds, partition: int) -> None:
        self._topics = tuple(topics)
        self._ends = ends
        self._partition = partition
        self._heads: dict[str, deque[Head]] = {topic: deque() for topic in topics}

    def add(self, topic: str, heads: Sequence[Head]) -> None:
        """Queue read records of a topic, in offset order."""
        self._heads[topic].extend(heads)

    def pending(self) -> bool:
        """Whether any topic has a head."""
        return any(self._heads.values())

    def first(self, position: Mapping[str, int]) -> tuple[str | None, bool]:
        """Name the topic whose head comes next, and whether the merge is blocked.

        (topic, False): fold its head. (None, True): wait. (None, False): all inputs are at their end.
        """
        chosen, chosen_time = None, 0
        for topic in self._topics:
            heads = self._heads[topic]
            if heads:
                # Topics come in the order of their rank: only an earlier time beats a lower rank.
                if chosen is None or heads[0][0] < chosen_time:
                    chosen, chosen_time = topic, heads[0][0]
            elif not self._at_end(topic, position):
                return None, True
        return chosen, False

    def peek(self, topic: str) -> Head:
        """The head of a topic that `first` named."""
        return self._heads[topic][0]

    def take(self, topic: str) -> Head:
        """Remove and return the head of a topic that `first` named."""
        return self._heads[topic].popleft()

    def _at_end(self, topic: str, position: Mapping[str, int]) -> bool:
        end = self._ends.end(topic, self._partition)
        return end is not None and position.get(topic, 0) >= end
