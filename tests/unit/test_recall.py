"""A recalled version of a journey: open instances end, nothing goes out, nothing begins by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ledger import facts as f
from ledger.fold import fold
from ledger.journeys import fire
from ledger.setting import Setting
from ledger.subject import NEW, Subject
from tests.support.given import ANN, HOUR, MINUTE, NOON, fact, journey, policy, setting

OLD = journey()
MENDED = journey(wait_ms=2 * HOUR)


def told(*, recalled: bool, **rules: Any) -> Setting:
    """Both versions are known, the mended one is in force."""
    before = setting(policy(**rules), OLD)
    after = setting(policy(**rules), MENDED)
    version = before.definitions.journey_versions["cart"]
    bodies = {**before.definitions.bodies, **after.definitions.bodies}
    return dataclasses.replace(
        after,
        definitions=dataclasses.replace(after.definitions, bodies=bodies),
        recalled=frozenset({version} if recalled else ()),
    )


def arrived(**rules: Any) -> Subject:
    """Somebody with a phone and a yes, in the old version since noon."""
    subject, by = NEW, setting(policy(**rules), OLD)
    for one in (
        fact(f.InstallationSeen, NOON, platform="ios", time_zone="Europe/Berlin"),
        fact(f.PermissionGranted, NOON, level="authorized"),
        fact(f.TokenRegistered, NOON, provider="console", token="t"),
        fact(f.CartUpdated, NOON, item="boots", change="added"),
    ):
        subject, _ = fold(subject, ANN, one, NOON, NOON, by)
    assert len(subject.instances) == 1
    return subject


def outcomes(facts: tuple[f.SubjectFact, ...]) -> list[str]:
    """How instances ended, and what was decided."""
    found = []
    for one in facts:
        if isinstance(one, f.JourneyEnded):
            found.append(one.outcome)
        elif isinstance(one, f.PushDecided):
            found.append(f"{one.verdict} {one.reason}")
    return found


@pytest.mark.parametrize("recalled", [False, True])
def test_a_timer_of_a_recalled_version_ends_it(*, recalled: bool) -> None:
    """Without a decision; otherwise it goes on to its push."""
    subject, facts = fire(arrived(), ANN, NOON + HOUR, told(recalled=recalled))

    assert subject.instances == ()
    assert outcomes(facts) == (["recalled"] if recalled else ["completed", "send None"])


def test_a_fact_ends_it_and_begins_the_mended_one() -> None:
    """The add that would have re-armed the old instance begins a new one."""
    again = fact(f.CartUpdated, NOON + MINUTE, item="hat", change="added")
    known = told(recalled=True)
    subject, facts = fold(arrived(), ANN, again, NOON + MINUTE, NOON + MINUTE, known)

    assert outcomes(facts) == ["recalled"]
    (instance,) = subject.instances
    assert instance.journey_version == known.definitions.journey_versions["cart"]
    assert instance.items == ("hat",)


def test_what_it_asked_for_is_withheld() -> None:
    """A candidate that waits for others is decided when its time comes, as one whose flow ended."""
    rules = {"decision_window_ms": 10 * MINUTE}
    subject, _ = fire(arrived(**rules), ANN, NOON + HOUR, told(recalled=False, **rules))
    assert len(subject.held) == 1

    subject, facts = fire(subject, ANN, NOON + HOUR + 10 * MINUTE, told(recalled=True, **rules))
    assert subject.held == ()
    assert outcomes(facts) == ["withhold left"]


def test_nothing_begins_by_it() -> None:
    """Where an old folder is still in force, it begins nothing that was recalled."""
    by = setting(policy(), OLD)
    by = dataclasses.replace(by, recalled=frozenset(by.definitions.journey_versions.values()))
    cart = fact(f.CartUpdated, NOON, item="boots", change="added")
    subject, facts = fold(NEW, ANN, cart, NOON, NOON, by)

    assert (subject.instances, facts) == ((), ())
