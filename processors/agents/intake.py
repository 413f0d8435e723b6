"""Reading a record: decode it, check that it may enter the ledger, or say why not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import msgspec

from connectors import codec
from connectors.errors import Poison
from connectors.placement import partition_of
from connectors.time_zones import zone_table
from ledger.admission import admitted, rejection
from ledger.facts import (
    Fact,
    InstallationClaimed,
    InstallationSeen,
    ItemFact,
    RecordDeadLettered,
    SubjectFact,
)
from ledger.ids import derived
from ledger.unreadable import WRONG_TOPIC
from processors.lane.transaction import Transaction
from processors.topic_names import DEAD_LETTERS, ITEMS, LINKS, PERMISSIONS

FIRST_APPENDED_HEADER: Final = "first_appended_ms"
DIGITS_MAX: Final = 18
KEY_BYTES_MAX: Final = 512
"""No id is nearly as long: such a key is nobody's, and its record belongs nowhere else."""
REAPPENDED_BYTES_MAX: Final = 524_288
"""Eight times the longest fact, half of what an input topic takes; a compressed record may unpack to more."""
LETTER_KEY_BYTES_MAX: Final = 65_536
LETTER_VALUE_BYTES_MAX: Final = 1_900_000
"""A compressed record may unpack to more than any topic takes; its letter keeps the beginning."""
_OTHER_KINDS: Final[Mapping[str, type[Fact]]] = {LINKS: InstallationClaimed, ITEMS: ItemFact}
_FIRST: Final = 0
"""Time of an unreadable record under the event clock: it never blocks and never waits."""


F = TypeVar("F", bound=Fact)


class Accepted(msgspec.Struct, frozen=True):
    """A fact that may be folded, with its record and its first append (ms); `left_out`: odd lines of it."""

    fact: SubjectFact
    record: Any
    appended_ms: int
    left_out: int = 0


class Refused(msgspec.Struct, frozen=True):
    """A record that may not, and why."""

    record: Any
    reason: str
    detail: str


def read(record: Any, *, ours: bool = False) -> tuple[int, Accepted | Refused]:
    """Decode and check one record; give its own time (ms) with the result. Never raises for bad input.

    `ours`: written by a role of ours, whose clock is not measured against the broker's.
    """
    found = checked(record, SubjectFact, ours=ours)
    if isinstance(found, Refused):
        return _FIRST, found
    fact, appended_ms, left_out = found
    return fact.occurred_at, Accepted(fact, record, appended_ms, left_out)


def kind_on(topic: str) -> type[Fact]:
    """What kind of facts others may write to an input topic."""
    return _OTHER_KINDS.get(topic, SubjectFact)


def checked(record: Any, kind: type[F], *, ours: bool = False) -> tuple[F, int, int] | Refused:
    """Decode and check one record that should hold this kind of fact.

    Gives (fact without its odd lines, first append in ms, how many lines were odd). What belongs on
    permissions counts on any topic of subjects: it may be a refusal. For facts that are keyed by something
    else than a subject; `read` is for the others.
    """
    try:
        fact = codec.decode(record.value)
    except Poison as poison:
        return Refused(record, poison.reason, poison.detail)
    if not isinstance(fact, kind):
        return Refused(record, "misplaced_fact", f"{type(fact).__name__} is on a topic of other facts")
    home = _home(type(fact))
    if home != record.topic and home != PERMISSIONS:  # noqa: PLR1714 - for each record, without a new set
        return Refused(record, WRONG_TOPIC, f"{type(fact).__name__} belongs on {home}")
    appended_ms = first_append(record)
    refused = rejection(fact, record.key, max(appended_ms, fact.occurred_at) if ours else appended_ms)
    if refused is None and isinstance(fact, InstallationSeen):
        refused = _where(fact.time_zone, fact.country)
    if refused is not None:
        return Refused(record, *refused)
    good, left_out = admitted(fact)
    return good, appended_ms, left_out  # type: ignore[return-value] # mypy loses F behind isinstance


_home: Final = cache(codec.topic_of)


@lru_cache(4_096)
def _where(time_zone: str | None, country: str | None) -> tuple[str, str] | None:
    return zone_table().refusal(time_zone, country)


def home_of(record: Any, partitions: int) -> int:
    """The partition on which the record belongs: its key's; where it stands, if it has none that matters."""
    key = record.key
    if key is None or len(key) > KEY_BYTES_MAX:
        return int(record.partition)
    return partition_of(key, partitions)


def shortened(value: bytes | None) -> bytes | None:
    """A record's value as it may be appended again: far longer than any fact, it can be cut and stays bad."""
    return value and value[:REAPPENDED_BYTES_MAX]


def first_append(record: Any) -> int:
    """When the broker first took the fact in (ms): its header where it was appended again, else now."""
    for name, value in record.headers:
        if name == FIRST_APPENDED_HEADER and value and len(value) <= DIGITS_MAX and value.isdigit():
            return int(min(int(value), record.timestamp))
    return int(record.timestamp)


def letter_id(topic: str, partition: int, offset: int) -> str:
    """The id of the dead letter of the record that stands there."""
    return derived("dead-letter", topic, str(partition), str(offset))


def dead_letter(refused: Refused, transaction: Transaction) -> None:
    """Emit the record's bytes, place and reason, on the same partition number."""
    record = refused.record
    key = record.key and record.key[:LETTER_KEY_BYTES_MAX]
    value = record.value and record.value[:LETTER_VALUE_BYTES_MAX]
    letter = RecordDeadLettered(
        event_id=letter_id(record.topic, record.partition, record.offset),
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
