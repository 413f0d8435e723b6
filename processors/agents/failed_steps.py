"""Dead letters of failed steps: of a fact's fold, and of a timer, which has no record.

A timer's letter has the changelog of its row as its topic, the offset -1, and no value. Its id holds when it
failed, so that one that fails again after its letter was settled has another letter.
"""

from __future__ import annotations

from typing import Any, Final

from connectors import codec
from ledger.facts import RecordDeadLettered
from ledger.ids import derived
from ledger.unreadable import NO_OFFSET
from processors.agents import intake
from processors.agents.intake import Refused
from processors.agents.tally import tell_refused
from processors.lane.transaction import Transaction
from processors.telemetry.meters import Meters
from processors.topic_names import DEAD_LETTERS

FAILED: Final = "internal_error"
"""Reason of the letter of a step that raised; see `ledger.failed_steps`."""
UNKNOWN_DEFINITION: Final = "unknown_definition"
"""Reason of the letter of a record that cites a definition which nobody published."""
UNFOLDABLE: Final = "unfoldable"
"""Reason of the letter of a record on permissions of which not even the consent could be folded: it leaves
the mark of an unreadable one."""


def put_record_aside(item: Any, reason: str, place: str, transaction: Transaction, meters: Meters) -> str:
    """Emit the dead letter of an item (with its `record`) whose fold raised at `place`; return its id."""
    record = item.record
    intake.dead_letter(Refused(record, reason, place), transaction)
    tell_refused(reason, transaction, meters)
    return intake.letter_id(record.topic, record.partition, record.offset)


def put_timer_aside(key: bytes, place: str, transaction: Transaction, meters: Meters) -> str:
    """Emit the dead letter of a row whose timer's step raised at `place`; return its id."""
    topic, partition, now = transaction.table.changelog, transaction.partition, transaction.now
    letter = RecordDeadLettered(
        event_id=derived("failed-timer", topic, str(partition), key.hex(), str(now)),
        app="optin",
        occurred_at=now,
        source="processor",
        topic=topic,
        partition=partition,
        offset=NO_OFFSET,
        appended_at=now,
        key=key,
        value=None,
        reason=FAILED,
        detail=place,
    )
    transaction.emit(DEAD_LETTERS, key, codec.encode(letter))
    tell_refused(FAILED, transaction, meters)
    return letter.event_id
