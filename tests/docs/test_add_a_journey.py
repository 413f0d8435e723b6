"""The how-to on adding a journey does what it says, step by step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from processors.definitions.loader import load
from tests.support.how_to_pages import ROOT, commands, files

PAGE = "add-a-journey.md"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the page's files, in which our checkout's folders seem to stand."""
    for part in ("schemas", "ledger", "connectors", "processors", "tests", "pyproject.toml"):
        (tmp_path / part).symlink_to(ROOT / part)
    for name, content in files(PAGE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands as a shell does; `python` is ours."""
    return subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_steps_give_a_journey_whose_test_passes(checkout: Path) -> None:
    """Both journeys are in force, and the page's own test of the new one passes."""
    printed = ""
    for command in commands(PAGE):
        done = run(command, checkout)
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout

    assert "4 passed" in printed
    definitions = load(checkout / "definitions")
    assert [journey.name for journey in definitions.journeys] == ["cart_abandonment", "saved_item"]
    assert definitions.policy.topics_on == ("cart_reminders", "wish_list")


def test_the_page_touches_three_files(checkout: Path) -> None:
    """The journey, its test, and the policy of the folder; nothing of ours."""
    assert list(files(PAGE)) == ["definitions/journeys/saved_item.yaml", "definitions/test_saved_item.py"]
    for command in commands(PAGE)[:2]:
        assert run(command, checkout).returncode == 0

    shipped, policy = (ROOT / "processors/definitions/policy.yaml"), checkout / "definitions" / "policy.yaml"
    lines = set(policy.read_text().splitlines()) ^ set(shipped.read_text().splitlines())
    assert {line.partition(":")[0] for line in lines} == {"topics_on"}


@pytest.mark.parametrize(
    ("right", "wrong", "field"),
    [
        ("fact: ItemSaved", "fact: ItemWished", "trigger.fact"),
        ("items: item}", "items: goods}", "trigger"),
        ("wait: 3d", "wait: soon", "wait"),
        ("outcome: converted", "outcome: bought", "removals.0.outcome"),
    ],
)
def test_a_slip_in_the_journey_is_refused_by_its_place(
    checkout: Path, right: str, wrong: str, field: str
) -> None:
    """The page promises that the file and the field are named."""
    for command in commands(PAGE)[:2]:
        assert run(command, checkout).returncode == 0
    file = checkout / "definitions" / "journeys" / "saved_item.yaml"
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))

    with pytest.raises(Misconfigured, match=rf"saved_item\.yaml: {field}: "):
        load(checkout / "definitions")
