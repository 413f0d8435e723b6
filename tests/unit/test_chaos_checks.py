"""The checkers of a chaos run catch what is planted, and a run without effect is void."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.journals import handed_over, read_notes, rebalances, taken_over, uncommitted, unfinished
from tests.chaos.judge import effect, reasons_to_be_void
from tests.chaos.pauses import longest_gaps, resumptions
from tests.chaos.plan import KINDS, SESSION_S, Fault, plan, scaled
from tests.chaos.report import sorted_objections
from tests.chaos.strike import Struck
from tests.support.promises import Said, Topics, not_adding_up, over_cap, revoked_before, shown_wrongly

DAY_MS = 86_400_000


def decided(number: int, verdict: str = "send", *, at: int = 0, subject: str = "s", **more: Any) -> Said:
    """A decision of a candidate; `number` names it and its instance."""
    fields = {
        "decision_id": f"d{number}",
        "instance": f"i{number}",
        "subject": subject,
        "verdict": verdict,
        "category": "marketing",
        "revision": 0,
        "occurred_at": at,
        "permissions_next": 0,
        "installations": ["phone"] if verdict == "send" else [],
    }
    return Said("PushDecided", fields | more)


def ended(number: int) -> Said:
    """The end of a journey instance in a candidate."""
    return Said("JourneyEnded", {"instance": f"i{number}", "outcome": "completed"})


def delivered(name: str, number: int) -> Said:
    """A delivery fact about the push of a decision."""
    fields = {"decision_id": f"d{number}", "push_id": f"p{number}", "installation": "phone", "app": "shop"}
    return Said(name, fields | {"subject": "s"})


def sent(*numbers: int) -> Topics:
    """Candidates that were decided, attempted and accepted, all in order."""
    return Topics(
        {
            "decisions": [said for n in numbers for said in (ended(n), decided(n, at=n))],
            "deliveries": [delivered(name, n) for n in numbers for name in ("PushAttempted", "PushAccepted")],
        }
    )


def permission(name: str, offset: int, appended: int, **more: Any) -> Said:
    """A fact of the ledger about one phone."""
    fields = {
        "event_id": f"e{offset}",
        "app": "shop",
        "installation": "phone",
        "subject": "s",
        "source": "device",
        "sequence": None,
        "occurred_at": appended,
    }
    return Said(name, fields | more, appended, 0, offset)


def test_a_good_run_has_nothing_to_object_to() -> None:
    """Sends within the cap, with an outcome each and shown once, pass every check."""
    topics = sent(1, 2, 3)

    assert over_cap(topics, 3, "rolling_day") == []
    assert not_adding_up(topics) == []
    assert shown_wrongly(topics, ["p1", "p2", "p3"]) == []


def refused(number: int, *, to: str | None) -> Said:
    """The refusal of a push for its address; the decision goes `to` another installation."""
    said = delivered("PushRejected", number)
    return Said(said.name, {**said.fields, "next_installation": to})


def beside(name: str, number: int, installation: str) -> Said:
    """A delivery fact about the push of a decision to another installation."""
    said = delivered(name, number)
    return Said(name, {**said.fields, "push_id": f"p{number}-{installation}", "installation": installation})


def test_a_push_that_is_passed_on_ends_where_it_goes_to_and_keeps_its_slot() -> None:
    """One outcome for each installation; four such in a day are over a cap of three like any others."""
    topics = sent(1, 2, 3, 4)
    topics.by_topic["deliveries"] = [
        said for n in (1, 2, 3, 4) for said in (refused(n, to="tablet"), beside("PushAttempted", n, "tablet"))
    ]
    assert len(not_adding_up(topics)) == 4, "the tablets have no outcome yet"
    topics["deliveries"].extend(beside("PushAccepted", n, "tablet") for n in (1, 2, 3, 4))
    assert not_adding_up(topics) == []
    assert over_cap(topics, 3, "rolling_day") != []
    assert over_cap(topics, 4, "rolling_day") == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([refused(1, to="phone")], "was chosen twice"),
        ([refused(1, to=None), beside("PushAccepted", 1, "tablet")], "which nobody decided"),
        ([delivered("PushAccepted", 1), beside("PushAccepted", 1, "tablet")], "may have been shown 2 times"),
        ([delivered("PushOutcomeUnknown", 1), beside("PushAccepted", 1, "tablet")], "may have been shown"),
        ([refused(1, to="tablet")], "has 0 outcomes"),
    ],
)
def test_a_push_that_is_passed_on_wrongly_is_found(more: list[Said], words: str) -> None:
    """To the same one, to one that nobody chose, after it may have been shown, or to nowhere."""
    topics = sent(1)
    topics.by_topic["deliveries"] = more
    assert any(words in one for one in not_adding_up(topics))


def test_only_marketing_is_passed_on() -> None:
    """A transactional push goes to all installations anyway."""
    topics = sent(1)
    topics.by_topic["decisions"] = [ended(1), decided(1, category="transactional")]
    topics.by_topic["deliveries"] = [refused(1, to="tablet"), beside("PushAccepted", 1, "tablet")]
    assert any("no marketing" in one for one in not_adding_up(topics))


def test_a_fourth_send_within_a_day_is_over_the_cap() -> None:
    """Four in a day are objected to; the fourth a day after the first is not."""
    fourth_at = {True: 3 + DAY_MS - 4, False: 1 + DAY_MS}

    for over, at in fourth_at.items():
        topics = sent(1, 2, 3)
        topics["decisions"].append(decided(4, at=at))
        assert bool(over_cap(topics, 3, "rolling_day")) is over


def test_a_slot_that_was_given_back_does_not_count() -> None:
    """A push that was withheld at the last moment leaves room for another."""
    topics = sent(1, 2, 3)
    topics["decisions"].append(decided(4, at=4))
    topics["deliveries"][1] = delivered("PushWithheldLate", 1)

    assert over_cap(topics, 3, "rolling_day") == []


def test_the_subjects_own_choice_is_a_cap_too() -> None:
    """Who wants one push a week gets no second one, if the decision could know of the wish."""
    for known, objections in ((1, 1), (0, 0)):
        topics = sent(1)
        topics["decisions"].append(decided(2, at=2, permissions_next=known))
        topics.by_topic["permissions"] = [
            permission("FrequencyChosen", 0, 1, max_pushes=1, window="rolling_week")
        ]
        assert len(over_cap(topics, 3, "rolling_day")) == objections


@pytest.mark.parametrize(
    ("topic", "said", "words"),
    [
        ("decisions", ended(2), "has 0 decisions"),
        ("decisions", decided(2, "withhold"), "had no candidate"),
        ("decisions", decided(1, "withhold"), "is final 2 times"),
        ("deliveries", delivered("PushRejected", 1), "has 2 outcomes"),
        ("deliveries", delivered("PushAccepted", 2), "which nobody decided"),
    ],
)
def test_what_does_not_add_up_is_found(topic: str, said: Said, words: str) -> None:
    """A lost candidate, one out of nowhere, a second final decision, a second outcome, one too many."""
    topics = sent(1)
    topics[topic].append(said)

    assert any(words in objection for objection in not_adding_up(topics))


def test_a_send_without_an_outcome_is_found() -> None:
    """A send whose push nobody heard of again does not pass."""
    topics = sent(1)
    del topics["deliveries"][1]

    assert any("has 0 outcomes" in objection for objection in not_adding_up(topics))


def test_a_held_candidate_is_pending() -> None:
    """Candidates are final or pending: a hold at the end is neither lost nor wrong."""
    topics = sent(1)
    topics["decisions"].extend([ended(2), decided(2, "hold")])

    assert not_adding_up(topics) == []


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (["p1", "p1", "p2"], "was shown 2 times"),
        (["p1", "p2", "p3"], "never attempted"),
        (["p1"], "accepted and not shown"),
        (["p1", "p2", "p4"], "withheld and shown"),
    ],
)
def test_what_phones_showed_wrongly_is_found(shown: list[str], words: str) -> None:
    """A second copy, a push out of nowhere, one that vanished, one that had been withheld."""
    topics = sent(1, 2)
    topics["deliveries"].extend([delivered("PushAttempted", 4), delivered("PushWithheldLate", 4)])

    assert any(words in objection for objection in shown_wrongly(topics, shown))


@pytest.mark.parametrize(("handed_at", "objections"), [(4_500, 0), (5_500, 1)])
def test_a_push_more_than_a_lease_after_a_revocation_is_found(handed_at: int, objections: int) -> None:
    """A revocation of 2,000 ms beats a hand-over whose barrier began, at the earliest, after it."""
    topics = sent(1)
    topics.by_topic["permissions"] = [
        permission("PermissionGranted", 0, 1_000, level="authorized"),
        permission("PermissionRevoked", 1, 2_000, cause="os_settings"),
    ]

    assert len(revoked_before(topics, {"p1": handed_at}, lease_ms=3_000)) == objections


def test_notes_tell_what_a_kill_left_unfinished(tmp_path: Path) -> None:
    """What a process began and did not end is unfinished; other processes and ended work are not."""
    (tmp_path / "journeys-0.journal").write_text(
        "1 7 claim a/0\n2 7 begin a/0\n3 7 end a/0\n4 7 begin a/1\n5 7 written a/1\n"
        "6 7 written a/0\n7 7 committing a/0\n9 7 begin a/0\n9 8 begin a/5\n"
    )
    (tmp_path / "journeys-1.journal").write_text("1500 9 claim a/2\n1600 9 claim a/3\n9000 9 hand p1,p2\n")
    notes = read_notes(tmp_path)

    assert unfinished(notes, 7) == ["a/1", "a/0"]
    assert uncommitted(notes, 7) == ["a/1"]
    assert taken_over(notes, "journeys-0", 0, 1_550) == ["a/2"]
    assert taken_over(notes, "delivery-0", 0, 1_550) == []
    assert rebalances(notes, 0, 10_000) == 2
    assert handed_over(notes) == {"p1": 9_000, "p2": 9_000}


def test_a_pause_is_a_gap_that_overlaps_the_fault() -> None:
    """Gaps before and after the span don't count, nor do short ones."""
    times = {("changelog", 0): [0, 5_000, 5_100, 9_000, 9_900], ("changelog", 1): [0, 900, 1_800, 9_500]}

    assert longest_gaps(times, 5_050, 6_000) == [3_900, 7_700]
    assert longest_gaps(times, 9_600, 9_700) == []


