"""Every module says what it is for, is small enough to read, and has a name of its own."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.sources import ROOT, modules

LINES_MAX: Final = 400
LONGER: Final = {
    Path(
        "ledger/facts.py"
    ): "the list of all facts: one small class each, and splitting it hides what is there",
}
"""Modules that may be longer, with the reason. This list only shrinks."""

WORDS_MIN: Final = 4
NAMELESS: Final = frozenset(
    {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc", "shared", "tools"}
)
"""Names that say nothing about what is inside."""


def opening_fault(docstring: str | None) -> str | None:
    """Why the first paragraph of a module's docstring is not a sentence; None when it is one."""
    if not docstring:
        return "there is no docstring"
    opening = " ".join(docstring.strip().split("\n\n")[0].split())
    name, colon, rest = opening.partition(": ")
    if colon and (name.isidentifier() or name.startswith("`")):
        opening = rest  # an agent or a command introduces itself by its name
    elif not opening[0].isupper():
        return f"it begins with a small letter: {opening!r}"
    if not opening.endswith((".", "?", "!")):
        return f"it has no end: {opening!r}"
    if len(opening.split()) < WORDS_MIN:
        return f"it says too little: {opening!r}"
    return None


def nameless(path: Path) -> bool:
    """Whether any part of the path is a name that says nothing."""
    return any(part in NAMELESS for part in path.with_suffix("").parts)


@pytest.mark.parametrize("path", modules() + modules("tests"), ids=str)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    """The first thing in a module is a sentence about it."""
    assert opening_fault(ast.get_docstring(ast.parse((ROOT / path).read_text()))) is None


@pytest.mark.parametrize(
    "docstring",
    [
        None,
        "",
        "Consent fold",
        "Consent.",
        "reads the topics of the contract.",
        "Reads the topics of the contract\n\nAnd more about them.",
    ],
)
def test_a_docstring_that_opens_with_no_sentence_is_found(docstring: str | None) -> None:
    """A missing docstring, a title, a single word and a sentence without an end are all refused."""
    assert opening_fault(docstring)


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_is_small(path: Path) -> None:
    """No module is longer than one can read in a sitting, except those with a stated reason."""
    lines = len((ROOT / path).read_text().splitlines())

    assert lines <= LINES_MAX or path in LONGER, f"{path} has {lines} lines: one module, one idea"


@pytest.mark.parametrize("path", LONGER, ids=str)
def test_a_longer_module_is_still_longer(path: Path) -> None:
    """A module that became small leaves the list of exceptions."""
    assert len((ROOT / path).read_text().splitlines()) > LINES_MAX


@pytest.mark.parametrize("path", modules() + modules("tests"), ids=str)
def test_a_module_has_a_name_of_its_own(path: Path) -> None:
    """No file or folder is called after a drawer for everything."""
    assert not nameless(path)


@pytest.mark.parametrize("path", ["ledger/utils.py", "connectors/common/codec.py", "processors/base.py"])
def test_a_name_that_says_nothing_is_found(path: str) -> None:
    """A drawer is found as a file and as a folder."""
    assert nameless(Path(path))
