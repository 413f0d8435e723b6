"""Taobao UserBehavior logs: read one, and turn it into facts for a replay.

A line is `user_id,item_id,category_id,behaviour,unix seconds`; no header. Rows are real, the consent
around them is simulated (`simulated_consent`). docs/reference/journey-rule.md says what is made of a row.

Memory: a row is kept as 33 packed bytes (about 75 with the object around it), and all rows of a file are
held to be sorted: 1M rows take about 80 MB, and `ROWS_MAX` bounds it. Copies (`amplify`) are generated
while iterating and never held.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from connectors.datasets.hash_rule import Person
from connectors.datasets.simulated_consent import Span, consent_of, installation_letters
from connectors.errors import Misconfigured
from ledger import facts as f

APP: Final = "taobao"
SEED: Final = "optin"
SOURCE: Final = "import:taobao"
COPY_SOURCE: Final = "import:taobao-copy"
"""Source of amplified rows: their subjects are nobody."""

BEHAVIOURS: Final = ("buy", "cart", "fav", "pv")
"""In the order in which rows of one user and second are published."""

EARLIEST_S: Final = 946_771_200
"""2000-01-02T00:00:00Z: with simulated facts one day earlier still in the ledger's range of times."""
ROWS_MAX: Final = 20_000_000
AMPLIFY_MAX: Final = 10_000
LINE_BYTES_MAX: Final = 256
DIGITS_MAX: Final = 18
BAD_LINES_KEPT_MAX: Final = 100
"""Bad lines beyond this many are counted but not listed."""

_FIELDS: Final = 5
_KEY: Final = struct.Struct(">QQBQQ")
"""Big-endian, so that sorting the bytes sorts by (time, user, behaviour, item, category)."""
_RANKS: Final = {name.encode(): rank for rank, name in enumerate(BEHAVIOURS)}


class Row(NamedTuple):
    """One line of the log; `behaviour` is an index into `BEHAVIOURS`."""

    time_s: int
    user: int
    behaviour: int
    item: int
    category: int


class BadLine(NamedTuple):
    """A line that is not a row: its number, from 1, and what is wrong with it."""

    line: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The distinct rows of a log, sorted by (time, user, behaviour, item, category).

    `lines` = rows + `duplicates` + `bad`. `bad_lines` lists the first `BAD_LINES_KEPT_MAX` bad ones.
    """

    keys: tuple[bytes, ...]
    lines: int
    duplicates: int
    bad: int
    bad_lines: tuple[BadLine, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Row]:
        return map(Row._make, map(_KEY.unpack, self.keys))

    @property
    def span(self) -> Span:
        """The instants of the first and the last row."""
        first, last = (_KEY.unpack(key)[0] for key in (self.keys[0], self.keys[-1]))
        return Span(first * 1000, last * 1000)

    def users(self) -> list[int]:
        """The distinct users, ascending."""
        return sorted({row.user for row in self})


def read(path: Path, now_s: int | None = None) -> Rows:
    """Read a log: parsed, sorted, exact duplicates counted once, bad lines reported and left out.

    `now_s`: rows dated later are bad (a ledger takes no fact from the future); default: the clock.
    Raises `Misconfigured` if the file can't be read, holds no good row, or holds more than `ROWS_MAX`.
    """
    latest = int(time.time()) if now_s is None else now_s
    keys: list[bytes] = []
    bad_lines: list[BadLine] = []
    lines = bad = 0
    try:
        for raw in _lines(path):
            lines += 1
            key = _parse(raw, latest)
            if isinstance(key, bytes):
                keys.append(key)
                if len(keys) > ROWS_MAX:
                    raise Misconfigured(f"{path} has more than {ROWS_MAX} rows: give a part of it")
                continue
            bad += 1
            if bad <= BAD_LINES_KEPT_MAX:
                bad_lines.append(BadLine(lines, key))
    except OSError as error:
        raise Misconfigured(f"{path} can't be read ({error.strerror}): name a file that can") from error
    if not keys:
        why = f"; line {bad_lines[0].line}: {bad_lines[0].reason}" if bad_lines else ""
        raise Misconfigured(
            f"{path} holds no row of a Taobao UserBehavior log (user,item,category,pv|cart|fav|buy,"
            f"unix seconds; no header): give another file{why}"
        )
    keys.sort()
    distinct = tuple(key for key, _ in groupby(keys))
    return Rows(distinct, lines, len(keys) - len(distinct), bad, tuple(bad_lines))


def facts(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The activity of a log, `amplify` times, in publishing order: (time, user, copy, behaviour, item).

    Streams: holds, beside `rows`, one installation id for each subject.
    """
    _check(amplify)
    installations: dict[str, str | None] = {}
    for (_, user), group in groupby(rows, key=lambda row: (row.time_s, row.user)):
        same = tuple(group)
        for copy in range(amplify):
            subject = subject_of(user, copy)
            if subject not in installations:
                letters = installation_letters(Person(seed, subject))
                installations[subject] = f"{subject}-a" if letters else None
            source = COPY_SOURCE if copy else SOURCE
            for row in same:
                yield _fact(row, subject, installations[subject], source)


