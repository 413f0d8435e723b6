"""Where the sources are, for tests that read code instead of running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("schemas", "ledger", "connectors", "processors")


def modules(*folders: str, root: Path = ROOT) -> tuple[Path, ...]:
    """Every module below these folders (default: the four packages), as paths from `root`, in order."""
    found = {path for folder in folders or PACKAGES for path in (root / folder).rglob("*.py")}
    assert found, f"no modules below {folders or PACKAGES} in {root}"
    return tuple(sorted(path.relative_to(root) for path in found))


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of every module that this code imports, at the top or inside a function.

    `from x import y` gives `x`: whether y is a module or a name in it can't be told from the code.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