def test_a_partition_resumes_only_if_it_stood_still() -> None:
    """Counted from when the node is back; a partition that moved right before it was not waiting."""
    times = {("changelog", 0): [0, 5_000], ("changelog", 1): [3_500, 4_500], ("changelog", 2): [0]}

    assert resumptions(times, 4_000) == [1_000]


def test_a_plan_repeats_with_its_seed() -> None:
    """The same seed gives the same faults; another one others; all counts are kept."""
    counts = dict.fromkeys(KINDS, 3)
    faults = plan(1, counts, 600)

    assert faults == plan(1, counts, 600) != plan(2, counts, 600)
    assert Counter(fault.kind for fault in faults) == counts
    assert all(fault.hold_s > SESSION_S for fault in faults if fault.kind.startswith("freeze"))
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)


def test_a_plan_is_scaled_with_all_its_kinds() -> None:
    """A shorter or longer run keeps the mixture."""
    counts = {"kill": 10, "freeze": 5, "broker_kill": 1}

    assert scaled(counts, 8) == {"kill": 5, "freeze": 2, "broker_kill": 1}
    assert scaled(counts, 32) == {"kill": 20, "freeze": 10, "broker_kill": 2}


GOOD = Counter(
    {
        "kills that hit unfinished chunks": 2,
        "aborted transactions": 1,
        "freezes": 1,
        "freezes longer than the session": 1,
        "facts acknowledged": 1,
        "pushes shown": 1,
        "withheld by a cap": 1,
    }
)
FROZEN = [Struck(Fault("freeze", 0, 9, 0), 0, 9_000, "journeys-0", held_s=9)]


