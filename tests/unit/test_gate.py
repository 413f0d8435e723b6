"""The gate's examples: for each check one candidate that it stops and one that it lets pass.

`test_gate_mutations.py` runs this file once for each check with that check replaced by "pass".
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger.gate import CHECKS, decide
from ledger.policy import Cap, Ramp
from ledger.snapshot import Snapshot
from tests.support.given import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    ZONES,
    consent_view,
    installation,
    policy,
    snapshot,
)

NIGHT = NOON + 10 * HOUR  # 23:00 in Berlin
MORNING = NOON + 19 * HOUR  # 08:00 in Berlin


def view(**changes: Any) -> Snapshot:
    """A candidate whose subject's consent differs in something."""
    return snapshot(consent_view(**changes))


def phone(**changes: Any) -> Snapshot:
    """A candidate whose only installation differs in something."""
    return snapshot(consent_view(installation(**changes)))


RULES = policy(
    min_gap_ms=HOUR,
    ramp=Ramp(for_ms=14 * DAY, max_pushes=1, window="rolling_week", opens=1),
    after_purchase_ms=6 * HOUR,
    item_news_ms=DAY,
    suppression_ms={"open_ticket": 7 * DAY},
    transactional_cap=Cap(max_pushes=3, window="rolling_day"),
)
"""Every rule that a policy can have."""


def receipt(**changes: Any) -> Snapshot:
    """A transactional candidate."""
    return snapshot(**{"category": "transactional", "message": "receipt", **changes})


WITHHELD = {
    "erased": view(erased=True),
    "suppressed": view(suppressions=(("legal", -1),)),
    "unreadable_fact": view(unreadable=1),
    "permission": phone(permission="denied", token_live=True),
    "token": phone(token_live=False),
    "topic": view(topic_on=False),
    "paused": view(pause_until=NOON + 1),
    "unknown_time_zone": phone(time_zone=None, country=None),
    "frequency_policy": snapshot(contacts=(NOON - 2 * HOUR, NOON - HOUR)),
    "frequency_choice": snapshot(consent_view(frequency=(1, "rolling_week")), contacts=(NOON - 3 * DAY,)),
    "category": receipt(message="offer"),
    "text": snapshot(text_missing="attributes.name"),
    "stale": snapshot(news_at=NOON - DAY - 1),
    "recent_purchase": snapshot(last_order=NOON - 6 * HOUR + 1),
    "ramp": snapshot(consent_view(installation(since=NOON - 13 * DAY)), contacts=(NOON - 2 * DAY,)),
    "min_gap": snapshot(contacts=(NOON - HOUR + 1,)),
    "transactional_rate": receipt(contacts=(NOON - 3, NOON - 2, NOON - 1)),
}


@pytest.mark.parametrize("reason", WITHHELD)
def test_a_failed_check_withholds_by_its_name(reason: str) -> None:
    """Each check but the last two names the reason when it alone fails."""
    decision = decide(WITHHELD[reason], RULES, ZONES, NOON)

    assert (decision.verdict, decision.reason) == ("withhold", reason)


NEARLY = {
    "category": receipt(),
    "stale": snapshot(news_at=NOON - DAY),
    "recent_purchase": snapshot(last_order=NOON - 6 * HOUR),
    "the ramp, after an open": snapshot(
        consent_view(installation(since=NOON - 13 * DAY)), contacts=(NOON - 2 * DAY,), opens=1
    ),
    "the ramp, after two weeks": snapshot(
        consent_view(installation(since=NOON - 14 * DAY)), contacts=(NOON - 2 * DAY,)
    ),
    "the ramp, within its cap": snapshot(consent_view(installation(since=NOON - DAY))),
    "min_gap": snapshot(contacts=(NOON - HOUR,)),
    "transactional_rate": receipt(contacts=(NOON - DAY, NOON - 2, NOON - 1)),
    "a suppression whose time is over": view(
        suppressions=(("open_ticket", -1),), suppressed_since=(NOON - 7 * DAY,)
    ),
}


@pytest.mark.parametrize("name", NEARLY)
def test_at_its_limit_a_check_lets_pass(name: str) -> None:
    """One step before what `WITHHELD` shows."""
    assert decide(NEARLY[name], RULES, ZONES, NOON).verdict == "send"


def test_a_suppression_holds_for_as_long_as_policy_lets_it() -> None:
    """Given no end, it ends by its reason's time-out; another reason holds for ever."""
    for since, reason, withheld in (
        (NOON - 7 * DAY + 1, "open_ticket", True),
        (NOON - 100 * DAY, "legal", True),
        (NOON - 100 * DAY, "open_ticket", False),
    ):
        candidate = view(suppressions=((reason, -1),), suppressed_since=(since,))
        assert (decide(candidate, RULES, ZONES, NOON).reason == "suppressed") is withheld


