"""The `optin` command: every subcommand by name, and errors as sentences instead of tracebacks."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from connectors.errors import OptinError
from processors.commands import replay
from processors.commands.worker import worker

app = typer.Typer(
    name="optin",
    no_args_is_help=True,
    add_completion=False,
    help="An event-sourced push opt-in ledger with stream processors.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(worker)
app.add_typer(replay.app, name="replay")


@app.callback()
def optin() -> None:
    """An event-sourced push opt-in ledger with stream processors."""


def main() -> None:
    """Run the command line; a known error becomes one line that says what to do, and exit code 1."""
    try:
        app()
    except OptinError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/red] {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
