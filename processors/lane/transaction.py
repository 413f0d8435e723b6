"""One transaction in the making: an overlay of rows, outputs, effects, and how far the inputs were folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.lane.table import LaneTable

_UNTOUCHED: Final = object()
"""In place of a row that the transaction had not written before."""


class Transaction:
    """What a lane's handlers write to. Nothing of it is visible before the commit.

    `now` is the clock's time in ms; handlers take time from here and nowhere else.
    """

    def __init__(self, table: LaneTable, partition: int, now: int, *, eager_timers: bool = False) -> None:
        """`eager_timers`: due times count at once, for a clock that fires within the transaction."""
        self.eager_timers = eager_timers
        self.table = table
        self.partition = partition
        start = table.partitions[partition].position
        self.now = max(now, start.now)
        self.next = dict(start.next)
        self.runs: list[tuple[str, int, int]] = []
        self.rows: dict[bytes, Any] = {}
        self.outputs: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
        self.announcements: list[Any] = []
        self.effects: list[Any] = []
        self.durable: list[Callable[[], None]] = []
        self.done = start.done
        self.folded = 0
        self._undo: list[Callable[[], Any] | tuple[bytes, Any]] = []

    def begin_step(self) -> None:
        """From here on, until the next step begins, `undo_step` takes everything back."""
        self._undo.clear()

    def undo_step(self) -> None:
        """Take back what was written since `begin_step`."""
        for one in reversed(self._undo):
            if callable(one):
                one()
                continue
            key, before = one
            if before is _UNTOUCHED:
                del self.rows[key]
            else:
                self.rows[key] = before
            if self.eager_timers:
                self.table.arm(self.partition, key, self.get(key))
        self._undo.clear()

    def get(self, key: bytes) -> Any | None:
        """The row under `key` as this transaction sees it."""
        if key in self.rows:
            return self.rows[key]
        return self.table.get(self.partition, key)

    def put(self, key: bytes, row: Any | None) -> None:
        """Replace a row; None deletes it."""
        self._undo.append((key, self.rows.get(key, _UNTOUCHED)))
        self.rows[key] = row
        if self.eager_timers:
            self.table.arm(self.partition, key, row)

    def emit(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Append a record to the same partition number of an output topic."""
        records = self.outputs.setdefault(topic, [])
        records.append((key, value))
        self._undo.append(records.pop)

    def announce(self, announcement: Any) -> None:
        """Ask for something to be done before the commit (an append to another partition)."""
        self.announcements.append(announcement)
        self._undo.append(self.announcements.pop)

    def effect(self, effect: Any) -> None:
        """Ask for something to be done after the commit (a network call)."""
        self.effects.append(effect)
        self._undo.append(self.effects.pop)

    def once_durable(self, tell: Callable[[], None]) -> None:
        """Have `tell` called right after the commit: for counts of what is rare. It must not raise."""
        self.durable.append(tell)
        self._undo.append(self.durable.pop)

    def advance(self, topic: str, first: int, following: int) -> None:
        """Note that `topic` was folded from `first` up to (not including) `following`."""
        self.next[topic] = following
        if self.runs and self.runs[-1][0] == topic:
            self.runs[-1] = (topic, self.runs[-1][1], following)
        else:
            self.runs.append((topic, first, following))

    def position(self) -> Position:
        """The position that this transaction moves to."""
        return Position(
            next=self.next, runs=self.runs, now=self.now, done=self.done, rows=self.table.codec.version
        )

    def writes(self) -> dict[str, list[tuple[bytes | None, bytes | None]]]:
        """All records of the transaction by topic: outputs, changed rows, and the position."""
        encode = self.table.codec.encode
        rows: list[tuple[bytes | None, bytes | None]] = [
            (key, None if row is None else encode(row)) for key, row in self.rows.items()
        ]
        rows.append((POSITION_KEY, positions.encode(self.position())))
        return {**self.outputs, self.table.changelog: rows}