def test_a_flow_that_ended_while_its_push_was_held_sends_nothing() -> None:
    """By its goal or otherwise; and where another held push goes, this one does not."""
    assert decide(snapshot(left_as="emptied"), RULES, ZONES, NOON).reason == "left"
    assert decide(snapshot(superseded=True), RULES, ZONES, NOON).reason == "superseded"
    assert decide(snapshot(superseded=True, holdout=True), RULES, ZONES, NOON).verdict == "hold_out"


def test_what_another_held_push_took_the_place_of_says_so() -> None:
    """Not that the gap to that push is too small; but what would withhold it anyway comes first."""
    just_now = snapshot(superseded=True, contacts=(NOON,))

    decision = decide(just_now, RULES, ZONES, NOON)

    assert "min_gap" in {check.name for check in decision.checks if not check.passed}
    assert decision.reason == "superseded"
    assert decide(msgspec.structs.replace(just_now, contacts=()), RULES, ZONES, NOON).reason == "superseded"
    assert decide(snapshot(contacts=(NOON,)), RULES, ZONES, NOON).reason != "superseded"
    gone = view(erased=True)
    assert decide(msgspec.structs.replace(gone, superseded=True), RULES, ZONES, NOON).reason == "erased"


def test_everything_passes() -> None:
    """A reachable person at noon gets the push, on the installation that is named."""
    decision = decide(snapshot(), policy(), ZONES, NOON)

    assert (decision.verdict, decision.reason) == ("send", None)
    assert decision.installations == ("shop/phone",)
    assert [check.name for check in decision.checks] == list(CHECKS)
    assert all(check.passed for check in decision.checks)


def test_every_check_runs_whatever_failed_before() -> None:
    """The results of all checks are recorded, in the order of the table."""
    decision = decide(view(erased=True, topic_on=False), policy(), ZONES, NOON)

    assert [check.name for check in decision.checks] == list(CHECKS)
    assert {check.name for check in decision.checks if not check.passed} == {"erased", "topic"}


def test_the_first_failed_check_is_the_reason() -> None:
    """The order of the table decides between several reasons."""
    failing = view(suppressions=(("legal", -1),), topic_on=False, pause_until=-1)

    assert decide(failing, policy(), ZONES, NOON).reason == "suppressed"


def test_quiet_hours_hold_until_they_end() -> None:
    """At 23:00 in Berlin the candidate waits until 08:00 there."""
    decision = decide(snapshot(), policy(), ZONES, NIGHT)

    assert (decision.verdict, decision.hold_until) == ("hold", MORNING)


def test_a_held_out_candidate_is_held_out_even_at_night() -> None:
    """A failed holdout comes before quiet hours, and after every other reason."""
    out = snapshot(holdout=True)

    assert decide(out, policy(), ZONES, NOON).verdict == "hold_out"
    assert decide(out, policy(), ZONES, NIGHT).verdict == "hold_out"
    stopped = snapshot(consent_view(topic_on=False), holdout=True)
    assert decide(stopped, policy(), ZONES, NIGHT).reason == "topic"


def test_a_met_goal_withholds() -> None:
    """What was ordered meanwhile needs no reminder."""
    decision = decide(snapshot(goal_met=True), policy(), ZONES, NOON)

    assert (decision.verdict, decision.reason) == ("withhold", "goal_met")


@pytest.mark.parametrize("permission", ["pre_granted", "not_determined", "ephemeral"])
def test_marketing_needs_a_permission_that_somebody_gave(permission: str) -> None:
    """An upgraded Android's permission is nobody's choice; undecided is no yes."""
    assert decide(phone(permission=permission), policy(), ZONES, NOON).reason == "permission"


def test_transactional_pushes_go_to_all_installations_that_deliver() -> None:
    """They may use a pre-granted permission, ignore marks, topics, caps and the night, and go everywhere."""
    both = consent_view(
        installation(key="shop/phone", permission="pre_granted"),
        installation(key="shop/tablet"),
        topic_on=False,
        frequency=(0, "rolling_day"),
        unreadable=1,
    )
    candidate = receipt(consent=both, contacts=(NIGHT - 2, NIGHT - 1), holdout=True, last_order=NIGHT - 1)

    decision = decide(candidate, RULES, ZONES, NIGHT)

    assert decision.verdict == "send"
    assert decision.installations == ("shop/phone", "shop/tablet")