def test_a_run_with_effect_is_not_void() -> None:
    """Enough hits, aborted transactions and a long freeze prove something."""
    assert reasons_to_be_void(FROZEN, GOOD, hits_min=2) == []


@pytest.mark.parametrize("figure", [figure for figure in GOOD if figure != "freezes"])
def test_a_run_without_effect_is_void(figure: str) -> None:
    """Each figure that is needed is missed when it is not there."""
    lacking = GOOD.copy()
    lacking[figure] = 0

    assert len(reasons_to_be_void(FROZEN, lacking, hits_min=1)) == 1


def test_only_freezes_that_came_about_and_were_long_enough_count() -> None:
    """A freeze that nobody came by for is no freeze, and a short one is seen."""
    missed = Struck(Fault("freeze_at", 0, 9, 0), 0, 0, "delivery", missed="nobody came by")
    short = Struck(Fault("freeze", 0, 9, 0), 0, 5_000, "journeys-0", held_s=5)

    counts = effect([missed, short], [])

    assert (counts["freezes"], counts["freezes longer than the session"]) == (1, 0)


def test_objections_are_sorted_by_what_was_broken() -> None:
    """The report's figures come from the checkers' own words."""
    words = ["e1 is lost", "push p was shown 2 times", "s: 4 sends in a rolling_day", "something else"]

    assert sorted_objections(words) == {
        "lost": 1,
        "doubled": 1,
        "over cap": 1,
        "sent against consent": 0,
        "wrong": 1,
    }
