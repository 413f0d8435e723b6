"""A YAML file keeps the line of each of its parts, and refuses what can't be read safely."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processors.definitions.source import BYTES_MAX, Source

TEXT = """\
# A comment.
name: cart
steps:
  - {step: pause, wait: 1h}
  - step: word

    push: reminder
quiet_hours: {from: 22:00,
  to: "08:00"}
"""


def source(tmp_path: Path, content: bytes | str) -> Source:
    """A file with this content."""
    path = tmp_path / "journeys" / "cart.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Source(path, tmp_path)


@pytest.mark.parametrize(
    ("loc", "line"),
    [
        ((), 2),
        (("name",), 2),
        (("steps",), 3),
        (("steps", 0), 4),
        (("steps", 0, "wait"), 4),
        (("steps", 1, "push"), 7),
        (("steps", 1, "wait"), 5),
        (("steps", 9), 3),
        (("quiet_hours", "to"), 9),
        (("absent", "too"), 2),
    ],
)
def test_a_part_has_its_line(tmp_path: Path, loc: tuple[str | int, ...], line: int) -> None:
    """What is absent has that of the nearest part around it."""
    assert source(tmp_path, TEXT).line(loc) == line


def test_a_mistake_is_pointed_at(tmp_path: Path) -> None:
    """By the file's path in its folder."""
    problem = source(tmp_path, TEXT).at(("steps", 1), "it is wrong", "Mend it")

    assert str(problem) == "journeys/cart.yaml:5: it is wrong. Mend it."


def test_what_is_written_is_known(tmp_path: Path) -> None:
    """Also where YAML makes a number of it."""
    found = source(tmp_path, TEXT)

    assert found.written(("quiet_hours", "from")) == "22:00"
    assert found.body["quiet_hours"]["from"] == 22 * 60
    assert found.written(("steps",)) is None
    assert found.written(("nowhere",)) is None


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("on: [mon]", {"on": ["mon"]}),
        ("{yes: 1, 2: 3, null: 4}", {"yes": 1, "2": 3, "null": 4}),
        ("start: 2026-02-30", {"start": "2026-02-30"}),
        ("topic: on", {"topic": True}),
        ("a: &b 1", {"a": 1}),
        ("\ufeffname: cart", {"name": "cart"}),
        ("", None),
        ("[1, [2]]", [1, [2]]),
    ],
)
def test_keys_are_what_is_written_and_dates_are_texts(tmp_path: Path, text: str, body: object) -> None:
    """YAML 1.1 would make true of `on`, and a failure of a day that does not exist."""
    found = source(tmp_path, text)

    assert (found.body, found.problems) == (body, [])


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"a: 1\nb: \xff", 2, "not UTF-8"),
        ("a: 1\nb: 2\na: 3", 3, "a stands here twice"),
        ("a:\n  - {b: 1,\n    b: 2}", 3, "b stands here twice"),
        ("a: &x 1\nb: *x", 2, "alias"),
        ("a: &x [*x]", 1, "alias"),
        ("a: 1\nb: \x07", 2, "U+0007"),
        ('a: "\\ud83d"', 1, "half a character"),
        ("a: {b: 1\nc: 2", 1, "not YAML"),
        ("a: 'b\nc: 2", 1, "not YAML"),
        ("a: !!python/name:os.system x", 1, "not YAML"),
        ("a: !!int x", 1, "not YAML"),
        ("? [a]\n: 1", 1, "no plain word"),
        ("? {a: 1}\n: 1", 1, "no plain word"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("[" * 5_000, 1, "nested too deeply"),
        ("a: " + "9" * 5_000, 1, "not YAML"),
        ("#" * (BYTES_MAX + 1), 1, f"longer than {BYTES_MAX}"),
    ],
)
def test_what_can_not_be_read_says_why(tmp_path: Path, content: bytes | str, line: int, said: str) -> None:
    """By line, and without a body where one would not be what is written."""
    (problem,) = (found := source(tmp_path, content)).problems

    assert (problem.line, said in problem.what) == (line, True), problem
    assert problem.remedy
    assert found.body is None or "twice" in said


def test_what_is_no_file_says_why(tmp_path: Path) -> None:
    """A file that is not there, and a folder in its place."""
    (tmp_path / "folder.yaml").mkdir()

    assert "no such file" in Source(tmp_path / "none.yaml", tmp_path).problems[0].what
    assert "can't be read" in Source(tmp_path / "folder.yaml", tmp_path).problems[0].what


def test_a_pipe_in_the_place_of_a_file_is_refused_unopened(tmp_path: Path) -> None:
    """Opening one waits for a writer, and so would a check."""
    os.mkfifo(tmp_path / "pipe.yaml")

    assert "no regular file" in Source(tmp_path / "pipe.yaml", tmp_path).problems[0].what
