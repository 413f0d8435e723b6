"""The metrics role into ClickHouse, beside a raw columnar insert of the same columns in the same batches."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from connectors.clickhouse.client import connect
from processors.benchmarks import load, machine
from processors.benchmarks.arena import Arena
from processors.benchmarks.clock_line import BEGUN, DONE, heard
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal
from processors.prepare import migrate_tables
from processors.stack import Servers

READY: Final = "ready: generation"
INSERTED: Final = re.compile(r"inserted (\d+) rows, \d+ since the start")
TABLE: Final = "permission_facts"
RAW_TABLE: Final = f"{TABLE}_raw"
FINGERPRINT: Final = "SELECT count(), sum(cityHash64(toString(tuple(*)))) FROM {table}"
"""Equal for two tables with the same rows in any order."""


def measure(arena: Arena, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """`metrics` and `raw_insert`: rows per second and CPU of the process that writes.

    The role consumes, decodes, checks and commits besides; the raw insert finds its columns prepared. Void
    unless both tables hold the same rows, as many as there are facts.
    """
    url = arena.clickhouse()
    with connect(url, create=True) as client:
        client.command(f"DROP DATABASE {client.database} SYNC")
    migrate_tables(Servers(arena.kafka, url))
    arena.empty()
    arena.publish(load.consent_facts(sizes.rows, sizes.subjects), "facts to be measured")
    role, sizes_of_batches = _role(arena, sizes)
    with connect(url) as client:
        client.command(f"CREATE TABLE {RAW_TABLE} AS {TABLE}")
        raw = _raw(arena, sizes, sizes_of_batches)
        (expected,) = client.query(FINGERPRINT.format(table=TABLE)).result_rows
        (found,) = client.query(FINGERPRINT.format(table=RAW_TABLE)).result_rows
    refuse_unequal("the metrics role", "the count of rows", expected[0], sizes.rows)
    refuse_unequal("the raw insert", "the fingerprint of its rows", found, expected)
    return {"metrics": role, "raw_insert": raw}


def _role(arena: Arena, sizes: Sizes) -> tuple[dict[str, Any], list[int]]:
    arena.progress("Writing rows in the metrics role")
    running = arena.worker("metrics")
    try:
        begun, _ = running.wait_for(READY)
        done, _ = running.wait_for(f"rows, {sizes.rows} since the start")
        memory = machine.rss_mb(running.pid)
    finally:
        running.stop()
    batches = [int(count) for count in INSERTED.findall(running.log.read_text())]
    seconds, cpu_s = done.at_s - begun.at_s, done.cpu_s - begun.cpu_s
    return {**_rates(sizes.rows, seconds, cpu_s), "rss_mb": memory, "batches": len(batches)}, batches


def _raw(arena: Arena, sizes: Sizes, batches: list[int]) -> dict[str, Any]:
    arena.progress("Writing the same rows with a raw insert")
    running = arena.program("raw-insert", "processors.benchmarks.raw_insert", RAW_TABLE, json.dumps(batches))
    try:
        begun, done = (heard(running.wait_for(word)[1]) for word in (BEGUN, DONE))
        memory = machine.rss_mb(running.pid)
    finally:
        running.stop()
    return {**_rates(sizes.rows, done.at_s - begun.at_s, done.cpu_s - begun.cpu_s), "rss_mb": memory}


def _rates(rows: int, seconds: float, cpu_s: float) -> dict[str, Any]:
    return {"rows_s": round(rows / seconds), "cpu_s_per_million": round(cpu_s / rows * 1e6, 2)}
