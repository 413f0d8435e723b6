"""How commands speak: progress on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

LINE_EVERY_S: Final = 2.0
"""Without a terminal, a line of progress at most this often (but every new kind of step)."""

WIDTH: Final = 120
"""Columns where the output is no terminal (a pipe, a file)."""

out: Final = Console(width=None if sys.stdout.isatty() else WIDTH)
err: Final = Console(stderr=True)


class Progress:
    """Call it with a sentence: a spinner on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._step = ""
        self._said_at = 0.0

    def __call__(self, sentence: str) -> None:
        """Show that this is going on now."""
        if self._status is not None:
            self._status.update(sentence)
            return
        step, now = sentence.partition(":")[0], time.monotonic()
        if step != self._step or now - self._said_at > LINE_EVERY_S:
            self._step, self._said_at = step, now
            err.print(sentence, highlight=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress of one long step, on stderr."""
    shown = Progress()
    if not sys.stderr.isatty():
        yield shown
        return
    with err.status("") as status:
        shown._status = status  # noqa: SLF001 - the two are one thing
        yield shown


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table with right-aligned numbers."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | float) for row in rows)
        shown.add_column(column, justify="right" if numbers and rows else "left", overflow="fold")
    for row in rows:
        # As Text: what people wrote may look like markup.
        shown.add_row(*(Text("" if value is None else _text(value)) for value in row))
    return shown


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return str(value)
