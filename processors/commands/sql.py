"""`optin sql`: ask ClickHouse, and get a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from datetime import date, datetime
from typing import Annotated, Any, Final

import typer

from connectors.errors import Misconfigured
from processors import report
from processors.attach import servers
from processors.commands.options import DataFolder

FORMATS: Final = ("table", "json", "csv")


def sql(
    query: Annotated[str, typer.Argument(help='A statement, or "-" to read it from standard input.')],
    output: Annotated[
        str, typer.Option("--format", help="table, json (one object per row) or csv.")
    ] = "table",
    write: Annotated[
        bool, typer.Option("--write", help="Allow a statement that changes tables, as the account admin.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Ask ClickHouse one statement, which may only read unless --write is given.

    The views are consent_current, opt_in_rate, decisions_by_reason, journey_funnel, push_outcomes and
    push_receipts; the tables behind them are permission_facts, token_facts, activity_facts, decision_facts,
    delivery_facts and dead_letter_facts (read those with FINAL). docs/reference/clickhouse.md tells every
    column.

    Example: optin sql "SELECT verdict, reason, sum(decisions) FROM decisions_by_reason GROUP BY ALL"
    """
    from connectors.clickhouse.query import ask

    if output not in FORMATS:
        raise Misconfigured(f"--format is one of {', '.join(FORMATS)}, not {output}")
    statement = sys.stdin.read() if query == "-" else query
    with report.progress() as progress, servers(data, progress, "admin" if write else "analyst") as where:
        progress("Asking ClickHouse")
        answer = ask(where.clickhouse_url, statement, read_only=not write)
    match output:
        case "json":
            rows = [dict(zip(answer.columns, map(plain, row), strict=True)) for row in answer.rows]
            typer.echo(json.dumps(rows, ensure_ascii=False))
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(answer.columns)
            writer.writerows([plain(value) for value in row] for row in answer.rows)
        case _:
            if answer.columns:
                report.out.print(
                    report.table("", answer.columns, [[*map(plain, row)] for row in answer.rows])
                )


def plain(value: Any) -> Any:
    """A value as JSON and CSV can hold it; instants in ISO 8601."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.decode(errors="replace")
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [*map(plain, value)]
        case _:
            return str(value)
