"""Reading a record: decode it, check that it may enter the ledger, or say why not."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from connectors import codec
from connectors.errors import Poison
from ledger.admission import rejection
from ledger.facts import RecordDeadLettered, SubjectFact
from ledger.ids import derived
from processors.lane.transaction import Transaction
from processors.topic_names import DEAD_LETTERS

FIRST_APPENDED_HEADER: Final = "first_appended_ms"
DIGITS_MAX: Final = 18
LETTER_KEY_BYTES_MAX: Final = 65_536
LETTER_VALUE_BYTES_MAX: Final = 1_900_000
"""A compressed record may unpack to more than any topic takes; its letter keeps the beginning."""
_FIRST: Final = 0
"""Time of an unreadable record under the event clock: it never blocks and never waits."""


class Accepted(msgspec.Struct, frozen=True):
    """A fact that may be folded, with its record and its first append (ms)."""

    fact: SubjectFact
    record: Any
    appended_ms: int


class Refused(msgspec.Struct, frozen=True):
    """A record that may not, and why."""

    record: Any
    reason: str
    detail: str


def read(record: Any, *, ours: bool = False) -> tuple[int, Accepted | Refused]:
    """Decode and check one record; give its own time (ms) with the result. Never raises for bad input.

    `ours`: written by a role of ours, whose clock is not measured against the broker's.
    """
    try:
        fact = codec.decode(record.value)
    except Poison as poison:
        return _FIRST, Refused(record, poison.reason, poison.detail)
    if not isinstance(fact, SubjectFact):
        return _FIRST, Refused(record, "misplaced_fact", f"{type(fact).__name__} is not about a subject")
    appended_ms = first_append(record)
    refused = rejection(fact, record.key, max(appended_ms, fact.occurred_at) if ours else appended_ms)
    if refused is not None:
        return _FIRST, Refused(record, *refused)
    return fact.occurred_at, Accepted(fact, record, appended_ms)


def first_append(record: Any) -> int:
    """When the broker first took the fact in (ms): its header where it was appended again, else now."""
    for name, value in record.headers:
        if name == FIRST_APPENDED_HEADER and value and len(value) <= DIGITS_MAX and value.isdigit():
            return int(min(int(value), record.timestamp))
    return int(record.timestamp)


def dead_letter(refused: Refused, transaction: Transaction) -> None:
    """Emit the record's bytes, place and reason, on the same partition number."""
    record = refused.record
    key = record.key and record.key[:LETTER_KEY_BYTES_MAX]
    value = record.value and record.value[:LETTER_VALUE_BYTES_MAX]
    letter = RecordDeadLettered(
        event_id=derived("dead-letter", record.topic, str(record.partition), str(record.offset)),
        app="optin",
        occurred_at=max(record.timestamp, 0),
        source="processor",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_at=record.timestamp,
        key=key,
        value=value,
        reason=refused.reason,
        detail=refused.detail,
    )
    transaction.emit(DEAD_LETTERS, key, codec.encode(letter))