def simulated_consent(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The simulated facts of permissions and tokens around a log, in publishing order.

    Sorted by (occurred_at, subject, the rule's order). Holds the facts of all subjects (about six each).
    """
    _check(amplify)
    span = rows.span
    made: list[tuple[int, str, int, f.SubjectFact]] = []
    for user in rows.users():
        for copy in range(amplify):
            subject = subject_of(user, copy)
            made.extend(
                (fact.occurred_at, subject, place, fact)
                for place, fact in enumerate(consent_of(seed, subject, APP, span))
            )
    made.sort(key=lambda entry: entry[:3])
    return (entry[3] for entry in made)


def subject_of(user: int, copy: int = 0) -> str:
    """Name the subject of a user; copy 0 is the user of the log, the others are amplified."""
    return f"tb-{user}-c{copy}" if copy else f"tb-{user}"


def _check(amplify: int) -> None:
    if not 1 <= amplify <= AMPLIFY_MAX:
        raise Misconfigured(f"amplify must be from 1 to {AMPLIFY_MAX}, not {amplify}")


def _fact(row: Row, subject: str, installation: str | None, source: str) -> f.SubjectFact:
    time_s, _, behaviour, item_id, category_id = row
    item, category = str(item_id), str(category_id)
    name = BEHAVIOURS[behaviour]
    made_of = f"{subject}\0{time_s}\0{name}\0{item}\0{category}"
    event_id = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    at = time_s * 1000
    if name == "buy":
        return f.OrderPlaced(
            event_id=event_id,
            app=APP,
            occurred_at=at,
            source=source,
            subject=subject,
            order_id=f"{subject}-{time_s}-{item}",
            items=(item,),
            installation=installation,
        )
    if name == "cart":
        return f.CartUpdated(
            event_id=event_id,
            app=APP,
            occurred_at=at,
            source=source,
            subject=subject,
            item=item,
            change="added",
            category=category,
            installation=installation,
        )
    kind = f.ItemSaved if name == "fav" else f.ItemViewed
    return kind(
        event_id=event_id,
        app=APP,
        occurred_at=at,
        source=source,
        subject=subject,
        item=item,
        category=category,
        installation=installation,
    )


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; one that is too long is cut, and the rest of it skipped."""
    with path.open("rb") as file:
        while raw := file.readline(LINE_BYTES_MAX):
            rest = raw
            while len(rest) == LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES_MAX)
            yield raw


def _parse(raw: bytes, latest_s: int) -> bytes | str:
    """The packed row of a line, or what is wrong with the line."""
    fields = raw.removesuffix(b"\n").removesuffix(b"\r").split(b",")
    if len(fields) != _FIELDS:
        return f"expected {_FIELDS} fields, found {len(fields)}"
    user, item, category, behaviour, seconds = fields
    for name, value in (("user", user), ("item", item), ("category", category), ("time", seconds)):
        if not value.isdigit() or len(value) > DIGITS_MAX:
            return f"{name} is not a number of 1 to {DIGITS_MAX} digits"
    rank = _RANKS.get(behaviour)
    if rank is None:
        return f"behaviour is not one of {', '.join(BEHAVIOURS)}"
    time_s = int(seconds)
    if time_s < EARLIEST_S:
        return "time is before 2000-01-02"
    if time_s > latest_s:
        return "time lies in the future"
    return _KEY.pack(time_s, int(user), rank, int(item), int(category))
