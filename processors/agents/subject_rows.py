"""The journeys role's rows: both of its agents fold into the same subject value through this handler."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from connectors import codec
from ledger import control, journeys, subject
from ledger import fold as core
from ledger.admission import subject_of
from ledger.consent import WORD_KINDS
from ledger.consent_fold import refusal
from ledger.control import Control
from ledger.definitions import Body, Definitions, of_versions
from ledger.facts import PushDecided, SubjectFact
from ledger.failed_steps import consent_alone, mark_failed
from ledger.rules import Rules, Texts
from ledger.setting import Setting
from ledger.subject import NEW, Subject
from ledger.time_zones import ZoneTable
from ledger.unreadable import leaves_mark, mark
from processors.agents import intake
from processors.agents.bad_share import BadShare
from processors.agents.failed_steps import FAILED, UNFOLDABLE, put_record_aside, put_timer_aside
from processors.agents.intake import Accepted, Refused
from processors.agents.tally import REVOCATIONS, tell_left_out, tell_passed_over, tell_refused, tell_revoked
from processors.lane.sparse_log import SparseLog
from processors.lane.table import RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import DECISIONS, DELIVERIES, ITEM_CHANGES, PERMISSIONS, TOKENS
from processors.wall_clock import wall_ms

log = logging.getLogger(__name__)


def _encode(row: Subject | Control) -> bytes:
    return control.encode(row) if isinstance(row, Control) else subject.encode(row)


def _decode(raw: bytes) -> Subject | Control:
    return control.decode(raw) if control.is_control(raw) else subject.decode(raw)


def _wake_at(row: Subject | Control) -> int | None:
    return control.wake_at(row) if isinstance(row, Control) else subject.wake_at(row)


def _wake_at_encoded(raw: bytes) -> int | None:
    if control.is_control(raw):
        return control.wake_at(control.decode(raw))
    return subject.wake_at_encoded(raw)


ROWS = RowCodec(_encode, _decode, _wake_at, _wake_at_encoded, version=subject.STATE_VERSION)
"""Subjects, and beside them what operators told the partition."""


_OURS: Final = frozenset({DELIVERIES, ITEM_CHANGES})
"""Written by roles of ours, whose clocks are not measured against the broker's."""

Reappend = Callable[[str, int, bytes, bytes | None, int], Awaitable[None]]
"""`reappend(topic, partition, key, value, first append in ms)`: acknowledged when it returns."""


