"""The delivery role's rows: a subject's consent with live addresses; open pushes; when an address worked."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ledger import reach, versions
from ledger.admission import subject_of
from ledger.consent_fold import refusal
from ledger.reach import NOBODY, Reach
from ledger.unreadable import leaves_mark
from processors.agents import intake
from processors.agents.intake import Accepted, Refused
from processors.agents.tally import REVOCATIONS, tell_revoked
from processors.lane.table import RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import PERMISSIONS


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A push that was, or is about to be, handed over, or waits to be tried again.

    `lease_ends_at` (wall time in ms): from then on nobody can still be sending it, so a missing outcome is
    unknown; of one that `waits`, when it is tried again. `tries`: how often it was handed over without a
    final outcome; `unknowns`: how many of these may have been taken (the first rows of version 3 said whether
    any). `decision`: the record of its decision, where it may go again.
    """

    push_id: str
    subject: str
    app: str
    decision_id: str
    installation: str
    attempt: int
    lease_ends_at: int
    tries: int = 0
    waits: bool = False
    unknowns: int | bool = 0
    decision: bytes = b""


class Worked(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a provider last took a push for an address, to the day (`at`, ms). Written by the send lane alone.

    `look_at` (wall time in ms): when to see whether the address is still its subject's; else the row goes.
    """

    token_id: str
    subject: str
    at: int
    look_at: int


ROW_VERSION: Final = 5
"""2 added `_Row.version`, 3 what an `Attempt` needs to go again, 4 `Worked`, 5 version 3 of the reach inside;
see `ledger.versions`."""
_VERSION_PLACE: Final = 2


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    reach: Reach | None = None
    attempt: Attempt | None = None
    version: int = 1
    worked: Worked | None = None


_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(_Row)


AnyRow = Reach | Attempt | Worked


def _encode(row: AnyRow) -> bytes:
    match row:
        case Reach():
            return _encoder.encode(_Row(reach=row, version=ROW_VERSION))
        case Attempt():
            return _encoder.encode(_Row(attempt=row, version=ROW_VERSION))
        case Worked():
            return _encoder.encode(_Row(worked=row, version=ROW_VERSION))


def _decode(raw: bytes) -> AnyRow:
    row = versions.decode(_decoder, raw, _VERSION_PLACE, ROW_VERSION)
    versions.check(row.version, ROW_VERSION)
    if row.reach is not None:
        return reach.of_this_version(row.reach)
    found = row.attempt or row.worked
    if found is None:
        raise msgspec.ValidationError("a row is a subject's reach, an attempt, or when an address worked")
    return found


def _wake_at(row: AnyRow) -> int | None:
    match row:
        case Attempt():
            return row.lease_ends_at
        case Worked():
            return row.look_at
        case Reach():
            return None


class _Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An `Attempt`, of which only the end of its lease is looked at."""

    push_id: msgspec.Raw
    subject: msgspec.Raw
    app: msgspec.Raw
    decision_id: msgspec.Raw
    installation: msgspec.Raw
    attempt: msgspec.Raw
    lease_ends_at: int


class _Look(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `Worked`, of which only its next look is looked at."""

    token_id: msgspec.Raw
    subject: msgspec.Raw
    at: msgspec.Raw
    look_at: int


class _Timed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `_Row`, without a look at a subject's reach."""

    reach: msgspec.Raw
    attempt: _Lease | None = None
    version: int = 1
    worked: _Look | None = None


_timed_decoder = msgspec.msgpack.Decoder(_Timed)


def _wake_at_encoded(raw: bytes) -> int | None:
    row = versions.decode(_timed_decoder, raw, _VERSION_PLACE, ROW_VERSION)
    versions.check(row.version, ROW_VERSION)
    if row.attempt is not None:
        return row.attempt.lease_ends_at
    return None if row.worked is None else row.worked.look_at


ROWS = RowCodec(
    encode=_encode,
    decode=_decode,
    wake_at=_wake_at,
    wake_at_encoded=_wake_at_encoded,
    version=ROW_VERSION,
)


def attempt_key(push_id: str) -> bytes:
    """The key of an attempt's row; no subject begins with this byte."""
    return b"\x01" + push_id.encode()


def worked_key(token_id: str) -> bytes:
    """The key of the row that says when an address worked; no subject begins with this byte either."""
    return b"\x02" + token_id.encode()


class ReachHandler:
    """Folds permissions and tokens. Misplaced records are skipped: the journeys role sees to them.

    A bad record of permissions marks its subject here, too; its dead letter is the journeys role's.
    """

    def __init__(self, partitions: int, meters: Meters = FORGETFUL) -> None:
        self._partitions = partitions
        self._meters = meters

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`."""
        return intake.read(record)

    def fold_failed(self, item: Accepted | Refused, _: str, transaction: Transaction) -> None:
        """Mark the subject of a record of permissions that can't be folded; journeys writes its letter."""
        record = item.record
        if record.topic == PERMISSIONS and subject_of(record.key) is not None:
            row: Reach = transaction.get(record.key) or NOBODY
            marked = reach.mark_unreadable(row, record.offset, intake.first_append(record))
            transaction.put(record.key, marked)

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        record = item.record
        if intake.home_of(record, self._partitions) != transaction.partition:
            return
        key = record.key
        row: Reach = (key and transaction.get(key)) or NOBODY
        if isinstance(item, Accepted) and refusal(row.consent, item.fact) is None:
            after = reach.fold(row, item.fact, item.appended_ms, record.offset)
        elif (
            record.topic == PERMISSIONS
            and subject_of(key) is not None
            and (isinstance(item, Accepted) or leaves_mark(item.reason))
        ):
            after = reach.mark_unreadable(row, record.offset, intake.first_append(record))
        else:
            return
        if after is not row:
            transaction.put(key, after)
            if isinstance(item, Accepted) and type(item.fact) in REVOCATIONS and after != row:
                tell_revoked(item, transaction, self._meters)
