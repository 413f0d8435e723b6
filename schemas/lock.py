"""Keeps released files as they are: `facts.lock` holds the SHA-256 of every schema and golden example.

A schema says how old records are read, its example what they must go on meaning. `python -m schemas.lock`
appends the files that are new and never rewrites a line. The file has the format of `sha256sum`, so
`cd schemas && sha256sum -c facts.lock` checks it without Python.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

LOCK_FILE: Final = "facts.lock"
LOCKED: Final = ("facts/*/*.avsc", "examples/*/*.json")
"""What never changes once it is released."""


def problems(folder: Path) -> list[str]:
    """What differs between `folder` and its lock, each with its remedy; empty when nothing."""
    locked, found = _locked(folder), _found(folder)
    changed = [
        f"schemas/{path} was changed, but the ledger holds records that were written with it: "
        "restore the file and add the change as the next version beside it"
        for path in sorted(locked.keys() & found.keys())
        if locked[path] != found[path]
    ]
    removed = [
        f"schemas/{path} is gone, but the ledger holds records that were written with it: restore it"
        for path in sorted(locked.keys() - found.keys())
    ]
    new = [
        f"schemas/{path} is new: run `python -m schemas.lock` once it is as it should stay"
        for path in sorted(found.keys() - locked.keys())
    ]
    return changed + removed + new


def lock_new_files(folder: Path) -> list[str]:
    """Append the files that the lock does not know yet; their paths, in the order of the file."""
    locked, found = _locked(folder), _found(folder)
    new = sorted(found.keys() - locked.keys())
    with (folder / LOCK_FILE).open("a", encoding="utf-8") as lock:
        lock.writelines(f"{found[path]}  {path}\n" for path in new)
    return new


def _locked(folder: Path) -> dict[str, str]:
    """Path -> digest as locked; where a path stands twice, its first line counts."""
    file = folder / LOCK_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = [line.split("  ", 1) for line in lines]
    return {path: digest for digest, path in reversed(pairs)}


def _found(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest()
        for pattern in LOCKED
        for file in folder.glob(pattern)
    }


if __name__ == "__main__":
    here = Path(__file__).parent
    for path in lock_new_files(here):
        sys.stdout.write(f"locked {path}\n")
    if failures := problems(here):
        sys.exit("\n".join(failures))
