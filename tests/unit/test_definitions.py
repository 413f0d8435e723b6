"""Definitions in YAML: what is wrong with one is said by file, field and remedy, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from ledger.definitions import Holdout, canonical, parse, version_of
from processors.definitions import load, shipped, write_with_wait
from tests.support.given import HOUR, MINUTE, journey, policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped definitions."""
    write_with_wait(tmp_path, "1h")
    return tmp_path


def test_the_shipped_definitions_are_read(folder: Path) -> None:
    """From the package and from a folder alike; another wait is another version."""
    definitions = shipped()

    assert load(folder) == definitions
    assert [one.name for one in definitions.journeys] == ["cart_abandonment"]
    assert definitions.journeys[0].wait_ms == HOUR
    write_with_wait(folder, "90s")
    assert load(folder).journeys[0].wait_ms == 1.5 * MINUTE
    assert load(folder).journey_versions != definitions.journey_versions
    assert load(folder).policy_version == definitions.policy_version


BROKEN = {
    "wait: 1h -> wait: soon": "a duration is a whole number and a unit",
    "items: item} -> items: items}": "CartUpdated holds items in item",
    "where: {change: added} -> where: {chnge: added}": "CartUpdated has no field chnge",
    "fact: CartUpdated, where: {change: added} -> fact: PermissionDenied": "PermissionDenied is no activity",
    "fact: CartUpdated, where: {change: added} -> fact: CartUpdate": "CartUpdate is no fact",
    "topic: cart_reminders -> topic: Cart reminders": "push.topic",
    "category: marketing -> category: urgent": "push.category",
    "percent: 10 -> percent: 110": "holdout.percent",
    "name: cart_abandonment -> name: Cart": "name",
    "attribution: 24h -> attributoin: 24h": "attribution",
}


@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_journey_is_refused(change: str, folder: Path) -> None:
    """The file and the field are named; a worker never meets such a journey."""
    old, new = change.split(" -> ")
    path = folder / "journeys" / "cart_abandonment.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(Misconfigured) as refused:
        load(folder)

    assert "cart_abandonment.yaml" in str(refused.value)
    assert BROKEN[change] in str(refused.value)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    """Like any other file that is not YAML."""
    (folder / "policy.yaml").write_bytes(b"name: \xff\xfe")

    with pytest.raises(Misconfigured, match=r"policy\.yaml: not YAML"):
        load(folder)


def test_two_journeys_of_one_name_are_refused(folder: Path) -> None:
    """A name is a journey's identity."""
    (folder / "journeys" / "copy.yaml").write_text(
        (folder / "journeys" / "cart_abandonment.yaml").read_text()
    )

    with pytest.raises(Misconfigured, match="two journeys have one name"):
        load(folder)


def test_a_body_is_named_by_its_content() -> None:
    """Equal bodies have equal versions, another salt is another version, and bytes read back the same."""
    assert version_of(journey()) == version_of(journey())
    assert version_of(journey()) != version_of(journey(holdout=Holdout(salt="t", percent=0)))
    for body in (journey(), policy()):
        assert parse(canonical(body)) == body
