"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the stack; the last used without it.")
]
"""Which stack a command reads from or speaks to; see `attach.data_folder`."""
