"""Writes batches of facts to ClickHouse, one columnar insert for each table that they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clickhouse_connect.driver.client import Client

from connectors.clickhouse.client import connect, sorted_errors
from connectors.clickhouse.rows import NAMES, TYPES, Place, columns_of, table_of
from ledger.facts import Fact


class FactSink:
    """Delivery guarantee: a batch that `insert` returned from is in ClickHouse.

    A batch that failed may be there in part; written again, its rows replace their first copies, because a
    row's sort key is made of the fact's own fields. So the caller repeats a batch until it succeeds, and
    may start again from any earlier offset. Connects at the first batch, so that the caller's loop of
    repetitions covers a ClickHouse that is not there yet.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    def insert(self, rows: Sequence[tuple[Fact, int, int, int]]) -> None:
        """Write (fact, partition, offset, first append in ms) rows; blocking. Without rows it only connects.

        Raises `Transient` where trying again may help and `Misconfigured` where a person must act.
        """
        by_table: defaultdict[str, list[tuple[Fact, Place]]] = defaultdict(list)
        for fact, partition, offset, appended_ms in rows:
            by_table[table_of(type(fact))].append((fact, Place(partition, offset, appended_ms)))
        client = self._client = self._client or connect(self._url)
        with sorted_errors():
            for table, of_table in by_table.items():
                client.insert(
                    table,
                    columns_of(table, of_table),
                    column_names=NAMES[table],
                    column_type_names=TYPES[table],
                    column_oriented=True,
                    # Synchronous: an answer must mean that the rows are there.
                    settings={"async_insert": 0},
                )
