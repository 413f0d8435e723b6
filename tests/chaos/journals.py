"""What disturbed workers wrote down: who owned what when, and what a kill left unfinished."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Note:
    """One line: at `ms` process `pid` of `instance` did `word` with `detail`."""

    ms: int
    instance: str
    pid: int
    word: str
    detail: str


def read_notes(folder: Path) -> list[Note]:
    """All notes of all instances in the order of their times."""
    notes = [
        parsed(file.stem, line)
        for file in sorted(folder.glob("*.journal"))
        for line in file.read_text().splitlines()
    ]
    return sorted(notes, key=lambda note: note.ms)


def last_notes(folder: Path, instance: str) -> list[Note]:
    """The last notes of an instance, while it may be writing more."""
    with (folder / f"{instance}.journal").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        whole = file.read().decode().splitlines()[1:]
    return [parsed(instance, line) for line in whole]


def parsed(instance: str, line: str) -> Note:
    """A line as a note."""
    ms, pid, word, detail = line.split(" ")
    return Note(int(ms), instance, int(pid), word, detail)


def unfinished(notes: Iterable[Note], pid: int) -> list[str]:
    """What a dead process had begun and not ended: `<transactional id>` or `insert/0`."""
    return _open(notes, pid, "begin", "end")


def uncommitted(notes: Iterable[Note], pid: int) -> list[str]:
    """The transactions of a process that are written whole and that it has not begun to commit."""
    return _open(notes, pid, "written", "committing")


def _open(notes: Iterable[Note], pid: int, begin: str, end: str) -> list[str]:
    begun: dict[str, None] = {}
    for note in notes:
        if note.pid == pid and note.word == begin:
            begun[note.detail] = None
        elif note.pid == pid and note.word == end:
            begun.pop(note.detail, None)
    return list(begun)


def taken_over(notes: Sequence[Note], instance: str, begin: int, end: int) -> list[str]:
    """What other instances of the role claimed between two times (ms)."""
    role = instance.rpartition("-")[0]
    return [
        note.detail
        for note in notes
        if note.word == "claim"
        and begin <= note.ms <= end
        and note.instance != instance
        and note.instance.startswith(role)
    ]


def rebalances(notes: Sequence[Note], begin: int, end: int, apart_ms: int = 1_000) -> int:
    """How often partitions were claimed between two times (ms): claims closer together are one."""
    times = sorted(note.ms for note in notes if note.word == "claim" and begin <= note.ms < end)
    return sum(later - earlier > apart_ms for earlier, later in itertools.pairwise([-2 * apart_ms, *times]))


def handed_over(notes: Iterable[Note]) -> dict[str, int]:
    """When each push was last about to be handed over (ms)."""
    return {push: note.ms for note in notes if note.word == "hand" for push in note.detail.split(",") if push}
