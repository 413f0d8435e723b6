"""What the linker appends for a chunk of claims, in which order, before its state moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

from connectors import codec
from connectors.errors import Transient
from connectors.kafka.append import Addressed
from connectors.placement import partition_of
from ledger import facts as f
from processors.agents.identity_linker import ROWS, IdentityLinker
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from tests.support.given import ANN, NOON, PHONE

PARTITIONS: Final = 8
HOME: Final = partition_of(PHONE.encode(), PARTITIONS)


class Log:
    """Takes appends as Kafka would; with `refuse_after` sets taken, it refuses the next."""

    def __init__(self, refuse_after: int = 99) -> None:
        self.sets: list[list[Addressed]] = []
        self._left = refuse_after

    async def append_all(self, records: Sequence[Addressed]) -> None:
        """Acknowledge the records, or raise `Transient`."""
        if not records:
            return
        if len(self.sets) == self._left:
            raise Transient("no")
        self.sets.append(list(records))


def record(event: str, subject: str | None, key: str = PHONE, **fields: Any) -> Any:
    """A claim's record as the consumer hands it over."""
    known = {"app": "shop", "source": "device", "installation": PHONE, "occurred_at": NOON}
    value = codec.encode(f.InstallationClaimed(event_id=event, subject=subject, **{**known, **fields}))
    place = {"topic": "optin.links", "partition": HOME, "offset": 0, "headers": (), "timestamp": NOON}
    return SimpleNamespace(key=key.encode(), value=value, **place)


def transaction(partition: int = HOME) -> Transaction:
    """One on an empty table."""
    table = LaneTable("changelog", ROWS)
    table.partitions[partition] = Partition()
    return Transaction(table, partition, NOON)


def announced(log: Log, *records: Any, partition: int = HOME) -> Transaction:
    """The transaction of one chunk, announced."""
    linker, one = IdentityLinker(PARTITIONS, log.append_all), transaction(partition)
    for each in records:
        linker.fold(linker.read(each)[1], one)
    asyncio.run(linker.announce(partition, one.announcements))
    return one


def test_all_unlinks_of_a_chunk_are_acknowledged_before_its_links() -> None:
    """Each on its subject's partition of permissions, under its subject's key."""
    log = Log()
    announced(log, record("c1", ANN), record("c2", "bob"), record("c3", None))

    told = [[codec.decode(each.value) for each in appended] for appended in log.sets]
    assert [[(type(one).__name__, one.subject, one.claim) for one in facts] for facts in told] == [  # type: ignore[attr-defined]
        [("InstallationUnlinked", ANN, "c2"), ("InstallationUnlinked", "bob", "c3")],
        [("InstallationLinked", ANN, "c1"), ("InstallationLinked", "bob", "c2")],
    ]
    for appended, facts in zip(log.sets, told, strict=True):
        for each, one in zip(appended, facts, strict=True):
            key = one.subject.encode()  # type: ignore[attr-defined]
            assert each[:3] == ("optin.permissions", partition_of(key, PARTITIONS), key)


def test_without_an_acknowledged_unlink_there_is_no_link() -> None:
    """The error ends the process before anything is committed; the next one begins again."""
    log, one = Log(refuse_after=0), transaction()
    linker = IdentityLinker(PARTITIONS, log.append_all)
    for each in (record("c1", ANN), record("c2", "bob")):
        linker.fold(linker.read(each)[1], one)

    with pytest.raises(Transient):
        asyncio.run(linker.announce(HOME, one.announcements))
    assert log.sets == []


def test_what_an_app_may_be_told_twice_is_told_alike() -> None:
    """A crash before the commit repeats the chunk from the same rows: the same bytes."""
    first, again = Log(), Log()
    for log in (first, again):
        announced(log, record("c1", ANN, sequence=3), record("c2", "bob", occurred_at=NOON - 5))

    assert first.sets == again.sets


def test_one_row_for_each_installation_and_app() -> None:
    """The same browser profile in two apps is two installations."""
    one = announced(Log(), record("c1", ANN), record("c2", "bob", app="news"))

    assert {key: row.subject for key, row in one.rows.items()} == {
        b"shop/phone": ANN,
        b"news/phone": "bob",
    }


def test_a_misplaced_claim_goes_home_first_and_leaves_no_row() -> None:
    """With its first append, so that its time stays what it was."""
    log, stray = Log(), record("c1", ANN)
    away = announced(log, stray, partition=(HOME + 1) % PARTITIONS)

    assert log.sets == [[Addressed("optin.links", HOME, b"phone", stray.value, NOON)]]
    assert away.rows == {}


def test_what_is_no_claim_is_a_dead_letter() -> None:
    """On the same partition number; the chunk goes on."""
    junk, other = record("c1", ANN), record("c2", ANN, key="another")
    junk.value = b"junk"
    one = announced(Log(), junk, other)

    letters = [codec.decode(value) for _, value in one.outputs["optin.dead-letters"]]
    assert [letter.reason for letter in letters] == ["not_single_object", "key_mismatch"]  # type: ignore[attr-defined]
    assert one.rows == {}
