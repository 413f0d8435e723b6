"""The Makefile explains its targets, and the pages name only targets that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.sources import ROOT

MAKEFILE: Final = (ROOT / "Makefile").read_text()
PAGES: Final = tuple(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))
UNLISTED: Final = {"print-checks"}
"""Targets for programs, not for people."""
MAKE_S_MAX: Final = 60


def phony(makefile: str) -> set[str]:
    """The targets that are names for a job, not for a file."""
    return {
        name
        for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
        for name in line.split()
        if not name.startswith(".")
    }


def explained(makefile: str) -> set[str]:
    """The targets that `make help` lists."""
    return set(re.findall(r"^([a-z][a-z-]*):.*## \S", makefile, re.MULTILINE))


def named(page: str) -> set[str]:
    """The targets that a page tells its reader to make, in code spans and code blocks."""
    code = re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL)
    found: set[str] = set()
    for piece in code:
        for line in re.findall(r"(?:^|[`\n;&$]) *make((?: +[^\s`;&#]+)*)", piece):
            found |= {word for word in line.split() if re.fullmatch(r"[a-z][a-z-]*", word)}
    return found


def test_every_target_is_explained_in_the_help() -> None:
    """`make help` lists every target that people use, and no other."""
    assert explained(MAKEFILE) == phony(MAKEFILE) - UNLISTED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_targets_that_exist(page: Path) -> None:
    """Whoever follows a page types no target that make does not know."""
    assert named(page.read_text()) <= phony(MAKEFILE)


def test_contributing_names_the_targets_of_daily_work() -> None:
    """The page for contributors shows how to set up, test and check."""
    assert {"setup-dev", "test", "test-all", "check"} <= named((ROOT / "CONTRIBUTING.md").read_text())


def test_targets_are_found_in_code_and_not_in_prose() -> None:
    """The reader of pages sees spans and blocks, several targets, and leaves options and sentences alone."""
    page = "We make sense. `make tset`\n```\n$ make setup demo  # make haste\nmake lock UPGRADE=1\n```\n"

    assert named(page) == {"tset", "setup", "demo", "lock"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_ci_runs_checks_that_exist() -> None:
    """The list that `.ci/run` asks make for is a list of targets, with the tests in it."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "print-checks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MAKE_S_MAX,
        check=True,
    ).stdout.split()

    assert set(printed) <= phony(MAKEFILE)
    assert {"lint", "types", "imports", "test", "wheel-test"} <= set(printed)
