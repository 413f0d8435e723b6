"""Recorded logs of shops: what their readers share, whatever a line looks like.

A reader says how a line becomes packed rows (`read_log`) and how the rows of one person and instant become
facts (`activity`). Sorting, doubled rows, bad ones, copies (`amplify`) and the simulated consent around a
log (`consent_around`) are here, and `Dataset` is all that a replay needs to know of a reader.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from connectors.datasets.hash_rule import Person
from connectors.datasets.simulated_consent import Home, Span, consent_of, installation_letters
from connectors.errors import Misconfigured
from ledger import facts as f

SEED: Final = "optin"

EARLIEST_S: Final = 946_771_200
"""2000-01-02T00:00:00Z: with simulated facts one day earlier still in the ledger's range of times."""
AMPLIFY_MAX: Final = 10_000
DIGITS_MAX: Final = 18
"""Of any number in a log."""
BAD_LINES_KEPT_MAX: Final = 100
"""Bad lines beyond this many are counted but not listed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Whose log it is: the facts' app, the first part of its people's names, and where they are at home."""

    app: str
    prefix: str
    home: Home

    def subject(self, user: int, copy: int = 0) -> str:
        """Name the subject of a user; copy 0 is the user of the log, the others are amplified."""
        return f"{self.prefix}-{user}-c{copy}" if copy else f"{self.prefix}-{user}"

    def source(self, copy: int = 0) -> str:
        """The source of activity; that of amplified rows says so: their subjects are nobody."""
        return f"import:{self.app}-copy" if copy else f"import:{self.app}"


class BadLine(NamedTuple):
    """A line that holds what is no row: its number, from 1, and what is wrong with it."""

    line: int
    reason: str


class Row(Protocol):
    """What all rows have in common: whose they are, and when."""

    @property
    def user(self) -> int:
        """The person's number in the log."""
        ...

    @property
    def at_ms(self) -> int:
        """The instant of the row."""
        ...


_Row = TypeVar("_Row", bound=Row)


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedLog(Generic[_Row]):
    """The distinct rows of a log in publishing order, by time and then by user.

    `keys` are the rows, packed so that sorted bytes are sorted rows; `unpack` makes rows of them. Beside
    them the file had `duplicates`, and `bad` lines or parts of lines that were left out; `bad_lines` lists
    the first `BAD_LINES_KEPT_MAX` of those.
    """

    keys: tuple[bytes, ...]
    unpack: Callable[[bytes], _Row]
    lines: int
    duplicates: int
    bad: int
    bad_lines: tuple[BadLine, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[_Row]:
        return map(self.unpack, self.keys)

    @property
    def span(self) -> Span:
        """The instants of the first and the last row."""
        return Span(self.unpack(self.keys[0]).at_ms, self.unpack(self.keys[-1]).at_ms)

    def users(self) -> list[int]:
        """The distinct users, ascending."""
        return sorted({row.user for row in self})


class Actor(NamedTuple):
    """Who did what a row says, in the words of its fact."""

    subject: str
    installation: str | None
    app: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset(Generic[_Row]):
    """A reader of logs as a replay sees it; both kinds of facts come `amplify` times, in publishing order.

    `read` raises `Misconfigured` if the file can't be read, holds no good row, or holds too many. `parts`
    names what `bad` counts.
    """

    parts: str
    read: Callable[[Path], RecordedLog[_Row]]
    consent: Callable[[RecordedLog[_Row], int], Iterator[f.SubjectFact]]
    activity: Callable[[RecordedLog[_Row], int], Iterator[f.SubjectFact]]


def read_log(
    path: Path,
    parse: Callable[[bytes], Iterable[bytes | str]],
    unpack: Callable[[bytes], _Row],
    *,
    line_bytes_max: int,
    rows_max: int,
    holds: str,
) -> RecordedLog[_Row]:
    """Read a log line by line: parsed, sorted, equal rows counted once, bad ones reported and left out.

    `parse` gives for a line its packed rows, and for each thing that is no row the reason why. It gets at
    most `line_bytes_max` bytes, of a longer line its beginning. `holds` tells what a good file looks like.
    Raises `Misconfigured` if the file can't be read, holds no good row, or holds more than `rows_max`.
    """
    keys: list[bytes] = []
    bad_lines: list[BadLine] = []
    lines = bad = 0
    try:
        for raw in _lines(path, line_bytes_max):
            lines += 1
            for found in parse(raw):
                if isinstance(found, bytes):
                    keys.append(found)
                    continue
                bad += 1
                if len(bad_lines) < BAD_LINES_KEPT_MAX:
                    bad_lines.append(BadLine(lines, found))
            if len(keys) > rows_max:
                raise Misconfigured(f"{path} has more than {rows_max} rows: give a part of it")
    except OSError as error:
        raise Misconfigured(f"{path} can't be read ({error.strerror}): name a file that can") from error
    if not keys:
        why = f"; line {bad_lines[0].line}: {bad_lines[0].reason}" if bad_lines else ""
        raise Misconfigured(f"{path} holds no {holds}: give another file{why}")
    keys.sort()
    distinct = tuple(key for key, _ in groupby(keys))
    return RecordedLog(distinct, unpack, lines, len(keys) - len(distinct), bad, tuple(bad_lines))


def activity(
    rows: RecordedLog[_Row],
    tell: Callable[[Actor, tuple[_Row, ...]], Iterable[f.SubjectFact]],
    shop: Shop,
    amplify: int,
    seed: str,
) -> Iterator[f.SubjectFact]:
    """What `tell` says of the rows of a user and instant, `amplify` times, in order of (time, user, copy).

    Streams: holds, beside `rows`, one installation id for each subject. An actor has its first one, if any.
    """
    _check(amplify)
    installations: dict[str, str | None] = {}
    for (_, user), group in groupby(rows, key=lambda row: (row.at_ms, row.user)):
        same = tuple(group)
        for copy in range(amplify):
            subject = shop.subject(user, copy)
            if subject not in installations:
                letters = installation_letters(Person(seed, subject))
                installations[subject] = f"{subject}-a" if letters else None
            yield from tell(Actor(subject, installations[subject], shop.app, shop.source(copy)), same)


def consent_around(rows: RecordedLog[_Row], shop: Shop, amplify: int, seed: str) -> Iterator[f.SubjectFact]:
    """The simulated facts of permissions and tokens around a log, in publishing order.

    Sorted by (occurred_at, subject, the rule's order). Holds the facts of all subjects (about six each).
    """
    _check(amplify)
    span = rows.span
    made: list[tuple[int, str, int, f.SubjectFact]] = []
    for user in rows.users():
        for copy in range(amplify):
            subject = shop.subject(user, copy)
            made.extend(
                (fact.occurred_at, subject, place, fact)
                for place, fact in enumerate(consent_of(seed, subject, shop.app, span, shop.home))
            )
    made.sort(key=lambda entry: entry[:3])
    return (entry[3] for entry in made)


def _check(amplify: int) -> None:
    if not 1 <= amplify <= AMPLIFY_MAX:
        raise Misconfigured(f"amplify must be from 1 to {AMPLIFY_MAX}, not {amplify}")


def _lines(path: Path, bytes_max: int) -> Iterator[bytes]:
    """The lines of a file; one that is too long is cut, and the rest of it skipped."""
    with path.open("rb") as file:
        while raw := file.readline(bytes_max):
            rest = raw
            while len(rest) == bytes_max and not rest.endswith(b"\n"):
                rest = file.readline(bytes_max)
            yield raw
