"""Words on an installation's permission: what is kept of them, in bounded room and in any order of folding.

Of each clock the latest grant is kept, and the latest refusals; of a device that numbers its facts, the
latest by number and by its own time. What counts is computed from all of them (`ledger/effective.py`).
A second copy has the same own time and number, and a refusal's the same mark: the earlier append of the
two stays. A copy of a refusal that gave way counts as one that was appended late: it silences.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from ledger import facts as f

REFUSALS: Final = frozenset({"denied", "not_determined"})
"""Permissions that take a grant away."""

REGISTERS: Final = ("device_counted", "device", "server", "import")
"""The clocks: a device that numbers its facts, one that doesn't, app backends, back-fills."""
COUNTED: Final = 0
DEVICES_END: Final = 2
"""Clocks below are a device's."""
SERVER: Final = 2
IMPORT: Final = 3

REFUSALS_MAX: Final = 3
"""Refusals of one clock that are kept for their append; beside them those with the latest time and number."""

PRIVACY: Final = {name: len(f.PERMISSIONS) - rank for rank, name in enumerate(f.PERMISSIONS)}
"""The greater number is the more private permission."""
RANKS: Final = {name: rank for rank, name in enumerate(f.PERMISSIONS)}
REFUSING: Final = frozenset(RANKS[name] for name in REFUSALS)

Place: TypeAlias = tuple[int, int]
"""Where a fact was first appended: (broker's time in ms, offset). The order of the broker."""


class Word(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one fact says of one installation's permission.

    `rank`: index of the permission in `facts.PERMISSIONS`. `at`: the speaker's own time (ms), as it stands in
    the fact. `clock`: index in `REGISTERS`. `number`: the `sequence` of a device that counts, else -1;
    `since`: when its counter began, 0 where it doesn't say. `mark`: of a refusal, the CRC-32 of its event id.
    """

    rank: int
    at: int
    clock: int
    appended: int
    offset: int
    number: int = -1
    since: int = 0
    mark: int = 0

    @property
    def permission(self) -> str:
        """What it says."""
        return f.PERMISSIONS[self.rank]

    @property
    def place(self) -> Place:
        """Where it was first appended."""
        return self.appended, self.offset

    @property
    def known_at(self) -> int:
        """Since when it counts: its own time, but never later than its first append."""
        return min(self.at, self.appended)

    @property
    def refuses(self) -> bool:
        """Whether it takes permission away."""
        return self.rank in REFUSING


Words: TypeAlias = tuple[Word, ...]


def keep(known: Words, word: Word) -> Words:
    """`known` and `word`, as far as they are kept; `known` itself if nothing changes.

    `known` are grants, or refusals, of one installation, and `word` is of the same kind.
    """
    if not known:
        return (word,)
    last = known[-1]
    if (
        last.clock == word.clock == known[0].clock
        and last.at < word.at
        and (last.appended, last.offset) < (word.appended, word.offset)
        and (last.since, last.number) <= (word.since, word.number)
    ):
        # Almost always: one clock speaks, and in order. The same as what follows, several times faster.
        is_next = word.clock != COUNTED or (last.since, last.number) < (word.since, word.number)
        if word.rank not in REFUSING and len(known) == 1 and is_next:
            return (word,)
        if word.rank in REFUSING and all(
            one.at < word.at
            and one.mark != word.mark
            and (one.since, one.number) <= (word.since, word.number)
            for one in known
        ):
            if len(known) < REFUSALS_MAX:
                return (*known, word)
            if len(known) == REFUSALS_MAX and is_next:
                return (*known[1:], word)
    mine = [one for one in known if one.clock == word.clock]
    if word in mine:
        return known
    again = next((one for one in mine if _same(one, word)), None)
    if again is not None:
        if again.place <= word.place:
            return known
        mine.remove(again)
    mine.append(word)
    kept = mine
    if len(mine) > 1:
        kept = _refusals(mine) if word.refuses else _grants(mine)
    others = [one for one in known if one.clock != word.clock]
    merged = tuple(sorted([*others, *kept], key=_order))
    return known if merged == known else merged


def _same(one: Word, other: Word) -> bool:
    """Whether one is a second copy of the other; they are of one clock."""
    mine, others = (one.at, one.number, one.since), (other.at, other.number, other.since)
    return one.refuses and one.mark == other.mark and one.rank == other.rank and mine == others


Key: TypeAlias = tuple[int, ...]
"""In all of them the lower rank, which is the more private, is the greater at equal times."""


def _order(word: Word) -> Key:
    return word.clock, *_by_place(word)


def _by_place(word: Word) -> Key:
    return *word.place, word.at, word.since, word.number, -word.rank, word.mark


def _by_time(word: Word) -> Key:
    return word.at, -word.rank, -word.appended, -word.offset, word.since, word.number, word.mark


def _by_number(word: Word) -> Key:
    return word.since, word.number, -word.rank, word.at, -word.appended, -word.offset, word.mark


def _grants(mine: list[Word]) -> list[Word]:
    latest = max(mine, key=_by_time)
    if latest.clock != COUNTED:
        return [latest]
    highest = max(mine, key=_by_number)
    return [latest] if highest == latest else [latest, highest]


def _refusals(mine: list[Word]) -> list[Word]:
    if len(mine) <= REFUSALS_MAX:
        return mine
    kept = sorted(mine, key=_by_place)[-REFUSALS_MAX:]
    extremes = [max(mine, key=_by_time)]
    if extremes[0].clock == COUNTED:
        extremes.append(max(mine, key=_by_number))
    for extreme in extremes:
        if extreme not in kept:
            kept.append(extreme)
    return kept
