"""The wheel carries the four packages with all their files, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path, PurePath
from typing import Final

import pytest

from tests.architecture.installed_names import NAMES, top_level
from tests.architecture.sources import PACKAGES, ROOT

BUILD_S_MAX: Final = 120

KINDS: Final = (
    "schemas/facts/*/v*.avsc",
    "schemas/examples/*/v*.json",
    "schemas/topics.yaml",
    "connectors/clickhouse/migrations/*.sql",
    "processors/definitions/shipped/*.yaml",
    "processors/definitions/shipped/audiences/*.yaml",
    "processors/definitions/shipped/journeys/*.yaml",
    "processors/definitions/shipped/messages/*.yaml",
    "*/py.typed",
)
"""What the program reads at run time besides modules; each pattern has to match something."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this project, built as a release builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_S_MAX,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


def names(wheel: Path) -> set[str]:
    """The files in a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}


def test_the_wheel_brings_exactly_the_four_names(wheel: Path) -> None:
    """Installing the wheel adds four top-level names: no tests, no deploy, no stray module."""
    with zipfile.ZipFile(wheel) as archive:
        found = top_level(PurePath(name) for name in archive.namelist())

    assert found == set(PACKAGES) == NAMES


def test_a_fifth_name_is_found() -> None:
    """A module or folder besides the four counts as a name; metadata and scripts don't."""
    files = ["tests/a.py", "stray.py", "ledger/facts.py", "x-1.dist-info/METADATA", "../../bin/optin"]

    assert top_level(PurePath(name) for name in files) == {"tests", "stray.py", "ledger"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """What is in the four folders is in the wheel, caches apart, and nothing is there from elsewhere."""
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert names(wheel) == sources


@pytest.mark.parametrize("pattern", KINDS)
def test_the_wheel_holds_what_is_read_at_run_time(wheel: Path, pattern: str) -> None:
    """Schemas, migrations, definitions and type markers travel with the code."""
    assert [name for name in names(wheel) if PurePath(name).match(pattern)]
