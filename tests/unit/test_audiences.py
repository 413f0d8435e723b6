"""Audiences are put together into one rule, which stays within bounds and always has an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.rules.cel import CelRules, whole_problem
from ledger.profile import NOTHING, Attribute, Profile
from ledger.rules import values
from processors.definitions.audiences import WHOLE_LENGTH_MAX, check_audiences, rule_of
from processors.definitions.found import Found
from processors.definitions.models import Audience
from processors.definitions.problem import Wrong
from processors.definitions.source import Source

BUYERS = Audience(name="buyers", rule="profile.orders > 0")
VIP = Audience(name="vip", rule="has(attributes.tier) && attributes.tier == 'vip'")
OTHERS = Audience(name="others", inside=("buyers",), outside=("vip",))


def among(*audiences: Audience) -> dict[str, Audience]:
    """By name."""
    return {one.name: one for one in audiences}


def problems(tmp_path: Path, *audiences: Audience, broken: set[str] | None = None) -> list[str]:
    """What is wrong with these."""
    found: Found[Audience] = Found(broken=broken or set())
    for one in audiences:
        path = tmp_path / f"{one.name}.yaml"
        path.write_text(f"name: {one.name}\n", "utf-8")
        found.sources[one.name] = (Source(path, tmp_path), one)
    return [f"{one.file}: {one.what}" for one in check_audiences(found)]


@pytest.mark.parametrize(
    ("profile", "belongs"),
    [
        (NOTHING, False),
        (Profile(orders=1), True),
        (Profile(orders=1, attributes={"tier": Attribute("vip", 0)}), False),
        (Profile(orders=1, attributes={"tier": Attribute("basic", 0)}), True),
    ],
)
def test_inside_and_outside_mean_what_they_say(profile: Profile, belongs: bool) -> None:
    """Somebody without the attribute that an audience asks for is outside of it."""
    rule = rule_of("others", among(BUYERS, VIP, OTHERS))

    assert whole_problem(rule) == ""
    assert CelRules().holds(rule, values(profile, 0)) is belongs


def test_an_unknown_audience_and_a_circle_are_refused() -> None:
    """Also deep inside."""
    with pytest.raises(Wrong, match="vip is no audience"):
        rule_of("others", among(BUYERS, OTHERS))
    with pytest.raises(Wrong, match="others > buyers > others"):
        rule_of("others", among(Audience(name="buyers", outside=("others",)), VIP, OTHERS))


def test_a_circle_is_told_once(tmp_path: Path) -> None:
    """Not by each audience in it, nor by those that lead into it."""
    ring = [Audience(name=f"a{n}", inside=(f"a{(n + 1) % 5}",)) for n in range(5)]
    outer = Audience(name="outer", inside=("a0", "a3"))

    (told,) = problems(tmp_path, outer, *ring)
    assert told == "a4.yaml: the audience contains itself: a0 > a1 > a2 > a3 > a4 > a0"


def test_an_audience_that_could_not_be_read_is_told_by_its_file_alone(tmp_path: Path) -> None:
    """Those that take it in are right."""
    assert problems(tmp_path, BUYERS, OTHERS, broken={"vip"}) == []
    assert problems(tmp_path, BUYERS, OTHERS) == ["others.yaml: vip is no audience"]


def test_outside_of_a_rule_without_an_answer_is_refused(tmp_path: Path) -> None:
    """Whoever has no such attribute would be on neither side."""
    loose = Audience(name="vip", rule="attributes.tier == 'vip' || profile.value['EUR'] > 100")

    assert problems(tmp_path, BUYERS, loose, OTHERS) == [
        "others.yaml: whoever has no attributes.tier is neither in vip nor outside of it"
    ]
    assert problems(tmp_path, BUYERS, loose) == []


def test_audiences_in_audiences_stay_bounded(tmp_path: Path) -> None:
    """Ten in each of ten would be a rule of gigabytes; it is never put together, and the first is told."""
    first = Audience(name="a0", rule=" && ".join(["profile.orders > 0"] * 20))
    levels = [Audience(name=f"a{n}", inside=(f"a{n - 1}",) * 10) for n in range(1, 11)]

    (told,) = problems(tmp_path, first, *levels)
    assert told.startswith("a1.yaml: put together, its rule has ")
    assert str(WHOLE_LENGTH_MAX) in told


def test_audiences_that_are_nested_too_deeply_are_told(tmp_path: Path) -> None:
    """CEL reads so many brackets; the innermost audience that has more is told."""
    levels = [
        BUYERS,
        *(Audience(name=f"b{n:03}", inside=(f"b{n - 1:03}" if n else "buyers",)) for n in range(60)),
    ]

    (told,) = problems(tmp_path, *levels)
    assert "nested too deeply" in told
