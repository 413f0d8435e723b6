"""Rows and positions of the partitions that this process owns.

What is in memory is durable: rows and positions change only after the transaction that holds them was
committed. Rows stay decoded once touched; after recovery they wait as bytes until somebody needs them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.lane.timers import Timers


@dataclasses.dataclass(frozen=True, slots=True)
class RowCodec:
    """How rows become bytes and back, and when a row wants to be woken (ms, or None).

    `wake_at_encoded`: the same of a row's bytes.
    `version`: of the rows that `encode` writes and `decode` can read, older ones included. It travels with
    each position, so that an older binary learns on recovery what it would meet.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    wake_at: Callable[[Any], int | None]
    wake_at_encoded: Callable[[bytes], int | None]
    version: int = 1


class UnreadableState(RuntimeError):  # noqa: N818 - named for what was met
    """State on a changelog that this binary can't read, and must not write over.

    Operator action: run the version that wrote it, or a later one; the message names the place.
    `partition`, and `key` or `offset`: which record it is, where that is known.
    """

    def __init__(
        self,
        message: str,
        partition: int | None = None,
        *,
        key: bytes | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.partition, self.key, self.offset = partition, key, offset


START: Final = Position()


class Partition:
    """Rows, position and timers of one owned partition number."""

    __slots__ = ("position", "rows", "timers")

    def __init__(self) -> None:
        self.rows: dict[bytes, Any] = {}
        self.position = START
        self.timers = Timers()


class LaneTable:
    """All partitions of one lane. `changelog` is the topic that holds their rows and positions."""

    def __init__(self, changelog: str, codec: RowCodec) -> None:
        self.changelog = changelog
        self.codec = codec
        self.partitions: dict[int, Partition] = {}
        self.recovered: set[int] = set()

    def get(self, partition: int, key: bytes) -> Any | None:
        """The row under `key`, or None. A row read for the first time since recovery is decoded now.

        Raises `UnreadableState`; nothing was written then.
        """
        rows = self.partitions[partition].rows
        row = rows.get(key)
        if type(row) is bytes:
            try:
                row = rows[key] = self.codec.decode(row)
            except Exception as error:
                raise self._unreadable(partition, key, error) from error
        return row

    def _unreadable(self, partition: int, key: bytes, error: Exception) -> UnreadableState:
        return UnreadableState(f"a row of {self.changelog}/{partition}: {error}", partition, key=key)

    def peek(self, partition: int, key: bytes) -> Any | None:
        """The row under `key`, or None; unlike `get` it leaves one that waits as bytes as it is.

        For looking through all rows: kept decoded they take several times the room. Raises `UnreadableState`.
        """
        row = self.partitions[partition].rows.get(key)
        if type(row) is not bytes:
            return row
        try:
            return self.codec.decode(row)
        except Exception as error:
            raise self._unreadable(partition, key, error) from error

    def restore(self, partition: int, records: Iterable[Any]) -> None:
        """Take in changelog records in offset order. Raises `UnreadableState` for a newer binary's."""
        owned = self.partitions[partition]
        rows = owned.rows
        for record in records:
            if record.key == POSITION_KEY:
                owned.position = self._readable(partition, record.value, record.offset)
            elif record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value

    def _readable(self, partition: int, raw: bytes | None, offset: int) -> Position:
        place = f"{self.changelog}/{partition}"
        try:
            position = positions.decode(raw or b"")
        except Exception as error:
            raise UnreadableState(f"the position of {place}: {error}", partition, offset=offset) from error
        if position.rows > self.codec.version:
            raise UnreadableState(
                f"{place} holds rows of state version {position.rows}, this binary knows"
                f" {self.codec.version}: run the version of optin that wrote them, or a later one"
            )
        return position

    def rebuild_timers(self, partition: int) -> None:
        """Derive the timers of a freshly restored partition from its rows, which stay bytes.

        Raises `UnreadableState`.
        """
        owned = self.partitions[partition]
        owned.timers = Timers()
        wake_at = self.codec.wake_at_encoded
        key = b""
        try:
            for key, row in owned.rows.items():
                due = wake_at(row)
                if due is not None:
                    owned.timers.arm(key, due)
        except Exception as error:
            raise self._unreadable(partition, key, error) from error

    def arm(self, partition: int, key: bytes, row: Any | None) -> None:
        """Note when a row wants to be woken; a deleted row never does."""
        due = None if row is None else self.codec.wake_at(row)
        self.partitions[partition].timers.arm(key, due)

    def apply(self, partition: int, overlay: dict[bytes, Any], position: Position) -> None:
        """Make a committed transaction visible."""
        owned = self.partitions[partition]
        owned.position = position
        rows, arm, wake_at = owned.rows, owned.timers.arm, self.codec.wake_at
        for key, row in overlay.items():
            if row is None:
                rows.pop(key, None)
                arm(key, None)
            else:
                rows[key] = row
                arm(key, wake_at(row))
