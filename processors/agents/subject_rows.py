"""The journeys role's rows: both of its agents fold into the same subject value through this handler."""

from __future__ import annotations

from typing import Any

from connectors import codec
from ledger import fold as core
from ledger import journeys, subject
from ledger.consent import refusal
from ledger.definitions import Definitions
from ledger.facts import SubjectFact
from ledger.journeys import Setting
from ledger.subject import NEW, Subject
from ledger.time_zones import ZoneTable
from processors.agents import intake
from processors.agents.intake import Accepted, Refused
from processors.lane.table import RowCodec
from processors.lane.transaction import Transaction
from processors.topic_names import DECISIONS, PERMISSIONS, TOKENS

ROWS = RowCodec(encode=subject.encode, decode=subject.decode, wake_at=subject.wake_at)


class SubjectHandler:
    """Folds accepted facts into subject rows and emits what follows; bad records go to dead-letters."""

    def __init__(self, definitions: Definitions, zone_table: ZoneTable, partitions: int) -> None:
        self._definitions = definitions
        self._zone_table = zone_table
        self._partitions = partitions
        self.dead_letters = 0

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`."""
        return intake.read(record)

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        if isinstance(item, Refused):
            self._refuse(item, transaction)
            return
        key, fact = item.record.key, item.fact
        row: Subject | None = transaction.get(key)
        if row is None:
            # Checked once per key: a key with a row here was placed right before.
            if intake.misplaced(key, transaction.partition, self._partitions):
                detail = "the producer's partitioner is not murmur2; see docs/reference/topics.md"
                self._refuse(Refused(item.record, "misplaced", detail), transaction)
                return
            row = NEW
        no_room = refusal(row.consent, fact)
        if no_room is not None:
            self._refuse(Refused(item.record, no_room, "the subject's state is full"), transaction)
            return
        setting = self._setting(transaction)
        after, facts = core.fold(row, fact.subject, fact, item.appended_ms, transaction.now, setting)
        self._store(key, row, after, facts, transaction)

    def fire(self, key: bytes, row: Subject, transaction: Transaction) -> None:
        """Take the due steps of a row."""
        after, facts = journeys.fire(row, key.decode(), transaction.now, self._setting(transaction))
        self._store(key, row, after, facts, transaction)

    def _setting(self, transaction: Transaction) -> Setting:
        following = transaction.next
        return Setting(
            self._definitions, self._zone_table, following.get(PERMISSIONS, 0), following.get(TOKENS, 0)
        )

    def _refuse(self, refused: Refused, transaction: Transaction) -> None:
        self.dead_letters += 1
        intake.dead_letter(refused, transaction)

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
