"""Laws of the gate where several flows want one person: caps, priority, a reason and a final word each."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.journey import Match
from ledger.policy import LAST_ONLY, Cap, Policy
from tests.property.test_journey_laws import Life
from tests.support.given import DAY, HOUR, MINUTE, NOON, SECOND, fact, journey, message, policy, setting

PRIORITIES = {"low": 10, "middle": 50, "high": 90}
WINDOW = 30 * SECOND


def flows(wait_ms: int = 0) -> list[Any]:
    """Three journeys that anything with their name begins."""
    return [
        journey(
            wait_ms=wait_ms,
            name=name,
            priority=priority,
            said=message(name=name),
            triggers=(Match(fact="CustomActivity", where={"name": name}, key="properties.n"),),
            exits=(),
        )
        for name, priority in PRIORITIES.items()
    ]


def reachable() -> list[f.SubjectFact]:
    """Somebody in Berlin who said yes long ago."""
    at = NOON - 100 * DAY
    return [
        fact(f.InstallationSeen, at, platform="ios", time_zone="Europe/Berlin"),
        fact(f.PermissionGranted, at, level="authorized"),
        fact(f.TokenRegistered, at, provider="console", token="t"),
    ]


def wants(moments: list[tuple[int, str]], rules: Policy) -> Life:
    """A life in which flows want to send at these seconds after noon."""
    life = Life(setting(rules, *flows())).live([(one, one.occurred_at) for one in reachable()])
    for number, (at, name) in enumerate(sorted(moments)):
        one = fact(f.CustomActivity, NOON + at * SECOND, name=name, properties={"n": str(number)})
        life.live([(one, one.occurred_at)])
    return life.pass_until(float("inf"))


MOMENTS = st.lists(st.tuples(st.integers(0, 4 * 86_400), st.sampled_from(sorted(PRIORITIES))), max_size=12)
RULES = st.builds(
    lambda most, gap, after: policy(
        caps=(Cap(max_pushes=most, window="rolling_day"),),
        decision_window_ms=WINDOW,
        min_gap_ms=gap * HOUR,
        after_hold=after,
    ),
    st.integers(1, 3),
    st.integers(0, 4),
    st.sampled_from([LAST_ONLY, "each"]),
)


@given(MOMENTS, RULES)
def test_a_cap_and_a_gap_are_never_broken(moments: list[tuple[int, str]], rules: Policy) -> None:
    """However many flows want the slot."""
    sends = [one.occurred_at for one in wants(moments, rules).decisions if one.verdict == "send"]

    for at in sends:
        assert sum(at - DAY < other <= at for other in sends) <= rules.caps[0].max_pushes
    gaps = [later - earlier for earlier, later in pairwise(sends)]
    assert all(gap >= rules.min_gap_ms for gap in gaps)


@given(MOMENTS, RULES)
def test_every_candidate_has_one_final_word_and_every_loser_a_reason(
    moments: list[tuple[int, str]], rules: Policy
) -> None:
    """Candidates = final decisions, once time has passed; nothing waits any longer."""
    life = wants(moments, rules)

    by_id: dict[str, list[f.PushDecided]] = {}
    for one in life.decisions:
        by_id.setdefault(one.decision_id, []).append(one)
    assert len(by_id) == len(moments)
    for revisions in by_id.values():
        assert [one.revision for one in revisions] == list(range(len(revisions)))
        assert [one.verdict == "hold" for one in revisions] == [True] * (len(revisions) - 1) + [False]
        assert (revisions[-1].reason is None) == (revisions[-1].verdict == "send")
    assert not life.subject.held


@given(st.permutations(sorted(PRIORITIES)), st.lists(st.integers(0, 29), min_size=3, max_size=3))
def test_within_the_window_the_most_important_wins(names: list[str], seconds: list[int]) -> None:
    """Not who came first."""
    rules = policy(caps=(Cap(max_pushes=1, window="rolling_day"),), decision_window_ms=WINDOW)
    first = min(seconds)
    within = [(second - first, name) for second, name in zip(seconds, names, strict=True)]

    decided = {one.journey: (one.verdict, one.reason) for one in wants(within, rules).decisions}

    assert decided == {
        "high": ("send", None),
        "middle": ("withhold", "frequency_policy"),
        "low": ("withhold", "frequency_policy"),
    }


def test_after_the_window_who_came_first_has_the_slot() -> None:
    """A decision is never taken back."""
    rules = policy(caps=(Cap(max_pushes=1, window="rolling_day"),), decision_window_ms=WINDOW)

    decided = [(one.journey, one.verdict) for one in wants([(0, "low"), (31, "high")], rules).decisions]

    assert decided == [("low", "send"), ("high", "withhold")]


def test_in_the_morning_one_of_the_held_goes() -> None:
    """The most important; of equals the latest. The others are superseded, and say so."""
    night = 10 * 3_600  # 22:00 UTC, 23:00 in Berlin
    rules = policy(decision_window_ms=WINDOW, after_hold=LAST_ONLY)
    moments = [(night, "middle"), (night + 600, "high"), (night + 1_200, "high"), (night + 1_800, "low")]

    finals = [one for one in wants(moments, rules).decisions if one.verdict != "hold"]

    assert [(one.journey, one.verdict, one.reason) for one in finals] == [
        ("high", "send", None),
        ("high", "withhold", "superseded"),
        ("middle", "withhold", "superseded"),
        ("low", "withhold", "superseded"),
    ]
    assert finals[0].candidate_at == NOON + (night + 1_200) * SECOND


def test_a_slot_comes_back_when_a_push_never_went_out() -> None:
    """Rejected, or withheld by the last look; what nobody knows stays used."""
    rules = policy(caps=(Cap(max_pushes=1, window="rolling_day"),))
    about = {"push_id": "p", "installation": "phone"}
    outcomes: dict[str, f.SubjectFact] = {
        "rejected": fact(
            f.PushRejected,
            NOON + MINUTE,
            **about,
            decision_id="",
            provider="apns",
            error_class="token_dead",
            error="x",
        ),
        "late": fact(f.PushWithheldLate, NOON + MINUTE, **about, decision_id="", reason="permission"),
        "unknown": fact(f.PushOutcomeUnknown, NOON + MINUTE, **about, decision_id="", reason="timeout"),
        "accepted": fact(f.PushAccepted, NOON + MINUTE, **about, decision_id="", provider="apns"),
    }
    for name, outcome in outcomes.items():
        life = Life(setting(rules, *flows())).live([(one, one.occurred_at) for one in reachable()])
        life.live([(one, NOON) for one in [fact(f.CustomActivity, NOON, name="low", properties={"n": "1"})]])
        life.pass_until(NOON + MINUTE)
        (sent,) = life.decisions
        told = type(outcome)(**{**_fields(outcome), "decision_id": sent.decision_id})
        life.live([(told, NOON + MINUTE)] * 2)
        more = fact(f.CustomActivity, NOON + HOUR, name="low", properties={"n": "2"})
        life.live([(more, NOON + HOUR)]).pass_until(float("inf"))

        assert (life.decisions[-1].verdict == "send") == (name in {"rejected", "late"}), name


def _fields(one: f.SubjectFact) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}
