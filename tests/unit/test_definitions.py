"""Definitions in YAML: what is wrong with one is said by file, line and remedy, before anything runs."""

from __future__ import annotations

from pathlib import Path

from ledger.definitions import canonical, parse, version_of
from ledger.journey import Holdout, Wait
from processors.definitions import load, shipped, write_definitions
from tests.support.given import SECOND, journey, policy


def test_the_shipped_definitions_are_read(tmp_path: Path) -> None:
    """From the package and from a folder alike; another wait is another version."""
    definitions = shipped()
    write_definitions(tmp_path / "same")
    write_definitions(tmp_path / "other", wait="90s")
    same, other = load(tmp_path / "same"), load(tmp_path / "other")
    cart = next(one for one in other.journeys if one.name == "cart_abandonment")

    assert (same.journeys, same.policy) == (definitions.journeys, definitions.policy)
    assert cart.steps[0] == Wait(step="pause", for_ms=90 * SECOND)
    assert other.journey_versions["cart_abandonment"] != definitions.journey_versions["cart_abandonment"]
    assert other.policy_version == definitions.policy_version


def test_a_body_is_named_by_its_content() -> None:
    """Equal bodies have equal versions, another salt is another version, and bytes read back the same."""
    assert version_of(journey()) == version_of(journey())
    assert version_of(journey()) != version_of(journey(holdout=Holdout(salt="t", percent=0)))
    for body in (journey(), policy()):
        assert parse(canonical(body)) == body
