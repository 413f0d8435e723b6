"""`optin migrate`: bring ClickHouse's tables and views up to date."""

from __future__ import annotations

import typer

from processors import report
from processors.settings import read_settings


def migrate() -> None:
    """Create or update the tables and views in the ClickHouse that OPTIN_CLICKHOUSE_URL names.

    Each numbered file is applied once; running it again changes nothing. `optin up`, `demo` and `replay` do
    this by themselves; in production run it before the metrics role of a new version starts.
    """
    from connectors.clickhouse.migrate import migrate as apply

    with report.progress() as progress:
        progress("Applying migrations")
        applied = apply(read_settings().clickhouse_url.get_secret_value())
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to apply: the tables are up to date")
