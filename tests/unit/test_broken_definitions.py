"""Each mistake in `broken_definitions/` is told once: by file, line, what is wrong, and what to do.

A mistake is a change to one file of the small good folder `broken_definitions/base` (`old` becomes `new`),
or files that are written into it or removed from it. `<<3*x>>` stands for xxx. `at` is the file that is
named, if it is another one than `file`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from connectors.errors import Misconfigured
from processors.definitions.loader import examine, load
from processors.definitions.problem import Problem

FOLDER: Final = Path(__file__).parent / "broken_definitions"
BASE: Final = FOLDER / "base"
MISTAKES_MIN: Final = 45
_REPEATED: Final = re.compile(r"<<(\d+)\*(.*?)>>")


def mistakes() -> list[dict[str, Any]]:
    """All of them, in the order of their files."""
    return [one for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load(path.read_text("utf-8"))]


MISTAKES: Final = mistakes()


def written_out(text: str) -> str:
    """A text with its repetitions."""
    return _REPEATED.sub(lambda found: found[2] * int(found[1]), text)


def broken(mistake: dict[str, Any], folder: Path) -> Path:
    """A copy of the good folder with this mistake in it."""
    shutil.copytree(BASE, folder)
    if "old" in mistake:
        path = folder / mistake["file"]
        text = path.read_text("utf-8")
        assert text.count(mistake["old"]) == 1, "the changed text stands in the file once"
        path.write_text(text.replace(mistake["old"], written_out(mistake["new"])), "utf-8")
    for encoding, of in (("utf-8", "write"), ("latin-1", "latin_1")):
        for name, text in mistake.get(of, {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(written_out(text), encoding)
    if "remove" in mistake:
        (folder / mistake["remove"]).unlink()
    return folder


def told(problem: Problem, mistake: dict[str, Any]) -> dict[str, Any]:
    """A problem as the mistake describes it; where it says something else, that."""
    return {
        "at": problem.file,
        "line": problem.line,
        "what": mistake["what"] if mistake["what"] in problem.what else problem.what,
        "remedy": mistake["remedy"] if mistake["remedy"] in problem.remedy else problem.remedy,
    }


def test_the_good_folder_is_good() -> None:
    """Whatever is wrong with a copy is the mistake's."""
    found = examine(BASE)

    assert found.problems == ()
    assert set(load(BASE).journey_versions) == {"left_cart", "trial"}


def test_there_are_many_mistakes_and_each_has_a_name() -> None:
    """The names are ids of tests."""
    names = [one["mistake"] for one in MISTAKES]

    assert len(names) == len(set(names)) >= MISTAKES_MIN


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one["mistake"].replace(" ", "-"))
def test_a_mistake_is_told_once(mistake: dict[str, Any], tmp_path: Path) -> None:
    """By file, line, what and remedy, with nothing that only follows from it; nothing comes into force."""
    folder = broken(mistake, tmp_path / "definitions")
    found = examine(folder)

    wanted = {
        "at": mistake.get("at", mistake.get("file")),
        **{k: mistake[k] for k in ("line", "what", "remedy")},
    }
    assert [told(problem, mistake) for problem in found.problems] == [wanted]
    assert found.definitions is None
    (problem,) = found.problems
    assert "\n" not in str(problem)
    with pytest.raises(Misconfigured) as refused:
        load(folder)
    assert str(refused.value) == f"{folder} can't be put in force:\n{problem}"


def test_mistakes_of_their_own_are_told_together(tmp_path: Path) -> None:
    """One in each file: nobody mends a folder by asking again and again."""
    chosen = {one["mistake"]: one for one in MISTAKES}
    mine = [
        chosen[name]
        for name in (
            "duration without a unit",
            "time of day without quotes",
            "CEL unknown field of the profile",
            "Liquid unknown filter",
        )
    ]
    shutil.copytree(BASE, tmp_path / "d")
    for mistake in mine:
        path = tmp_path / "d" / mistake["file"]
        path.write_text(path.read_text("utf-8").replace(mistake["old"], mistake["new"]), "utf-8")

    found = examine(tmp_path / "d")
    assert {(one.file, one.line) for one in found.problems} == {(one["file"], one["line"]) for one in mine}


def test_a_folder_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    """Its policy is not missed on top."""
    (problem,) = examine(tmp_path / "nowhere").problems

    assert "no such folder" in problem.what


def test_what_a_mount_of_kubernetes_brings_along_is_no_mistake(tmp_path: Path) -> None:
    """It keeps the files in hidden folders, beside links to them."""
    shutil.copytree(BASE, tmp_path / "d")
    shutil.copytree(BASE, tmp_path / "d" / "..2026_03_02")

    assert examine(tmp_path / "d").problems == ()


def test_a_long_list_ends_with_how_to_see_the_rest(tmp_path: Path) -> None:
    """A refusal shows so many; `check` shows all."""
    shutil.copytree(BASE, tmp_path / "d")
    for number in range(25):
        (tmp_path / "d" / "messages" / f"m{number}.yaml").write_text("name: 1\n")

    with pytest.raises(Misconfigured, match=r"more \(optin definitions check"):
        load(tmp_path / "d")
