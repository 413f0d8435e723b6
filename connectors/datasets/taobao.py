"""Taobao UserBehavior logs: read one, and turn it into facts for a replay.

A line is `user_id,item_id,category_id,behaviour,unix seconds`; no header. Rows are real, the consent
around them is simulated (`simulated_consent`). docs/reference/simulated-facts.md says what is made of a row.

Memory: a row is kept as 33 packed bytes (about 75 with the object around it), and all rows of a file are
held to be sorted: 1M rows take about 80 MB, and `ROWS_MAX` bounds it. Copies (`amplify`) are generated
while iterating and never held.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from connectors.datasets import recorded_log
from connectors.datasets.recorded_log import DIGITS_MAX, EARLIEST_S, SEED, Actor, Dataset, RecordedLog, Shop
from connectors.datasets.simulated_consent import CHINA
from ledger import facts as f

SHOP: Final = Shop(app="taobao", prefix="tb", home=CHINA)

BEHAVIOURS: Final = ("buy", "cart", "fav", "pv")
"""In the order in which rows of one user and second are published."""

ROWS_MAX: Final = 20_000_000
LINE_BYTES_MAX: Final = 256

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

    @property
    def at_ms(self) -> int:
        """The instant of the row."""
        return self.time_s * 1000


Rows: TypeAlias = RecordedLog[Row]
"""Lines = rows + duplicates + bad ones; sorted by (time, user, behaviour, item, category)."""


def read(path: Path, now_s: int | None = None) -> Rows:
    """Read a log: parsed, sorted, exact duplicates counted once, bad lines reported and left out.

    `now_s`: rows dated later are bad (a ledger takes no fact from the future); default: the clock.
    Raises `Misconfigured` if the file can't be read, holds no good row, or holds more than `ROWS_MAX`.
    """
    latest = int(time.time()) if now_s is None else now_s
    return recorded_log.read_log(
        path,
        lambda raw: (_parse(raw, latest),),
        _unpack,
        line_bytes_max=LINE_BYTES_MAX,
        rows_max=ROWS_MAX,
        holds="row of a Taobao UserBehavior log (user,item,category,pv|cart|fav|buy,unix seconds; no header)",
    )


def facts(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The activity of a log, `amplify` times, in publishing order: (time, user, copy, behaviour, item)."""
    return recorded_log.activity(rows, _tell, SHOP, amplify, seed)


def simulated_consent(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The simulated facts of permissions and tokens around a log, in publishing order."""
    return recorded_log.consent_around(rows, SHOP, amplify, seed)


DATASET: Final = Dataset(parts="lines", read=read, consent=simulated_consent, activity=facts)


def _tell(actor: Actor, rows: tuple[Row, ...]) -> Iterator[f.SubjectFact]:
    return (_fact(row, actor) for row in rows)


def _unpack(key: bytes) -> Row:
    return Row._make(_KEY.unpack(key))


def _fact(row: Row, actor: Actor) -> f.SubjectFact:
    subject, installation, app, source = actor
    time_s, _, behaviour, item_id, category_id = row
    item, category = str(item_id), str(category_id)
    name = BEHAVIOURS[behaviour]
    made_of = f"{subject}\0{time_s}\0{name}\0{item}\0{category}"
    event_id = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    at = row.at_ms
    if name == "buy":
        return f.OrderPlaced(
            event_id=event_id,
            app=app,
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
            app=app,
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
        app=app,
        occurred_at=at,
        source=source,
        subject=subject,
        item=item,
        category=category,
        installation=installation,
    )


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
