"""OTTO recommender logs: read one, and turn it into facts for a replay.

A line is `{"session": n, "events": [{"aid": n, "ts": unix milliseconds, "type": clicks|carts|orders}, ...]}`.
A session is all that one visitor did in weeks, so it is the subject. Rows are real, the consent around
them is simulated (`simulated_consent`). docs/reference/simulated-facts.md says what is made of a row.

Memory: lines are read one by one; a row is kept as 25 packed bytes (about 65 with the object around it), and
all rows of a file are held to be sorted: 1M rows take about 80 MB, and `ROWS_MAX` bounds it. Copies
(`amplify`) are generated while iterating and never held.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from connectors.datasets import recorded_log
from connectors.datasets.recorded_log import DIGITS_MAX, EARLIEST_S, SEED, Actor, Dataset, RecordedLog, Shop
from connectors.datasets.simulated_consent import GERMANY
from ledger import facts as f
from ledger.admission import ITEMS_MAX

SHOP: Final = Shop(app="otto", prefix="otto", home=GERMANY)

TYPES: Final = ("orders", "carts", "clicks")
"""In the order in which rows of one session and millisecond are published."""

ROWS_MAX: Final = 20_000_000
"""The published training set has 216,716,096: a part of it is plenty for a replay."""
LINE_BYTES_MAX: Final = 1 << 20
"""Sessions of the published set have at most some hundred events, of about 50 bytes each."""

_KEY: Final = struct.Struct(">QQBQ")
"""Big-endian, so that sorting the bytes sorts by (time, session, type, article)."""
_RANKS: Final = {name: rank for rank, name in enumerate(TYPES)}
_ORDERS: Final = _RANKS["orders"]
_CARTS: Final = _RANKS["carts"]


class Row(NamedTuple):
    """One event of the log; `type` is an index into `TYPES`."""

    at_ms: int
    session: int
    type: int
    article: int

    @property
    def user(self) -> int:
        """Sessions are the people of this log."""
        return self.session


Rows: TypeAlias = RecordedLog[Row]
"""Events of the file = rows + duplicates + bad ones (`bad` counts bad lines, too)."""


class _Line(msgspec.Struct, frozen=True):
    session: int
    events: list[msgspec.Raw]
    """Undecoded, so that a bad one does not take the others with it."""


class _Event(msgspec.Struct, frozen=True):
    aid: int
    ts: int
    type: str


_LINE: Final = msgspec.json.Decoder(_Line)
_EVENT: Final = msgspec.json.Decoder(_Event)


def read(path: Path, now_ms: int | None = None) -> Rows:
    """Read a log: parsed, sorted, equal events counted once, bad lines and events reported and left out.

    `now_ms`: events dated later are bad (a ledger takes no fact from the future); default: the clock.
    Raises `Misconfigured` if the file can't be read, holds no good event, or holds more than `ROWS_MAX`.
    """
    latest = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return recorded_log.read_log(
        path,
        lambda raw: _parse(raw, latest),
        _unpack,
        line_bytes_max=LINE_BYTES_MAX,
        rows_max=ROWS_MAX,
        holds='event of an OTTO log (lines of {"session": n, "events": [{"aid": n, "ts": unix milliseconds,'
        ' "type": "clicks|carts|orders"}]})',
    )


def facts(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The activity of a log, `amplify` times, in publishing order: (time, session, copy, type, article)."""
    return recorded_log.activity(rows, _tell, SHOP, amplify, seed)


def simulated_consent(rows: Rows, amplify: int = 1, seed: str = SEED) -> Iterator[f.SubjectFact]:
    """The simulated facts of permissions and tokens around a log, in publishing order."""
    return recorded_log.consent_around(rows, SHOP, amplify, seed)


DATASET: Final = Dataset(parts="lines or events", read=read, consent=simulated_consent, activity=facts)