class SubjectHandler:
    """Folds accepted facts into subject rows and emits what follows; bad records go to dead-letters.

    A record on a partition where its key does not belong may be a revocation, readable or not. It is appended
    again where it belongs, its bytes as they are, its first append in a header, before its chunk is folded;
    here it is skipped. Under the event clock, whose inputs are complete before anything is folded, it is a
    dead letter instead. A bad record of permissions marks its subject (`ledger.unreadable`).
    """

    def __init__(
        self,
        definitions: Definitions,
        zone_table: ZoneTable,
        rules: Rules,
        texts: Texts,
        partitions: int,
        reappend: Reappend | None = None,
        bad_share_max: float = 1.0,
        meters: Meters = FORGETFUL,
        bodies: Mapping[str, Body] | None = None,
    ) -> None:
        """`definitions`: in force until others are activated, whose bodies are in `bodies`."""
        self._bodies = definitions.bodies if bodies is None else bodies
        # Bodies come to be known later, too: a campaign is published and launched while we run.
        self._definitions = dataclasses.replace(definitions, bodies=self._bodies)
        self._zone_table = zone_table
        self._rules = rules
        self._texts = texts
        self._partitions = partitions
        self._reappend = reappend
        self._bad_share = BadShare(bad_share_max)
        self._activated: dict[tuple[str, tuple[str, ...]], Definitions] = {}
        self._last_place: tuple[int, int, Control | None] | None = None
        self._last_setting = Setting(self._definitions, zone_table, rules, texts, 0, 0)
        self._meters = meters
        self._misplaced_log = SparseLog(
            log,
            logging.WARNING,
            "%s/%d offset %d: a record whose key belongs on partition %d was appended there %d ms after its"
            " first append; its producer's partitioner is not murmur2 (docs/reference/topics.md)",
        )

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`. Raises `Misconfigured` when most of the last records were bad.

        That stops the role here, before anything of the chunk is appended elsewhere.
        """
        read = intake.read(record, ours=record.topic in _OURS)
        if isinstance(read[1], Refused):
            self._bad_share.note(refused=True)
        else:
            self._bad_share.good += 1
        return read

    async def before(self, partition: int, items: Sequence[Accepted | Refused]) -> bool:
        """Append the misplaced records of a chunk where they belong. Raises `Transient`."""
        if self._reappend is None:
            return True
        for item in items:
            record = item.record
            home = intake.home_of(record, self._partitions)
            if home == partition:
                continue
            first = intake.first_append(record)
            await self._reappend(record.topic, home, record.key, intake.shortened(record.value), first)
            delay_ms = max(0, wall_ms() - first)
            self._meters.add(c.REAPPENDS)
            self._meters.observe(c.MISPLACED_DELAY, delay_ms / 1000)
            self._misplaced_log.write(record.topic, partition, record.offset, home, delay_ms)
        return True

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        if isinstance(item, Refused):
            self._fold_refused(item, transaction)
            return
        key, fact = item.record.key, item.fact
        row: Subject | None = transaction.get(key)
        if row is None:
            # Rows are only made where their keys belong, so a known key needs no murmur2, which is dear.
            if intake.home_of(item.record, self._partitions) != transaction.partition:
                self._misplaced(item.record, transaction)
                return
            row = NEW
        no_room = refusal(row.consent, fact)
        if no_room is not None:
            self._refuse(Refused(item.record, no_room, "the subject's state is full"), transaction)
            self._mark(item.record, transaction)
            return
        setting = self.setting(transaction)
        after, facts = core.fold(
            row, fact.subject, fact, item.appended_ms, transaction.now, setting, item.record.offset
        )
        self._store(key, row, after, facts, transaction)
        if item.left_out:
            tell_left_out(item, transaction, self._meters)
        if isinstance(fact, WORD_KINDS):
            tell_passed_over(item, after.consent, transaction, self._meters)
        if type(fact) in REVOCATIONS and after != row:
            tell_revoked(item, transaction, self._meters)

    def fire(self, key: bytes, row: Subject, transaction: Transaction) -> None:
        """Take the due steps of a row."""
        after, facts = journeys.fire(row, key.decode(), transaction.now, self.setting(transaction))
        self._store(key, row, after, facts, transaction)

    def fold_failed(self, item: Accepted | Refused, place: str, transaction: Transaction) -> None:
        """Put a fact aside that journeys could make nothing of. What it says of consent counts all the same.

        A fact of permissions of which not even that can be folded leaves the mark of an unreadable record.
        """
        record = item.record
        if isinstance(item, Refused) or subject_of(record.key) is None:
            put_record_aside(item, FAILED, place, transaction, self._meters)
            return
        row: Subject = transaction.get(record.key) or NEW
        try:
            after = consent_alone(row, item.fact, item.appended_ms, record.offset)
        except Exception:  # noqa: BLE001 - then the record counts as one that nobody could read
            if record.topic == PERMISSIONS:
                put_record_aside(item, UNFOLDABLE, place, transaction, self._meters)
                self._mark(record, transaction)
                return
            after = row
        letter = put_record_aside(item, FAILED, place, transaction, self._meters)
        transaction.put(record.key, mark_failed(after, letter, transaction.now))
        if type(item.fact) in REVOCATIONS and after != row:
            tell_revoked(item, transaction, self._meters)

    def fire_failed(self, key: bytes, row: Subject, place: str, transaction: Transaction) -> None:
        """Put a due step aside: the subject's timers wait until its letter is settled."""
        letter = put_timer_aside(key, place, transaction, self._meters)
        transaction.put(key, mark_failed(row, letter, transaction.now, timer=True))

    def setting(self, transaction: Transaction) -> Setting:
        """What holds now: the definitions that were activated in this partition, or the process's own."""
        permissions_next, tokens_next = transaction.next.get(PERMISSIONS, 0), transaction.next.get(TOKENS, 0)
        told: Control | None = transaction.get(control.KEY)
        place = permissions_next, tokens_next, told
        if place != self._last_place:  # the same for all records of a chunk
            self._last_place = place
            self._last_setting = Setting(
                self._in_force(told),
                self._zone_table,
                self._rules,
                self._texts,
                permissions_next,
                tokens_next,
                frozenset() if told is None else frozenset(told.recalled),
            )
        return self._last_setting

    def _in_force(self, told: Control | None) -> Definitions:
        if told is None or not told.policy_version:
            return self._definitions
        versions = told.policy_version, told.journey_versions
        if versions not in self._activated:
            self._activated[versions] = of_versions(*versions, self._bodies)
        return self._activated[versions]

    def _misplaced(self, record: Any, transaction: Transaction) -> None:
        if self._reappend is None:
            detail = "the producer's partitioner is not murmur2; see docs/reference/topics.md"
            self._refuse(Refused(record, "misplaced", detail), transaction)
        else:
            topic = record.topic
            transaction.once_durable(lambda: self._meters.add(c.MISPLACED, topic=topic))

    def _refuse(self, refused: Refused, transaction: Transaction) -> None:
        intake.dead_letter(refused, transaction)
        tell_refused(refused.reason, transaction, self._meters)

    def _fold_refused(self, refused: Refused, transaction: Transaction) -> None:
        record = refused.record
        if intake.home_of(record, self._partitions) == transaction.partition:
            self._refuse(refused, transaction)
            if leaves_mark(refused.reason):
                self._mark(record, transaction)
        elif self._reappend is None:
            self._refuse(refused, transaction)
        else:
            self._misplaced(record, transaction)

    def _mark(self, record: Any, transaction: Transaction) -> None:
        """Keep marketing away from the subject of a bad record on permissions; it stands at its home."""
        if record.topic != PERMISSIONS or subject_of(record.key) is None:
            return
        row: Subject = transaction.get(record.key) or NEW
        consent = mark(row.consent, record.offset, intake.first_append(record))
        if consent is not row.consent:
            transaction.put(record.key, msgspec.structs.replace(row, consent=consent))

    def _store(
        self,
        key: bytes,
        row: Subject,
        after: Subject,
        facts: tuple[SubjectFact, ...],
        transaction: Transaction,
    ) -> None:
        if after is not row:
            transaction.put(key, after)
        for fact in facts:
            transaction.emit(DECISIONS, key, codec.encode(fact))
            if isinstance(fact, PushDecided):
                tell = partial(self._meters.add, c.DECISIONS, verdict=fact.verdict)
                transaction.once_durable(tell)
