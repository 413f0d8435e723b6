"""Due times of the rows of one partition: derived from the table, rebuilt after recovery, never stored."""

from __future__ import annotations

import heapq


class Timers:
    """A heap with lazy deletion: of several entries of one key only the last armed one counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._armed: dict[bytes, int] = {}

    def arm(self, key: bytes, due: int | None) -> None:
        """Set or clear (None) the due time of a row."""
        if due is None:
            self._armed.pop(key, None)
        elif self._armed.get(key) != due:
            self._armed[key] = due
            heapq.heappush(self._heap, (due, key))

    def next_due(self) -> int | None:
        """The earliest due time, or None."""
        self._skip_stale()
        return self._heap[0][0] if self._heap else None

    def pop(self) -> bytes:
        """Take the key that is due first (ties: the smaller key). Only after `next_due` gave a time."""
        self._skip_stale()
        _, key = heapq.heappop(self._heap)
        del self._armed[key]
        return key

    def __len__(self) -> int:
        return len(self._armed)

    def _skip_stale(self) -> None:
        heap, armed = self._heap, self._armed
        while heap and armed.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
