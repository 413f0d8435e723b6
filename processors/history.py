"""What the topics say about one subject, or about all of one partition: for `explain` and `verify`."""

from __future__ import annotations

import dataclasses
import heapq
from typing import Any, Final

from connectors import codec
from connectors.errors import Misconfigured
from connectors.kafka.read import read_topic
from connectors.kafka.topics import partition_count
from connectors.placement import partition_of
from ledger import facts as f
from ledger import subject as rows
from ledger.admission import subject_of
from ledger.consent_fold import LedgerFact
from ledger.reach import NOBODY, Reach, fold, mark_unreadable
from ledger.subject import Subject
from ledger.unreadable import FormerlyTaken, UnreadableRecord, leaves_mark
from processors.agents import intake
from processors.agents.failed_steps import FAILED
from processors.agents.intake import Accepted
from processors.readable import facts_of
from processors.registry_framing import writer_schemas
from processors.settings import read_settings
from processors.topic_names import (
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    JOURNEYS_CHANGELOG,
    PERMISSIONS,
    TOKENS,
)

FAMILIES: Final = {PERMISSIONS: "permissions", TOKENS: "tokens"}


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """All that is recorded of one subject, each list in the order of its topic; its partition number."""

    partition: int
    ledger: list[LedgerFact]
    row: Subject | None
    journeys: list[f.JourneyStarted | f.JourneyEnded]
    decisions: list[f.PushDecided]
    deliveries: list[f.DeliveryFact]

    @property
    def known(self) -> bool:
        """Whether anything at all is recorded."""
        return bool(self.ledger or self.row or self.decisions)


async def history_of(bootstrap: str, subject: str) -> History:
    """Read one subject's partition of every topic; as long as that partition. Raises `Transient`."""
    key = subject.encode()
    partition = partition_of(key, await partition_count(bootstrap, PERMISSIONS))
    ledger = await subject_ledger(bootstrap, partition, subject)
    row: Subject | None = None
    for record in await _records(bootstrap, JOURNEYS_CHANGELOG, partition, key):
        row = None if record.value is None else _row(record)
    journeys: list[f.JourneyStarted | f.JourneyEnded] = []
    decisions: list[f.PushDecided] = []
    for _, fact in facts_of(await _records(bootstrap, DECISIONS, partition, key)):
        match fact:
            case f.PushDecided() as decided:
                decisions.append(decided)
            case f.JourneyStarted() | f.JourneyEnded() as journey:
                journeys.append(journey)
            case _:
                pass
    deliveries = [
        fact
        for _, fact in facts_of(await _records(bootstrap, DELIVERIES, partition, key))
        if isinstance(fact, f.DeliveryFact)
    ]
    return History(partition, ledger, row, journeys, decisions, deliveries)


def _row(record: Any) -> Subject:
    try:
        return rows.decode(record.value)
    except ValueError as error:
        raise Misconfigured(f"a row of {record.topic}/{record.partition}: {error}") from error


async def subject_ledger(bootstrap: str, partition: int, subject: str) -> list[LedgerFact]:
    """One subject's ledger: each topic in the order of its offsets, the two of them by time."""
    mine = [entry for entry in await ledger_of(bootstrap, partition) if entry[0].subject == subject]
    families = ([entry for entry in mine if entry[1] == family] for family in FAMILIES.values())
    return [*heapq.merge(*families, key=lambda entry: entry[3])]


async def reach_of(bootstrap: str, subject: str) -> Reach:
    """What the delivery role keeps of a subject, folded anew. Raises `Transient`."""
    partition = partition_of(subject.encode(), await partition_count(bootstrap, PERMISSIONS))
    found = NOBODY
    for fact, _, offset, appended_ms in await subject_ledger(bootstrap, partition, subject):
        if isinstance(fact, UnreadableRecord):
            found = mark_unreadable(found, offset, appended_ms)
        elif not isinstance(fact, FormerlyTaken):
            found = fold(found, fact, appended_ms, offset)
    return found


async def ledger_of(bootstrap: str, partition: int) -> list[LedgerFact]:
    """All facts of permissions and tokens of one partition, and the records that left a mark instead.

    A record counts as the roles read it at its time: one that has a dead letter, or that was settled by
    itself, was unreadable then, even if this binary has learnt to read it.
    Raises `Transient`.
    """
    schemas = writer_schemas(read_settings())
    unreadable = await _refused_permissions(bootstrap, partition)
    found: list[LedgerFact] = []
    for topic, family in FAMILIES.items():
        async for records in read_topic(bootstrap, topic, [partition]):
            if schemas is not None:
                await schemas.look_up(records)
            for record in records:
                _, item = intake.read(record)
                if isinstance(item, Accepted):
                    found.append((item.fact, family, record.offset, item.appended_ms))
                    match item.fact:
                        case f.UnreadableFactSettled(first_offset=first, last_offset=last) if first == last:
                            unreadable.add(last)
                        case _:
                            pass
                elif topic == PERMISSIONS and (subject := subject_of(record.key)) is not None:
                    bad = UnreadableRecord(subject) if leaves_mark(item.reason) else _formerly_taken(record)
                    if bad is not None:
                        found.append((bad, family, record.offset, intake.first_append(record)))
    return [
        (UnreadableRecord(fact.subject), family, offset, appended_ms)
        if family == FAMILIES[PERMISSIONS] and offset in unreadable
        else (fact, family, offset, appended_ms)
        for fact, family, offset, appended_ms in found
    ]


def _formerly_taken(record: Any) -> FormerlyTaken | None:
    fact = codec.decode(record.value)
    return FormerlyTaken(fact) if isinstance(fact, f.SubjectFact) else None


async def _refused_permissions(bootstrap: str, partition: int) -> set[int]:
    """Offsets of the partition's permissions that have a dead letter; letters are kept for a while only."""
    offsets = set()
    async for records in read_topic(bootstrap, DEAD_LETTERS, [partition]):
        for _, letter in facts_of(records):
            # A step that failed was of a record that could be read, whose consent was folded.
            is_read = isinstance(letter, f.RecordDeadLettered) and letter.reason == FAILED
            if isinstance(letter, f.RecordDeadLettered) and letter.topic == PERMISSIONS and not is_read:
                offsets.add(letter.offset)
    return offsets


async def decisions_of(bootstrap: str, partition: int) -> list[f.PushDecided]:
    """All decisions of one partition, holds included."""
    found: list[f.PushDecided] = []
    async for records in read_topic(bootstrap, DECISIONS, [partition]):
        found += [fact for _, fact in facts_of(records) if isinstance(fact, f.PushDecided)]
    return found


async def _records(bootstrap: str, topic: str, partition: int, key: bytes) -> list[Any]:
    found: list[Any] = []
    async for records in read_topic(bootstrap, topic, [partition]):
        found += [record for record in records if record.key == key]
    return found
