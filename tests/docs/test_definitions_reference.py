"""The reference of definition files names every field that the files may have, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from processors.definitions import models as m

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "definitions.md"
TABLES: Final[dict[str, type[BaseModel]]] = {
    "## journeys/NAME.yaml": m.Journey,
    "### A match": m.Match,
    "## messages/NAME.yaml": m.Message,
    "## audiences/NAME.yaml": m.Audience,
    "## campaigns/NAME.yaml": m.Campaign,
    "## policy.yaml": m.Policy,
}
INSIDE: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "## journeys/NAME.yaml": (m.Goal, m.Exit, m.Holdout),
    "### A step": (m.Step, m.WaitUntil, m.WaitFor, m.Way, m.Split, m.Arm),
    "## policy.yaml": (m.Cap, m.QuietHours, m.Ramp, m.Transactional),
}


def section(heading: str) -> str:
    """What stands under a heading, as far as the next one."""
    _, _, rest = PAGE.read_text().partition(f"{heading}\n")
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def fields(model: type[BaseModel]) -> set[str]:
    """The words that files use."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_has_a_line_for_each_field(heading: str) -> None:
    """None is missing, and none is made up."""
    rows = re.findall(r"^\| `(\w+)` \|", section(heading), flags=re.MULTILINE)

    assert len(rows) == len(set(rows))
    assert set(rows) == fields(TABLES[heading])


@pytest.mark.parametrize("heading", INSIDE)
def test_what_stands_inside_of_a_field_is_named_beside_it(heading: str) -> None:
    """Fields of a match are told once, under their own heading."""
    words = set(re.findall(r"`(\w+)`", section(heading)))

    for model in INSIDE[heading]:
        assert fields(model) - fields(m.Match) <= words, model


def test_required_fields_are_called_so() -> None:
    """And no others."""
    for heading, model in TABLES.items():
        if heading == "## messages/NAME.yaml":
            continue
        required = set(re.findall(r"^\| `(\w+)` \|.*\| required \|$", section(heading), flags=re.MULTILINE))
        wanted = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        assert required == wanted, heading
