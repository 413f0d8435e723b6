"""A raw columnar insert: columns are prepared first, and only the inserts are timed.

`python -m processors.benchmarks.raw_insert TABLE BATCHES`: BATCHES is a JSON list of numbers of rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from connectors import codec
from connectors.clickhouse.client import connect
from connectors.clickhouse.rows import NAMES, TYPES, Place, columns_of
from connectors.kafka.read import read_topic
from processors.benchmarks.clock_line import BEGUN, DONE, say
from processors.benchmarks.metrics import TABLE
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV
from processors.topic_names import PERMISSIONS


async def _rows() -> list[Any]:
    found: list[Any] = []
    async for records in read_topic(os.environ[KAFKA_ENV], PERMISSIONS):
        found += [(codec.decode(r.value), Place(r.partition, r.offset, r.timestamp)) for r in records]
    return found


def main(argv: list[str]) -> None:
    """Prepare, insert, say so, and wait for the signal to stop."""
    table, batches = argv[0], json.loads(argv[1])
    rows = asyncio.run(_rows())
    prepared, first = [], 0
    for count in batches:
        prepared.append(columns_of(TABLE, rows[first : first + count]))
        first += count
    del rows
    with connect(os.environ[CLICKHOUSE_ENV]) as client:
        say(BEGUN)
        for columns in prepared:
            client.insert(
                table,
                columns,
                column_names=NAMES[TABLE],
                column_type_names=TYPES[TABLE],
                column_oriented=True,
                settings={"async_insert": 0},
            )
        say(DONE)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
