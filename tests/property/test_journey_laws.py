"""Laws of the journey machine and the gate over whole histories of one subject."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.consent_fold import effective_time
from ledger.fold import fold
from ledger.journeys import fire
from ledger.policy import Cap, Policy
from ledger.setting import Setting
from ledger.subject import NEW, RECENT_IDS_MAX, Subject, decode, encode, wake_at, wake_at_encoded
from ledger.verify import LedgerFact, objections
from tests.support.fact_strategies import CONSENT_FACTS, Dated
from tests.support.given import ANN, DAY, HOUR, MINUTE, NOON, ZONES, fact, policy, setting

ZONE = "Europe/Berlin"
ITEMS = st.sampled_from(["boots", "scarf", "hat"])


@dataclasses.dataclass
class Life:
    """Folds facts in time order and fires what is due in between, as a lane does."""

    setting: Setting
    subject: Subject = NEW
    said: tuple[f.SubjectFact, ...] = ()

    def live(self, facts: Iterable[Dated]) -> Life:
        """Everything, up to the last fact."""
        for one, appended in facts:
            self.pass_until(one.occurred_at)
            step = fold(self.subject, ANN, one, appended, one.occurred_at, self.setting)
            self.subject, self.said = step[0], self.said + step[1]
        return self

    def pass_until(self, instant: float) -> Life:
        """Let everything fire that is due before `instant`; infinity empties the timers."""
        while (due := wake_at(self.subject)) is not None and due < instant:
            self.subject, facts = fire(self.subject, ANN, due, self.setting)
            self.said += facts
        return self

    @property
    def decisions(self) -> list[f.PushDecided]:
        """All decisions so far."""
        return [one for one in self.said if isinstance(one, f.PushDecided)]


@st.composite
def shoppers(draw: st.DrawFn, days: int = 20) -> list[Dated]:
    """A reachable person who fills carts, orders, and changes preferences, in the order of time."""
    start = [
        fact(f.InstallationSeen, NOON, platform="ios", time_zone=ZONE),
        fact(f.PermissionGranted, NOON, level="authorized"),
        fact(f.TokenRegistered, NOON, provider="console", token="t"),
    ]
    moments = draw(st.lists(st.integers(1, days * 48), max_size=30))
    facts: list[f.SubjectFact] = []
    for number, moment in enumerate(sorted(moments)):
        at = NOON + moment * 30 * MINUTE
        match draw(st.integers(0, 7)):
            case 0:
                ordered = (draw(ITEMS),)
                facts.append(fact(f.OrderPlaced, at, order_id=f"o{number}", items=ordered))
            case 1:
                window = draw(st.sampled_from(f.WINDOWS))
                facts.append(fact(f.FrequencyChosen, at, max_pushes=draw(st.integers(0, 3)), window=window))
            case 2:
                hours = {"start_minute": draw(st.integers(0, 1439)), "end_minute": draw(st.integers(0, 1439))}
                facts.append(fact(f.QuietHoursChosen, at, **hours))
            case _:
                facts.append(fact(f.CartUpdated, at, item=draw(ITEMS), change="added"))
    return [(one, one.occurred_at) for one in [*start, *facts]]


POLICIES = st.builds(
    lambda caps: policy(caps=tuple(caps)),
    st.lists(
        st.builds(Cap, max_pushes=st.integers(1, 3), window=st.sampled_from(f.WINDOWS)),
        min_size=1,
        max_size=3,
    ),
)


def in_window(sends: list[int], at: int, window: str) -> int:
    """How many of `sends` lie in the window that ends at `at`, counted with plain calendars."""
    spans = {"rolling_day": DAY, "rolling_week": 7 * DAY, "rolling_month": 30 * DAY}
    if window in spans:
        return sum(at - spans[window] < send <= at for send in sends)
    pattern = {"calendar_day": "%Y-%m-%d", "calendar_week": "%G-%V", "calendar_month": "%Y-%m"}[window]

    def name(instant: int) -> str:
        local = datetime.fromtimestamp(instant / 1000, tz=UTC).astimezone(ZoneInfo(ZONE))
        return local.strftime(pattern)

    return sum(name(send) == name(at) for send in sends if send <= at)


@given(shoppers(), POLICIES)
def test_caps_are_never_exceeded(facts: list[Dated], rules: Policy) -> None:
    """At each send, no window of the policy or of the person's own choice holds more than it may."""
    life = Life(setting(rules)).live(facts).pass_until(float("inf"))

    sends = [decision.occurred_at for decision in life.decisions if decision.verdict == "send"]
    for at in sends:
        for cap in rules.caps:
            assert in_window(sends, at, cap.window) <= cap.max_pushes
        chosen = [one for one, _ in facts if isinstance(one, f.FrequencyChosen) and one.occurred_at <= at]
        if chosen:
            latest = max(chosen, key=lambda one: (one.occurred_at, -one.max_pushes, one.window))
            assert in_window([send for send in sends if send <= at], at, latest.window) <= latest.max_pushes


