"""What operators tell a partition: folded like any other input, whatever comes twice or out of turn."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import control as c
from ledger import facts as f
from ledger import subject
from ledger.control import NOTHING, Control, hear
from processors.agents.subject_rows import ROWS
from tests.support.given import NOON, fact


def told(kind: type[f.ControlFact], at: int = NOON, **fields: Any) -> f.ControlFact:
    """A control fact."""
    known = {"event_id": f"{kind.__name__}-{at}", "app": "optin", "occurred_at": at, "source": "server"}
    return kind(**{**known, **fields})


def launched(name: str = "spring", **fields: Any) -> f.ControlFact:
    """A launch."""
    return told(f.CampaignLaunched, **{"launch": name, "campaign_version": "v", "dry_run": False, **fields})


def after(*facts: f.ControlFact) -> Control:
    """The row after these."""
    row = NOTHING
    for number, one in enumerate(facts):
        row = hear(row, one, NOON + number)
    return row


def test_the_latest_activation_counts() -> None:
    """Also when an earlier one is appended once more after it."""
    first = told(f.DefinitionsActivated, NOON, policy_version="p1", journey_versions=("j1",))
    second = told(f.DefinitionsActivated, NOON + 1, policy_version="p2", journey_versions=("j1", "j2"))

    row = after(first, second, first)

    assert (row.policy_version, row.journey_versions) == ("p2", ("j1", "j2"))


def test_a_recalled_version_stays_so_until_it_is_put_in_force_again() -> None:
    """A second copy changes nothing, nor does one that is older than what is in force."""
    began = told(f.DefinitionsActivated, NOON, policy_version="p1", journey_versions=("j1",))
    mended = told(f.DefinitionsActivated, NOON + 1, policy_version="p1", journey_versions=("j2",))
    recalled = told(f.DefinitionsRecalled, NOON + 2, versions=("j1", "j0"))
    row = after(began, mended, recalled)
    back = told(f.DefinitionsActivated, NOON + 3, policy_version="p1", journey_versions=("j1",))

    assert row.recalled == ("j1", "j0")
    assert hear(row, recalled, NOON + 9) is row
    assert hear(hear(row, back, NOON), recalled, NOON).recalled == ("j0",)


def test_a_launch_counts_once() -> None:
    """A second copy, and a second launch of the same id, change nothing."""
    row = after(launched())

    assert hear(row, launched(), NOON + 9) is row
    assert [(one.launch, one.state) for one in row.launches] == [("spring", "running")]


STEERED: dict[str, tuple[list[type[f.ControlFact]], str]] = {
    "paused": ([f.CampaignPaused], "paused"),
    "resumed": ([f.CampaignPaused, f.CampaignResumed], "running"),
    "resumed without a pause": ([f.CampaignResumed], "running"),
    "cancelled": ([f.CampaignCancelled], "cancelled"),
    "cancelled while paused": ([f.CampaignPaused, f.CampaignCancelled], "cancelled"),
    "resumed after the end": ([f.CampaignCancelled, f.CampaignResumed], "cancelled"),
}


@pytest.mark.parametrize("name", STEERED)
def test_a_launch_is_steered(name: str) -> None:
    """Stopped, continued, ended for good; another launch is left alone."""
    kinds, state = STEERED[name]
    row = after(launched(), launched("autumn"), *(told(kind, launch="spring") for kind in kinds))

    assert [one.state for one in row.launches] == [state, "running"]
    assert c.wake_at(after(launched(), told(f.CampaignPaused, launch="spring"))) is None


def test_ended_launches_give_way() -> None:
    """A running one never does, so that it can't be launched twice."""
    ended = [
        one
        for n in range(c.LAUNCHES_MAX)
        for one in (launched(f"l{n}"), told(f.CampaignCancelled, launch=f"l{n}"))
    ]

    row = after(launched("first"), *ended, launched("last"))

    names = [one.launch for one in row.launches]
    assert len(names) == c.LAUNCHES_MAX
    assert (names[0], names[-1], "l0" in names) == ("first", "last", False)


def test_a_question_waits_to_be_counted() -> None:
    """Asked twice it is counted once; too many at a time push out the oldest."""
    asked = [
        told(f.AudienceAsked, request=f"r{n}", rule="true", sample_max=1) for n in range(c.QUESTIONS_MAX + 1)
    ]

    row = after(asked[0], *asked)

    assert [one.request for one in row.questions] == [f"r{n}" for n in range(1, c.QUESTIONS_MAX + 1)]
    assert c.wake_at(row) == 0


def test_the_row_stands_beside_those_of_subjects() -> None:
    """The first byte tells them apart, for the row and for its timer."""
    for row in (NOTHING, after(launched(), told(f.AudienceAsked, request="r", rule="true", sample_max=1))):
        raw = ROWS.encode(row)
        assert ROWS.decode(raw) == row
        assert ROWS.wake_at_encoded(raw) == ROWS.wake_at(row)
    for subjects in (subject.NEW, subject.Subject(begun=tuple(range(20)))):
        raw = ROWS.encode(subjects)
        assert not c.is_control(raw)
        assert ROWS.decode(raw) == subjects


def test_nothing_but_control_is_control() -> None:
    """A fact of a subject on that topic is a dead letter; the type says so."""
    assert not isinstance(fact(f.AppOpened), f.ControlFact)
