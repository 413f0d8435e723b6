"""Reads the programs out of our how-to pages, so that tests run what stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HOW_TO: Final = ROOT / "docs" / "how-to"
FILE: Final = re.compile(r"`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A file: its name in code font at the end of a paragraph, then its content."""
COMMANDS: Final = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def files(page: str) -> dict[str, str]:
    """Name -> content of each file that a page shows, in its order."""
    return dict(FILE.findall((HOW_TO / page).read_text("utf-8")))


def commands(page: str) -> list[str]:
    """Each block of commands of a page."""
    return COMMANDS.findall((HOW_TO / page).read_text("utf-8"))
