"""The `optin` command: every subcommand by name, and errors as sentences instead of tracebacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from rich.text import Text

from connectors.errors import Misconfigured, OptinError
from processors import report
from processors.commands import audience, campaign, dead_letters, definitions, push, replay, topics
from processors.commands.backtest import backtest
from processors.commands.bench import bench
from processors.commands.demo import demo
from processors.commands.doctor import doctor
from processors.commands.explain import explain
from processors.commands.migrate import migrate
from processors.commands.sql import sql
from processors.commands.up import down, status, up
from processors.commands.verify import verify
from processors.commands.worker import worker
from processors.settings import refuse_unknown_names

app = typer.Typer(
    name="optin",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
# The order is that of --help: try it, run it, ask it, operate it.
app.command()(demo)
app.add_typer(replay.app, name="replay")
app.command()(up)
app.command()(status)
app.command()(down)
app.command()(explain)
app.command()(sql)
app.command()(verify)
app.command()(backtest)
app.add_typer(definitions.app, name="definitions")
app.add_typer(audience.app, name="audience")
app.add_typer(campaign.app, name="campaign")
app.add_typer(push.app, name="push")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(topics.app, name="topics")
app.command()(migrate)
app.command()(worker)
app.command()(bench)
app.command()(doctor)


@app.callback()
def optin() -> None:
    """An event-sourced push opt-in ledger with stream processors.

    Try `optin demo` first: it runs a simulated shop week on real parts and shows what came of it.
    """
    if "--help" not in sys.argv[1:]:
        refuse_unknown_names(os.environ)


def main() -> None:
    """Run the command line; a known error becomes one line that says what to do, and exit code 1."""
    try:
        _refuse_undecodable(sys.argv[1:])
        app()
    except OptinError as error:
        _fail(type(error).__name__, str(error))
    except OSError as error:
        # A folder that may not be written, a full disk: the system's words, without our stack.
        _fail("The system refused", str(error))


def _refuse_undecodable(words: Sequence[str]) -> None:
    """Raise `Misconfigured` for an argument that is not UTF-8: Python keeps its bytes as lone surrogates."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise Misconfigured(f"argument {number} is not UTF-8 text: {word!r}") from None


def _fail(kind: str, words: str) -> NoReturn:
    report.err.print(Text.assemble((f"{kind}: ", "red"), words), soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
