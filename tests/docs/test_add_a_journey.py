"""The how-to on writing a journey does what it says, step by step."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import facts as f
from ledger.life import Life
from processors.definitions.loader import load
from tests.support.given import NOON, setting
from tests.support.how_to_pages import HOW_TO, ROOT, commands, files

PAGE = "add-a-journey.md"
FILES = [
    "definitions/journeys/saved_item.yaml",
    "definitions/messages/saved_item_reminder.yaml",
    "definitions/journeys/saved_item.test.yaml",
    "publish_saved_item.py",
]
JOURNEY, _, CASES, PROGRAM = FILES


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands as a shell does; `optin` and `python` are ours."""
    return subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder after the steps that write: the shipped definitions, the page's files, and its topic."""
    assert list(files(PAGE)) == FILES
    init, topic, _, _ = commands(PAGE)
    assert run(init, tmp_path).returncode == 0
    for name, content in files(PAGE).items():
        (tmp_path / name).write_text(content, "utf-8")
    assert run(topic, tmp_path).returncode == 0
    return tmp_path


def shown(first_words: str) -> str:
    """The output on the page that begins with these words."""
    page = (HOW_TO / PAGE).read_text("utf-8")
    (found,) = re.findall(rf"^```\n({first_words}.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


def untimed(output: str) -> str:
    """Without how long it took."""
    return re.sub(r"in \d+ ms", "", output)


def test_the_steps_give_a_journey_whose_cases_pass(folder: Path) -> None:
    """What check and test print is what the page shows."""
    _, _, check, test = commands(PAGE)
    checked, tested = run(check, folder), run(test, folder)

    assert (checked.returncode, tested.returncode) == (0, 0), checked.stdout + tested.stdout
    assert checked.stdout == shown("16 journeys")
    assert untimed(tested.stdout) == untimed(shown("4 passed"))


def test_the_new_journey_is_in_force_beside_the_shipped_ones(folder: Path) -> None:
    """The topic counts as on, and nothing else of the policy changed."""
    definitions, as_shipped = load(folder / "definitions"), load(ROOT / "processors/definitions/shipped")

    mine = {one.name for one in definitions.journeys} - {one.name for one in as_shipped.journeys}
    assert mine == {"saved_item"}
    assert {*definitions.policy.topics_on} - {*as_shipped.policy.topics_on} == {"wish_list"}


@pytest.mark.parametrize(
    ("file", "right", "wrong", "command", "told"),
    [
        (JOURNEY, "wait: 3h", "wait: 3 hours", 2, "journeys/saved_item.yaml:"),
        (CASES, "{at: 4h, ended", "{at: 3h, ended", 3, "journeys/saved_item.test.yaml:"),
    ],
)
def test_a_slip_is_told_as_the_page_says(
    folder: Path, file: str, right: str, wrong: str, command: int, told: str
) -> None:
    """File, line, what, and the remedy or what followed; and the command fails."""
    text = (folder / file).read_text("utf-8")
    assert right in text
    (folder / file).write_text(text.replace(right, wrong, 1), "utf-8")

    done = run(commands(PAGE)[command], folder)

    assert done.returncode == 1
    assert shown(told) in done.stdout


def test_the_facts_that_the_page_publishes_become_the_send_that_it_shows(folder: Path) -> None:
    """By day: a push of the new journey, decided half a minute after the facts arrived."""
    published = runpy.run_path(str(folder / PROGRAM))["facts"](NOON)
    life = Life("ben", setting(definitions=load(folder / "definitions")))
    life.fold_all((fact, NOON) for fact in published)
    life.pass_until(NOON + 60_000)

    (decided,) = (one for one in life.said if isinstance(one, f.PushDecided))
    page = (HOW_TO / PAGE).read_text("utf-8")
    told = f"{decided.journey}/{decided.step}  {decided.verdict}  (decision"
    assert told in page
    assert "  items: boots\n" in page
    assert decided.items == ("boots",)
    assert (decided.candidate_at, decided.occurred_at) == (NOON, NOON + 30_000)
    for check in decided.checks:
        assert f"\n  pass  {check.name}" in page
