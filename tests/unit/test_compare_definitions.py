"""What differs between two folders of definitions is said field by field, with the versions that change."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from connectors.errors import Misconfigured
from processors.definitions.compare import END_BY, Difference, differences, in_words
from processors.definitions.loader import checked, examine

BASE: Final = Path(__file__).parent / "broken_definitions" / "base"


def changed(folder: Path, **files: tuple[str, str]) -> Path:
    """A copy of the good folder with one text of each of these files changed (`messages__receipt`)."""
    shutil.copytree(BASE, folder)
    for name, (old, new) in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")
    return folder


def found(folder: Path) -> dict[str, Difference]:
    """What differs from the good folder, by kind and name."""
    return {f"{one.kind} {one.name}": one for one in differences(checked(BASE), checked(folder))}


def test_the_same_differs_in_nothing(tmp_path: Path) -> None:
    """Nor do comments, other words for the same duration, and a default that is written out."""
    folder = changed(
        tmp_path / "d",
        journeys__left_cart=("wait: 1h", "wait: 60m"),
        journeys__trial=("reentry: ignore", "# Once.\nreentry: ignore\nopt_out_ends: true"),
    )

    assert found(folder) == {}
    assert list(in_words(())) == ["nothing differs"]


def test_a_changed_step_is_named_by_its_name(tmp_path: Path) -> None:
    """A step before it does not make others look changed."""
    folder = changed(
        tmp_path / "d",
        journeys__left_cart=(
            "  - {step: pause, wait: 1h}",
            "  - {step: rest, wait: 1d}\n  - {step: pause, wait: 90m}",
        ),
    )
    (one,) = found(folder).values()

    assert one.fields == ("steps.rest: added, {step: rest, wait: 1d}", "steps.pause.wait: 1h -> 90m")
    before = checked(BASE).definitions
    after = checked(folder).definitions
    assert before is not None
    assert after is not None
    was, now = before.journey_versions["left_cart"], after.journey_versions["left_cart"]
    assert one.version == f"version {was} -> {now}"
    assert list(in_words((one,)))[-1] == END_BY


def test_another_order_of_steps_is_said(tmp_path: Path) -> None:
    """They are the same steps."""
    word, rest = "  - {step: over, end: completed}\n", "  - {step: second, push: cart_second}\n"
    folder = changed(tmp_path / "d", journeys__left_cart=(rest, "  - {step: extra, wait: 1h}\n" + rest))
    other = changed(
        tmp_path / "e", journeys__left_cart=(rest + word, rest + "  - {step: extra, wait: 1h}\n" + word)
    )
    (one,) = differences(checked(folder), checked(other))

    assert one.fields[0].startswith("steps: in the order [pause, ")


def test_a_message_changes_the_version_of_whoever_says_it(tmp_path: Path) -> None:
    """So does an audience, also one inside of another."""
    folder = changed(
        tmp_path / "d",
        messages__cart_second=("Your cart is still here", "Still here"),
        audiences__reachable=("!= 'lapsed'", "== 'active'"),
    )
    all_of_it = found(folder)

    assert all_of_it["message cart_second"].fields == ("title: Your cart is still here -> Still here",)
    for name in ("journey left_cart", "campaign spring"):
        assert all_of_it[name].fields == (
            "by audience reachable, see below",
            "by message cart_second, see below",
        )
        assert "->" in all_of_it[name].version
    assert "journey trial" not in all_of_it


def test_the_policy_is_told_in_its_own_words(tmp_path: Path) -> None:
    """Durations as durations, caps by their window, what is taken away as removed."""
    folder = changed(
        tmp_path / "d",
        policy=('quiet_hours: {from: "22:00", to: "08:00"}', 'quiet_hours: {from: "21:30", to: "08:00"}'),
    )
    text = (folder / "policy.yaml").read_text("utf-8")
    text = text.replace("max_pushes: 5", "max_pushes: 4").replace("suppression: {open_ticket: 7d}\n", "")
    (folder / "policy.yaml").write_text(text.replace("decision_window: 30s", "decision_window: 1m"), "utf-8")
    (one,) = found(folder).values()

    assert set(one.fields) == {
        "caps.rolling_week.max_pushes: 5 -> 4",
        "quiet_hours.from: 22:00 -> 21:30",
        "decision_window: 30s -> 1m",
        "suppression.open_ticket: removed, was 7d",
    }
    assert END_BY not in list(in_words((one,)))


def test_what_comes_and_goes_is_told_with_its_version(tmp_path: Path) -> None:
    """A journey that goes begins nothing any more; its open instances end by its version."""
    folder = changed(tmp_path / "d")
    (folder / "journeys" / "trial.yaml").rename(folder / "journeys" / "test_drive.yaml")
    path = folder / "journeys" / "test_drive.yaml"
    path.write_text(path.read_text("utf-8").replace("name: trial\n", "name: test_drive\n"), "utf-8")
    all_of_it = found(folder)

    assert all_of_it["journey trial"].change == "removed"
    assert all_of_it["journey trial"].version.startswith("version was ")
    assert all_of_it["journey test_drive"].change == "added"
    assert list(in_words(tuple(all_of_it.values())))[-1] == END_BY


def test_a_broken_folder_is_not_compared(tmp_path: Path) -> None:
    """What it would mean is not known."""
    folder = changed(tmp_path / "d", policy=("lateness_max: 24h", "lateness_max: 24"))

    with pytest.raises(Misconfigured, match="nothing is wrong"):
        differences(examine(BASE), examine(folder))
