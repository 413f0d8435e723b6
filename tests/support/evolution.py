"""Judges how a wire contract changed: by Apache Avro's own checker, and against what was released.

FULL_TRANSITIVE: each version of a fact reads what every other version wrote, older and newer alike. The
ledger keeps old records for ever, and during an upgrade old readers meet new ones.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Final

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

FACTS: Final = "facts/*/v*.avsc"
GIT_S_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Release:
    """The contract's files (path below `schemas/` to content) as a tag has them."""

    tag: str
    files: Mapping[str, str]


def versions(folder: Path) -> dict[str, str]:
    """Path -> content of every schema file in `folder`."""
    return {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in folder.glob(FACTS)}


def breaks(files: Mapping[str, str]) -> list[str]:
    """Each ordered pair of versions of one fact whose reader can't read what the writer wrote."""
    return [
        f"{reader} can't read what {writer} wrote: {why}"
        for reader, writer in permutations(sorted(files), 2)
        if _fact(reader) == _fact(writer)
        for why in _incompatible(files[reader], files[writer])
    ]


def departures(folder: Path, release: Release) -> list[str]:
    """What `folder` no longer has as it was released, and which released schemas its own ones don't fit."""
    now = versions(folder)
    changed = [
        f"{path} is not as {release.tag} released it: restore it, and add the change as the next version"
        for path, content in sorted(release.files.items())
        if path != "facts.lock" and _content(folder / path) != content
    ]
    locked = (folder / "facts.lock").read_text("utf-8").splitlines()
    unlocked = [
        f"facts.lock has lost a line that {release.tag} has: {line}"
        for line in release.files.get("facts.lock", "").splitlines()
        if line not in locked
    ]
    released = {
        f"{release.tag}:{path}": text for path, text in release.files.items() if path.endswith("avsc")
    }
    incompatible = [
        f"{reader} can't read what {writer} wrote: {why}"
        for old, old_text in sorted(released.items())
        for new, new_text in sorted(now.items())
        if _fact(old.removeprefix(f"{release.tag}:")) == _fact(new)
        for reader, writer, pair in ((old, new, (old_text, new_text)), (new, old, (new_text, old_text)))
        for why in _incompatible(*pair)
    ]
    return changed + unlocked + incompatible


def last_release(root: Path) -> Release | None:
    """The contract at the newest tag that HEAD contains; None without a tag, or outside a git checkout."""
    tag = _git(root, "describe", "--tags", "--abbrev=0")
    if tag is None:
        return None
    tag = tag.strip()
    listed = _git(root, "ls-tree", "-r", "--name-only", tag, "schemas/") or ""
    return Release(tag, dict(_files_of(root, tag, listed.splitlines())))


def _files_of(root: Path, tag: str, paths: list[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        below = path.removeprefix("schemas/")
        if below == "facts.lock" or below.startswith(("facts/", "examples/")):
            content = _git(root, "show", f"{tag}:{path}")
            assert content is not None, f"{tag}:{path} is listed but can't be shown"
            yield below, content


def _git(root: Path, *arguments: str) -> str | None:
    """What git answers; None when it refuses, or is not there, or `root` is not the top of its checkout."""
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_S_MAX,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _fact(path: str) -> str:
    return path.split("/")[1]


def _content(file: Path) -> str | None:
    return file.read_text("utf-8") if file.exists() else None


def _incompatible(reader: str, writer: str) -> list[str]:
    # A new checker each time: it remembers schemas by their identity in memory.
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(parse(reader), parse(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return [f"{', '.join(sorted(result.messages))} at {', '.join(sorted(result.locations))}"]