def test_marketing_goes_to_the_most_recently_active_reachable_installation() -> None:
    """Neither the first nor the last active one without a token."""
    three = consent_view(
        installation(key="shop/a"),
        installation(key="shop/b"),
        installation(key="shop/c", token_live=False),
    )

    decision = decide(snapshot(three, last_active=(1, 2, 3)), policy(), ZONES, NOON)

    assert decision.installations == ("shop/b",)


def test_a_pause_or_suppression_ends_at_its_time() -> None:
    """Until then it holds, from then on it does not; -1 has no end."""
    assert decide(view(pause_until=NOON), policy(), ZONES, NOON).verdict == "send"
    assert decide(view(pause_until=-1), policy(), ZONES, NOON).reason == "paused"
    ended = view(suppressions=(("bounced", NOON),))
    assert decide(ended, policy(), ZONES, NOON).verdict == "send"


def test_a_topic_that_nobody_chose_is_as_the_policy_says() -> None:
    """Subscribed by policy, or not; a choice counts more."""
    assert decide(snapshot(), policy(topics_on=()), ZONES, NOON).reason == "topic"
    assert decide(view(topic_on=True), policy(topics_on=()), ZONES, NOON).verdict == "send"


def test_rolling_and_calendar_windows_count_differently() -> None:
    """23 hours ago is yesterday: inside the rolling day, outside the calendar day."""
    rolling = policy(caps=(Cap(max_pushes=1, window="rolling_day"),))
    calendar = policy(caps=(Cap(max_pushes=1, window="calendar_day"),))
    yesterday = snapshot(contacts=(NOON - 23 * HOUR,))

    assert decide(yesterday, rolling, ZONES, NOON).reason == "frequency_policy"
    assert decide(yesterday, calendar, ZONES, NOON).verdict == "send"
    assert decide(yesterday, rolling, ZONES, NOON + HOUR).verdict == "send"


def test_the_persons_own_quiet_hours_replace_the_policys() -> None:
    """Silent from 12 to 14 in Berlin, and not at night."""
    own = view(quiet=(12 * 60, 14 * 60))

    held = decide(own, policy(), ZONES, NOON)  # 13:00 in Berlin

    assert (held.verdict, held.hold_until) == ("hold", NOON + HOUR)
    assert decide(own, policy(), ZONES, NIGHT).verdict == "send"


def test_a_country_with_several_zones_is_open_only_where_all_are() -> None:
    """In the United States 12:00 UTC is night in Honolulu; it opens when the last zone does."""
    somewhere = phone(time_zone=None, country="US")

    decision = decide(somewhere, policy(), ZONES, NOON + 2 * HOUR)

    assert decision.verdict == "hold"
    # Adak and Honolulu are at UTC-10 in winter: 08:00 there is 18:00 UTC.
    assert decision.hold_until == NOON + 6 * HOUR


def test_zones_that_are_never_open_together_are_an_unknown_time_zone() -> None:
    """Quiet hours of 23 hours in zones six hours apart leave no minute for everybody."""
    apart = policy(zones_otherwise=("Europe/Berlin", "America/New_York"))
    candidate = snapshot(
        consent_view(installation(time_zone=None, country=None), quiet=(13 * 60, 12 * 60 + 30))
    )

    assert decide(candidate, apart, ZONES, NOON).reason == "unknown_time_zone"


def test_a_push_is_too_late_when_quiet_hours_begin() -> None:
    """Decided at 21:50 in Berlin, it must not arrive at 22:05; a transactional one may."""
    evening = NOON + 9 * HOUR - 10 * MINUTE

    assert decide(snapshot(), policy(), ZONES, evening).send_before == evening + 10 * MINUTE
    assert decide(snapshot(), policy(), ZONES, NOON).send_before == NOON + 15 * MINUTE
    assert decide(snapshot(), policy(quiet_hours=None), ZONES, evening).send_before == evening + 15 * MINUTE
    urgent = snapshot(category="transactional")
    assert decide(urgent, policy(), ZONES, evening).send_before == evening + 15 * MINUTE


def test_the_end_of_a_hold_lets_pass() -> None:
    """Asked again at the end of the hold, the quiet hours are over."""
    held = decide(snapshot(), policy(), ZONES, NIGHT)
    assert held.hold_until is not None

    assert decide(snapshot(), policy(), ZONES, held.hold_until).verdict == "send"
    assert decide(snapshot(), policy(), ZONES, held.hold_until - MINUTE).verdict == "hold"
