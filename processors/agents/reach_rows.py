"""The delivery role's rows: a subject's consent with live addresses, and attempts without an outcome."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.placement import partition_of
from ledger import reach
from ledger.reach import NOBODY, Reach
from processors.agents import intake
from processors.agents.intake import Accepted, Refused
from processors.agents.tally import REVOCATIONS, tell_revoked
from processors.lane.table import RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry.meters import FORGETFUL, Meters


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A push that was, or is about to be, handed over. `lease_ends_at`: wall time in ms.

    From then on nobody can still be sending it, so a missing outcome is unknown for good.
    """

    push_id: str
    subject: str
    app: str
    decision_id: str
    installation: str
    attempt: int
    lease_ends_at: int


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    reach: Reach | None = None
    attempt: Attempt | None = None


_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(_Row)


def _encode(row: Reach | Attempt) -> bytes:
    return _encoder.encode(_Row(reach=row) if isinstance(row, Reach) else _Row(attempt=row))


def _decode(raw: bytes) -> Reach | Attempt:
    row = _decoder.decode(raw)
    found = row.reach or row.attempt
    if found is None:
        raise msgspec.ValidationError("a row is either a subject's reach or an attempt")
    return found


def _wake_at(row: Reach | Attempt) -> int | None:
    return row.lease_ends_at if isinstance(row, Attempt) else None


ROWS = RowCodec(encode=_encode, decode=_decode, wake_at=_wake_at)


def attempt_key(push_id: str) -> bytes:
    """The key of an attempt's row; no subject begins with this byte."""
    return b"\x01" + push_id.encode()


class ReachHandler:
    """Folds permissions and tokens. Bad and misplaced records are skipped: the journeys role sees to them."""

    def __init__(self, partitions: int, meters: Meters = FORGETFUL) -> None:
        self._partitions = partitions
        self._meters = meters

    def read(self, record: Any) -> tuple[int, Accepted | Refused]:
        """See `intake.read`."""
        return intake.read(record)

    def fold(self, item: Accepted | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        if isinstance(item, Refused):
            return
        key = item.record.key
        if partition_of(key, self._partitions) != transaction.partition:
            return
        row: Reach = transaction.get(key) or NOBODY
        after = reach.fold(row, item.fact, item.appended_ms)
        if after is not row:
            transaction.put(key, after)
            if type(item.fact) in REVOCATIONS and after != row:
                tell_revoked(item, transaction, self._meters)
