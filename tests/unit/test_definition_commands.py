"""`optin definitions`: what check, test, init and diff print, and how they end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from connectors.errors import Misconfigured
from processors.commands.definitions import app

BASE: Final = Path(__file__).parent / "broken_definitions" / "base"
RUNNER: Final = CliRunner()
CASES: Final = """\
journey: trial
cases:
  - case: a trial that begins is spoken of
    when:
      - {at: 0m, TrialStarted: {trial: pro, ends_at: {at: 14d}}}
    then:
      - {at: 0m, ended: completed}
      - {at: 0m, push: word, verdict: VERDICT}
"""


def optin(*words: str) -> Result:
    """What `optin definitions WORDS` does."""
    return RUNNER.invoke(app, list(words))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the good folder."""
    return Path(shutil.copytree(BASE, tmp_path / "definitions"))


def test_check_counts_what_is_right(folder: Path) -> None:
    """Exit status 0."""
    result = optin("check", str(folder))

    assert (result.exit_code, result.stdout) == (
        0,
        "2 journeys, 4 messages, 3 audiences, 1 campaign: nothing is wrong\n",
    )


def test_check_tells_what_is_wrong(folder: Path) -> None:
    """One line for each mistake, in the manner of compilers, and exit status 1."""
    path = folder / "policy.yaml"
    path.write_text(path.read_text("utf-8").replace("window: calendar_day", "window: calendar_dy"), "utf-8")
    result = optin("check", str(folder))

    assert result.exit_code == 1
    assert result.stdout == (
        "policy.yaml:6: caps.1.window: 'calendar_dy' is none of its words. Did you mean calendar_day?\n"
    )
    assert "1 to mend" in result.stderr


def test_check_of_no_folder(tmp_path: Path) -> None:
    """It says which one it looked for."""
    result = optin("check", str(tmp_path / "nowhere"))

    assert result.exit_code == 1
    assert f"{tmp_path}/nowhere:1: there is no such folder. Name the folder" in result.stdout


def test_init_makes_a_folder_that_is_right(tmp_path: Path) -> None:
    """And its cases pass."""
    made = str(tmp_path / "mine")
    begun = optin("init", made)

    assert begun.exit_code == 0
    assert "then: optin definitions check" in " ".join(begun.stderr.split())
    assert optin("check", made).exit_code == 0
    assert optin("test", made).exit_code == 0


def test_init_writes_over_nothing(folder: Path) -> None:
    """A folder with a policy is somebody's work."""
    before = (folder / "policy.yaml").read_text("utf-8")
    result = optin("init", str(folder))

    assert isinstance(result.exception, Misconfigured)
    assert "holds definitions already" in str(result.exception)
    assert (folder / "policy.yaml").read_text("utf-8") == before


@pytest.mark.parametrize(
    ("verdict", "status", "said"),
    [
        ("send", 0, "1 passed, 0 failed"),
        ("withhold", 1, "journeys/trial.test.yaml:3: a trial that begins is spoken of: 2. wanted: {at: 0m, "),
        (
            "sent",
            1,
            "journeys/trial.test.yaml:8: cases.1.then.2.verdict: 'sent' is none of its words. Did you mean",
        ),
    ],
)
def test_test_runs_the_cases(folder: Path, verdict: str, status: int, said: str) -> None:
    """Exit status 1 if one fails or can't be read."""
    text = CASES.replace("VERDICT", verdict)
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("trials: off", "trials: on"), "utf-8")
    (folder / "journeys" / "trial.test.yaml").write_text(text, "utf-8")
    result = optin("test", str(folder))

    assert said in result.stdout
    assert result.exit_code == status
    assert "without cases: left_cart" in result.stderr


def test_test_without_cases_says_where_they_belong(folder: Path) -> None:
    """Nothing that ran is nothing that passed."""
    result = optin("test", str(folder))

    assert isinstance(result.exception, Misconfigured)
    assert "NAME.test.yaml; write one" in str(result.exception)


def test_test_refuses_a_broken_folder(folder: Path) -> None:
    """With what is wrong."""
    (folder / "policy.yaml").unlink()
    result = optin("test", str(folder))

    assert isinstance(result.exception, Misconfigured)
    assert "policy.yaml:1: there is no such file" in str(result.exception)


def test_diff_prints_what_differs(folder: Path) -> None:
    """And that nothing differs, where nothing does."""
    path = folder / "journeys" / "trial.yaml"
    path.write_text(path.read_text("utf-8").replace("before: 2h", "before: 3h"), "utf-8")
    result = optin("diff", str(BASE), str(folder))

    assert result.exit_code == 0
    first, second, last = result.stdout.splitlines()
    assert first.startswith("journey trial: changed, version ")
    assert second == "  steps.soon.wait_until.before: 2h -> 3h"
    assert last == "Open instances end by the version that they began with."
    assert optin("diff", str(folder), str(folder)).stdout == "nothing differs\n"