@given(shoppers(), POLICIES)
def test_every_candidate_gets_one_final_decision(facts: list[Dated], rules: Policy) -> None:
    """Revisions count up from 0, all but the last are holds, and what is left open is nothing."""
    life = Life(setting(rules)).live(facts).pass_until(float("inf"))

    started = [one.instance for one in life.said if isinstance(one, f.JourneyStarted)]
    ended = [one for one in life.said if isinstance(one, f.JourneyEnded)]
    candidates = {one.instance for one in ended if one.outcome == "completed"}
    assert sorted(started) == sorted(one.instance for one in ended)
    by_instance: dict[str, list[f.PushDecided]] = {}
    for decision in life.decisions:
        by_instance.setdefault(decision.instance, []).append(decision)
    assert by_instance.keys() == candidates
    for decisions in by_instance.values():
        assert [one.revision for one in decisions] == list(range(len(decisions)))
        assert [one.verdict == "hold" for one in decisions] == [True] * (len(decisions) - 1) + [False]
    assert not life.subject.instances
    assert not life.subject.held


@given(shoppers(), st.lists(CONSENT_FACTS, max_size=10), POLICIES)
def test_every_decision_can_be_derived_again(facts: list[Dated], consent: list[Dated], rules: Policy) -> None:
    """decide(snapshot) gives the verdict, and the fold up to the cited offsets the consent in it."""
    everything = sorted([*facts, *consent], key=lambda dated: dated[0].occurred_at)
    life = Life(setting(rules))
    ledger: list[LedgerFact] = []
    for one, appended in everything:
        life.pass_until(one.occurred_at)
        life.live([(one, appended)])
        ledger.append((one, "permissions", len(ledger), appended))
        life.setting = dataclasses.replace(life.setting, permissions_next=len(ledger))
    life.pass_until(float("inf"))

    for decision in life.decisions:
        assert objections(decision, rules, ZONES, reversed(ledger)) == []


@given(shoppers(days=3), st.integers(0, 40))
def test_replaying_a_prefix_changes_nothing_and_says_nothing(facts: list[Dated], length: int) -> None:
    """Facts that come again, as after a producer's retry, start and decide nothing new."""
    kept = [dated for dated in facts if not isinstance(dated[0], f.CartUpdated | f.OrderPlaced)]
    kept += [d for d in facts if isinstance(d[0], f.CartUpdated | f.OrderPlaced)][:RECENT_IDS_MAX]
    kept.sort(key=lambda dated: dated[0].occurred_at)
    life = Life(setting()).live(kept)
    subject, said, now = life.subject, life.said, kept[-1][0].occurred_at

    for one, appended in kept[:length]:
        life.subject, facts_said = fold(life.subject, ANN, one, appended, now, life.setting)
        life.said += facts_said

    assert life.subject == subject
    assert life.said == said


@given(shoppers(), POLICIES)
def test_a_row_survives_its_encoding(facts: list[Dated], rules: Policy) -> None:
    """What a lane writes to its changelog it reads back, and equal rows are equal bytes."""
    life = Life(setting(rules)).live(facts)

    assert decode(encode(life.subject)) == life.subject
    assert encode(decode(encode(life.subject))) == encode(life.subject)
    assert wake_at_encoded(encode(life.subject)) == wake_at(life.subject)


@given(shoppers())
def test_the_same_facts_give_the_same_ids(facts: list[Dated]) -> None:
    """A second run of the machine says exactly the same, ids and snapshots included."""
    first = Life(setting()).live(facts).pass_until(float("inf"))
    second = Life(setting()).live(facts).pass_until(float("inf"))

    assert [*map(msgspec.json.encode, first.said)] == [*map(msgspec.json.encode, second.said)]
    assert effective_time(facts[0][0], NOON + HOUR) == NOON
