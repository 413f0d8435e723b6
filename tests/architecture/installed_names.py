"""Checks an installed wheel from inside its environment: which top-level names it brought, and from where.

Run by `make wheel-test` as a script, away from the source tree: `python -I installed_names.py`. Ends with
status 1 and a sentence when the names are not exactly the four packages or come from somewhere else.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path, PurePath

DISTRIBUTION = "optin-ledger"
NAMES = {"schemas", "ledger", "connectors", "processors"}


def top_level(files: Iterable[PurePath]) -> set[str]:
    """The top-level names among a distribution's files: neither its metadata nor its scripts."""
    firsts = {path.parts[0] for path in files}
    return {name for name in firsts if name != ".." and not name.endswith(".dist-info")}


def main() -> str | None:
    """What is wrong with the installation, or None."""
    found = top_level(importlib.metadata.files(DISTRIBUTION) or ())
    if found != NAMES:
        return f"the wheel brought {sorted(found)}, not {sorted(NAMES)}"
    for name in sorted(NAMES):
        place = Path(importlib.import_module(name).__file__ or "")
        if not place.is_relative_to(sys.prefix):
            return f"{name} is imported from {place}, not from the wheel"
    print("the wheel brought", *sorted(NAMES))
    return None


if __name__ == "__main__":
    sys.exit(main())