def _tell(actor: Actor, rows: tuple[Row, ...]) -> Iterator[f.SubjectFact]:
    """The facts of one subject and instant: what is ordered at once is one order, the rest a fact each."""
    # Sorted rows of one subject and instant begin with the orders.
    ordered = [row for row in rows if row.type == _ORDERS]
    for start in range(0, len(ordered), ITEMS_MAX):
        yield _order(actor, ordered[start : start + ITEMS_MAX], start // ITEMS_MAX)
    for row in rows[len(ordered) :]:
        yield _fact(actor, row)


def _order(actor: Actor, rows: list[Row], part: int) -> f.SubjectFact:
    """One order; beyond what the ledger takes as one, part 1, 2, ... is an order of its own."""
    at, items = rows[0].at_ms, tuple(str(row.article) for row in rows)
    return f.OrderPlaced(
        event_id=_event_id(actor, at, "orders", ",".join(items)),
        app=actor.app,
        occurred_at=at,
        source=actor.source,
        subject=actor.subject,
        order_id=f"{actor.subject}-{at}-{part}" if part else f"{actor.subject}-{at}",
        items=items,
        installation=actor.installation,
    )


def _fact(actor: Actor, row: Row) -> f.SubjectFact:
    at, item = row.at_ms, str(row.article)
    event_id = _event_id(actor, at, TYPES[row.type], item)
    if row.type == _CARTS:
        return f.CartUpdated(
            event_id=event_id,
            app=actor.app,
            occurred_at=at,
            source=actor.source,
            subject=actor.subject,
            item=item,
            change="added",
            installation=actor.installation,
        )
    return f.ItemViewed(
        event_id=event_id,
        app=actor.app,
        occurred_at=at,
        source=actor.source,
        subject=actor.subject,
        item=item,
        installation=actor.installation,
    )


def _event_id(actor: Actor, at: int, name: str, items: str) -> str:
    made_of = f"{actor.subject}\0{at}\0{name}\0{items}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:32]


def _unpack(key: bytes) -> Row:
    return Row._make(_KEY.unpack(key))


def _parse(raw: bytes, latest_ms: int) -> Iterator[bytes | str]:
    """The packed rows of a line, and what is wrong with the line or with events in it."""
    if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
        yield f"line is longer than {LINE_BYTES_MAX} bytes"
        return
    line = _decode(_LINE, raw)
    if isinstance(line, str):
        yield line
    elif not _is_number(line.session):
        yield f"session is not a number of 1 to {DIGITS_MAX} digits"
    elif not line.events:
        yield "session has no events"
    else:
        for number, event in enumerate(line.events, 1):
            found = _parse_event(line.session, event, latest_ms)
            yield found if isinstance(found, bytes) else f"event {number}: {found}"


def _parse_event(session: int, raw: msgspec.Raw, latest_ms: int) -> bytes | str:
    """The packed row of an event, or what is wrong with it."""
    event = _decode(_EVENT, raw)
    if isinstance(event, str):
        return event
    if not _is_number(event.aid):
        return f"aid is not a number of 1 to {DIGITS_MAX} digits"
    rank = _RANKS.get(event.type)
    if rank is None:
        return f"type is not one of {', '.join(TYPES)}"
    if event.ts < EARLIEST_S * 1000:
        return "ts is before 2000-01-02"
    if event.ts > latest_ms:
        return "ts lies in the future"
    return _KEY.pack(event.ts, session, rank, event.aid)


_Shape = TypeVar("_Shape", _Line, _Event)


def _decode(decoder: msgspec.json.Decoder[_Shape], raw: bytes | msgspec.Raw) -> _Shape | str:
    """What the JSON says, or why it says nothing; no answer repeats a value of the file."""
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        return str(error)
    except UnicodeDecodeError:
        return "text is not UTF-8"
    except RecursionError:
        return "JSON is nested too deeply"


def _is_number(value: int) -> bool:
    return 0 <= value < 10**DIGITS_MAX
