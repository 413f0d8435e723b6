"""The recomputation against numbers worked out by hand, and the core against the recomputation.

Each scenario is one subject's life, told in Shanghai's local time of a week in November 2017 (the 27th is a
Monday), with the result that docs/reference/journey-rule.md gives it. It is put to both: to the plain
recomputation, and to the core that the product runs on.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.datasets import otto, taobao
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from ledger import definitions as d
from ledger import facts as f
from ledger import journey as j
from ledger import policy as p
from ledger.consent import token_id
from ledger.fold import fold
from ledger.journeys import fire
from ledger.setting import Setting
from ledger.subject import NEW, wake_at
from ledger.time_zones import ZoneTable
from tests.support import generated_log, generated_otto_log, recompute
from tests.support.given import message
from tests.support.recompute import DAY, HOUR, MINUTE, Event

NAME = "tb-4"
"""Not in the holdout (bucket 3564)."""
HELD_OUT = "tb-1"
"""In the holdout (bucket 917)."""
ZONES = (
    "Asia/Shanghai",
    "Asia/Urumqi",
    "Asia/Kathmandu",
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Auckland",
    "Europe/Busingen",
    "Europe/London",
    "Europe/Vienna",
)
COUNTRIES = {"CN": ("Asia/Shanghai", "Asia/Urumqi"), "DE": ("Europe/Berlin", "Europe/Busingen")}


def at(local: str) -> int:
    """`27 10:30` (or with seconds) is that day of November 2017 in Shanghai, in ms."""
    day, clock = local.split()
    parsed = datetime.fromisoformat(f"2017-11-{day}T{clock}")
    return int(parsed.replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()) * 1000


def seen(when: str = "26 00:00", zone: str | None = "Asia/Shanghai", x: str = "a", **country: str) -> Event:
    """An installation tells where it is."""
    return Event(at(when), "seen", {"id": f"{NAME}-{x}", "zone": zone, "country": country.get("country")})


def says(when: int | str, permission: str, clock: str = "device", x: str = "a") -> Event:
    """A clock speaks about an installation's permission."""
    instant = at(when) if isinstance(when, str) else when
    return Event(instant, "permission", {"id": f"{NAME}-{x}", "permission": permission, "clock": clock})


def token(when: str = "26 00:02", kind: str = "token", number: int = 1, x: str = "a") -> Event:
    """An address is registered, or (`token_dead`) called dead."""
    return Event(at(when), kind, {"id": f"{NAME}-{x}", "number": number})


def chosen(when: str, kind: str, **about: object) -> Event:
    """A preference, suppression or erasure."""
    return Event(at(when), kind, about)


def acts(*told: str) -> list[Event]:
    """`cart lamp 27 10:00` is a cart add; `pv`, `fav` and `buy` likewise; `-` for nobody's installation."""
    events = []
    for act in told:
        kind, item, when = act.split(" ", 2)
        events.append(Event(at(when), kind, {"id": f"{NAME}-a", "item": item}))
    return events


REACHABLE = [seen(), says("26 00:01", "authorized"), token()]
EARLY = [Event(event.at - 7 * DAY, event.kind, event.about) for event in REACHABLE]
NOBODY = "withhold permission"
ONE = {"started": 1, "candidates": 1}
TWO = {"started": 2, "candidates": 2}
Scenario = tuple[str, list[Event], list[Event], dict[str, int]]

SCENARIOS: list[Scenario] = [
    ("an add is a candidate an hour later", REACHABLE, acts("cart i 27 10:00"), {**ONE, "send": 1}),
    (
        "a second add re-arms: the orders at 11:30 come before the due at 11:50",
        REACHABLE,
        acts("cart i 27 10:00", "cart j 27 10:50", "buy i 27 11:30", "buy j 27 11:30"),
        {"started": 1, "converted": 1},
    ),
    (
        "an order of the only item converts",
        REACHABLE,
        acts("cart i 27 10:00", "buy i 27 10:30"),
        {"started": 1, "converted": 1},
    ),
    (
        "an order of one of two items leaves the other",
        REACHABLE,
        acts("cart i 27 10:00", "cart j 27 10:00", "buy i 27 10:30"),
        {**ONE, "send": 1},
    ),
    (
        "an order of something else, and an order before the add, change nothing",
        REACHABLE,
        acts("buy i 27 09:00", "cart i 27 10:00", "buy j 27 10:30", "pv i 27 10:40", "fav i 27 10:50"),
        {**ONE, "send": 1},
    ),
    (
        "an order at the due instant comes first",
        REACHABLE,
        acts("cart i 27 10:00", "buy i 27 11:00"),
        {"started": 1, "converted": 1},
    ),
    (
        "an order a second later is too late, and the next add starts anew",
        REACHABLE,
        acts("cart i 27 10:00", "buy i 27 11:00:01", "cart j 27 12:00"),
        {**TWO, "send": 2},
    ),
    (
        "an add at the due instant re-arms",
        REACHABLE,
        acts("cart i 27 10:00", "cart j 27 11:00"),
        {**ONE, "send": 1},
    ),
    (
        "at one instant the order comes before the add, which starts anew",
        REACHABLE,
        acts("cart i 27 10:00", "cart i 27 10:30", "buy i 27 10:30"),
        {"started": 2, "converted": 1, "candidates": 1, "send": 1},
    ),
    (
        "a due in the night is held until 08:00",
        REACHABLE,
        acts("cart i 27 21:30"),
        {**ONE, "hold": 1, "send": 1},
    ),
    (
        "a due at 22:00 sharp is held, one at 08:00 sharp is not",
        REACHABLE,
        acts("cart i 27 21:00", "cart j 28 07:00"),
        {**TWO, "hold": 1, "send": 2},
    ),
    (
        "what is ordered while it is held needs no push",
        REACHABLE,
        acts("cart i 27 21:30", "buy i 28 07:59:59"),
        {**ONE, "hold": 1, "withhold goal_met": 1},
    ),
    (
        "the order of one held item leaves the other",
        REACHABLE,
        acts("cart i 27 21:20", "cart j 27 21:30", "buy i 28 07:00"),
        {**ONE, "hold": 1, "send": 1},
    ),
    (
        "an order empties the held and the open one alike; goal met comes before any check",
        [*REACHABLE, says("28 07:00", "denied")],
        acts("cart i 27 21:30", "cart i 28 06:59", "buy i 28 07:30"),
        {"started": 2, "converted": 1, "candidates": 1, "hold": 1, "withhold goal_met": 1},
    ),
    (
        "three held over one night: two sends a day, and the third is too many",
        REACHABLE,
        acts("cart i 27 21:30", "cart j 27 23:00", "cart k 28 03:00"),
        {"started": 3, "candidates": 3, "hold": 3, "send": 2, "withhold frequency_policy": 1},
    ),
    (
        "two sends a local day: the third waits for nobody, the next day is new",
        REACHABLE,
        acts("cart i 27 09:00", "cart j 27 12:00", "cart k 27 15:00", "cart l 28 09:00"),
        {"started": 4, "candidates": 4, "send": 3, "withhold frequency_policy": 1},
    ),
    (
        "five sends in seven days: a minute before the first is a week old the sixth is too many",
        EARLY,
        acts(*(f"cart i {day} 12:00" for day in (20, 21, 22, 23, 24)), "cart i 27 11:59"),
        {"started": 6, "candidates": 6, "send": 5, "withhold frequency_policy": 1},
    ),
    (
        "a send exactly seven days old no longer counts",
        EARLY,
        acts(*(f"cart i {day} 12:00" for day in (20, 21, 22, 23, 24, 27))),
        {"started": 6, "candidates": 6, "send": 6},
    ),
    (
        "one a calendar week: Sunday and Monday lie in two, Tuesday does not",
        [*REACHABLE, chosen("26 01:00", "frequency", max=1, window="calendar_week")],
        acts("cart i 26 12:00", "cart i 27 12:00", "cart i 28 12:00"),
        {"started": 3, "candidates": 3, "send": 2, "withhold frequency_choice": 1},
    ),
    (
        "one a rolling day: not before 24 hours are over; the latest choice counts",
        [
            *REACHABLE,
            chosen("26 01:00", "frequency", max=0, window="rolling_month"),
            chosen("26 02:00", "frequency", max=1, window="rolling_day"),
        ],
        acts("cart i 27 12:00", "cart i 28 11:59", "cart i 28 13:00"),
        {"started": 3, "candidates": 3, "send": 2, "withhold frequency_choice": 1},
    ),
    (
        "a revocation at the due instant beats the send",
        [*REACHABLE, says("27 11:00", "denied")],
        acts("cart i 27 10:00"),
        {**ONE, NOBODY: 1},
    ),
    (
        "a revocation a second later does not, and a new grant counts again",
        [*REACHABLE, says("27 11:00:01", "denied"), says("27 14:00", "provisional")],
        acts("cart i 27 10:00", "cart i 27 12:00", "cart i 27 14:00"),
        {"started": 3, "candidates": 3, "send": 2, NOBODY: 1},
    ),
    (
        "a revocation during the hold withholds",
        [*REACHABLE, says("28 05:00", "denied")],
        acts("cart i 27 21:30"),
        {
            **ONE,
            "hold": 1,
            NOBODY: 1,
        },
    ),
    (
        "pre-granted is nobody's choice",
        [seen(), says("26 00:01", "pre_granted"), token()],
        acts("cart i 27 10:00"),
        {
            **ONE,
            NOBODY: 1,
        },
    ),
    ("without any installation there is no permission", [], acts("cart i 27 10:00"), {**ONE, NOBODY: 1}),
    (
        "at one instant the more private word of a clock counts",
        [*REACHABLE, says("27 09:00", "denied"), says("27 09:00", "authorized")],
        acts("cart i 27 10:00"),
        {**ONE, NOBODY: 1},
    ),
    (
        "a back-fill replaces a device's refusal only if later by more than five minutes",
        [
            seen(),
            token(),
            says("26 00:01", "denied"),
            says(at("26 00:01") + 5 * MINUTE, "authorized", "import"),
            says(at("26 00:01") + 5 * MINUTE + 1, "authorized", "server", "b"),
            seen(x="b"),
            token(x="b"),
            says("26 00:01", "denied", x="b"),
            token("27 12:00", "token_dead", x="b"),
        ],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "send": 1, "withhold token": 1},
    ),
    (
        "a back-fill stands in where the device said nothing; a server's refusal takes it away",
        [seen(), token(), says("26 09:00", "authorized", "import"), says("27 12:00", "denied", "server")],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "send": 1, NOBODY: 1},
    ),
    (
        "a device's grant later than a server's refusal counts",
        [*REACHABLE, says("25 00:00", "denied", "server")],
        acts("cart i 27 10:00"),
        {**ONE, "send": 1},
    ),
    (
        "a dead token withholds until another is registered",
        [*REACHABLE, token("27 09:00", "token_dead"), token("27 12:30", number=2)],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "withhold token": 1, "send": 1},
    ),
    (
        "a topic switched off and on at one instant is off, later on is on",
        [
            *REACHABLE,
            chosen("26 01:00", "topic", on=False),
            chosen("26 01:00", "topic", on=True),
            chosen("27 12:00", "topic", on=True),
        ],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "withhold topic": 1, "send": 1},
    ),
    (
        "a pause is over at its end",
        [*REACHABLE, chosen("26 01:00", "pause", on=True, until=at("27 12:00"))],
        acts("cart i 27 09:59", "cart j 27 11:00"),
        {**TWO, "withhold paused": 1, "send": 1},
    ),
    (
        "a pause without an end lasts until it is taken back",
        [*REACHABLE, chosen("26 01:00", "pause", on=True), chosen("27 12:00", "pause", on=False)],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "withhold paused": 1, "send": 1},
    ),
    (
        "a suppression is the first reason that is named, and can be released",
        [
            chosen("26 01:00", "suppression", on=True),
            chosen("27 12:00", "suppression", on=False),
        ],
        acts("cart i 27 10:00", "cart i 27 12:00"),
        {**TWO, "withhold suppressed": 1, NOBODY: 1},
    ),
    (
        "without a zone or a country nobody knows the hour",
        [seen(zone=None), *REACHABLE[1:]],
        acts("cart i 27 10:00"),
        {**ONE, "withhold unknown_time_zone": 1},
    ),
    (
        "China may be Urumqi: 09:00 in Shanghai is 07:00 there, and held until 10:00",
        [seen(zone=None, country="CN"), *REACHABLE[1:], says("27 10:00:01", "denied")],
        acts("cart i 27 08:00"),
        {**ONE, "hold": 1, "send": 1},
    ),
    (
        "quiet hours that leave no common hour count as an unknown zone",
        [
            seen(zone=None, country="CN"),
            *REACHABLE[1:],
            chosen("26 01:00", "quiet", start=0, end=22 * 60 + 30),
        ],
        acts("cart i 27 10:00"),
        {**ONE, "withhold unknown_time_zone": 1},
    ),
    (
        "own quiet hours replace the policy's; equal ends are none",
        [*REACHABLE, chosen("26 01:00", "quiet", start=0, end=0)],
        acts("cart i 27 22:00"),
        {**ONE, "send": 1},
    ),
    (
        "own quiet hours at noon",
        [*REACHABLE, chosen("26 01:00", "quiet", start=720, end=840), says("27 14:00:01", "denied")],
        acts("cart i 27 11:30", "cart j 27 21:30"),
        {**TWO, "hold": 1, "send": 1, NOBODY: 1},
    ),
    (
        "quiet hours that change during a hold can hold again",
        [*REACHABLE, chosen("28 05:00", "quiet", start=420, end=600), says("28 10:00:01", "denied")],
        acts("cart i 27 21:30"),
        {**ONE, "hold": 2, "send": 1},
    ),
    (
        "the installation seen last decides the zone: Berlin sleeps at noon in Shanghai",
        [
            *REACHABLE,
            seen("27 10:30", "Europe/Berlin", "b"),
            says("26 00:01", "authorized", x="b"),
            token(x="b"),
        ],
        acts("cart i 27 10:00"),
        {**ONE, "hold": 1, "send": 1},
    ),
    (
        "activity on the first installation makes it the last one seen again",
        [
            *REACHABLE,
            seen("27 10:30", "Europe/Berlin", "b"),
            says("26 00:01", "authorized", x="b"),
            token(x="b"),
        ],
        acts("cart i 27 10:00", "pv j 27 10:31"),
        {**ONE, "send": 1},
    ),
    (
        "at one instant the smaller installation id is chosen, if it can be reached",
        [
            seen("27 00:00", "Europe/Berlin"),
            *REACHABLE[1:],
            seen("27 00:00", "Asia/Shanghai", "b"),
            says("26 00:01", "authorized", x="b"),
            token(x="b"),
            token("28 00:00", "token_dead"),
        ],
        [Event(e.at, e.kind, {**e.about, "id": ""}) for e in acts("cart i 27 10:00", "cart j 29 09:00")],
        {**TWO, "hold": 1, "send": 2},
    ),
    (
        "erasure ends what is open, withholds what is held, and nothing follows",
        [*REACHABLE, chosen("28 05:00", "erased")],
        acts("cart i 27 21:30", "cart j 28 04:30", "cart k 28 05:00", "cart l 28 12:00"),
        {"started": 2, "candidates": 1, "hold": 1, "withhold erased": 1, "erased": 1},
    ),
    (
        "at one instant an erasure comes before the due",
        [*REACHABLE, chosen("27 11:00", "erased")],
        acts("cart i 27 10:00"),
        {"started": 1, "erased": 1},
    ),
]


def _recomputed(
    subject: str, facts: list[Event], activity: list[Event], wait_ms: int = HOUR
) -> dict[str, int]:
    tally: Counter[str] = Counter()
    recompute.replay_subject(subject, facts, activity, wait_ms, tally)
    return {name: count for name, count in tally.items() if count}


def _setting(wait_ms: int) -> Setting:
    policy = p.Policy(
        name="policy",
        marketing_permissions=("authorized", "provisional"),
        transactional_permissions=("authorized", "provisional", "ephemeral", "pre_granted"),
        caps=(p.Cap(max_pushes=2, window="calendar_day"), p.Cap(max_pushes=5, window="rolling_week")),
        quiet_hours=p.QuietHours(start_minute=1320, end_minute=480),
        topics_on=("cart_reminders",),
        send_within_ms=HOUR,
        lateness_max_ms=DAY,
    )
    journey = j.Journey(
        name="cart_abandonment",
        triggers=(j.Match(fact="CartUpdated", items="item", where={"change": "added"}),),
        exits=(j.Exit(fact="OrderPlaced", items="items", outcome="converted"),),
        steps=(
            j.Wait(step="wait", for_ms=wait_ms),
            j.Push(step="remind", message=message(topic="cart_reminders")),
        ),
        opt_out_ends=False,
        holdout=j.Holdout(salt="cart_abandonment-2026", percent=10),
        attribution_ms=DAY,
    )
    zones = ZoneTable({name: ZoneInfo(name) for name in ZONES}, COUNTRIES, "test")
    return Setting(d.in_force(policy, (journey,), {}), zones, CelRules(), LiquidTexts(), 0, 0)


def _core(facts: Iterable[f.SubjectFact], wait_ms: int = HOUR) -> dict[str, int]:
    """Fold each subject's facts by the event clock, as the journeys role does, and tally what follows."""
    setting, tally = _setting(wait_ms), Counter[str]()
    subjects: dict[str, list[tuple[int, int, f.SubjectFact]]] = {}
    ranks = {f.OrderPlaced: 1, f.CartUpdated: 2, f.ItemSaved: 3, f.ItemViewed: 4}
    for fact in facts:
        subjects.setdefault(fact.subject, []).append((fact.occurred_at, ranks.get(type(fact), 0), fact))

    def note(followed: Iterable[f.SubjectFact]) -> None:
        for fact in followed:
            match fact:
                case f.JourneyStarted():
                    tally["started"] += 1
                case f.JourneyEnded():
                    tally["candidates" if fact.outcome == "completed" else fact.outcome] += 1
                case f.PushDecided():
                    withheld = f"withhold {fact.reason}"
                    tally[withheld if fact.verdict == "withhold" else fact.verdict] += 1
                case f.StateEvicted():
                    pass
                case _:
                    raise AssertionError(fact)

    for name, entries in subjects.items():
        state = NEW
        for instant, _, fact in sorted(entries, key=lambda entry: entry[:2]):
            while (due := wake_at(state)) is not None and due < instant:
                state, followed = fire(state, name, due, setting)
                note(followed)
            state, followed = fold(state, name, fact, instant, instant, setting)
            note(followed)
        while (due := wake_at(state)) is not None:
            state, followed = fire(state, name, due, setting)
            note(followed)
    return dict(tally)


def _fact(subject: str, number: int, event: Event) -> f.SubjectFact:
    """The product's fact that says what an event of a scenario tells."""
    about, kind = event.about, event.kind
    base: dict[str, Any] = {
        "event_id": f"{kind}-{number}",
        "app": "taobao",
        "occurred_at": event.at,
        "source": f"{about.get('clock', 'device')}:test",
        "subject": subject,
    }
    here = {**base, "installation": about.get("id") or None}
    name = f"{here['installation']}-{about.get('number')}"
    found: f.SubjectFact | None = None
    match kind:
        case "seen":
            where = {"time_zone": about["zone"], "country": about["country"]}
            found = f.InstallationSeen(**here, platform="ios", **where)
        case "permission":
            found = f.PermissionObserved(**here, permission=about["permission"])
        case "token":
            found = f.TokenRegistered(**here, provider="console", token=name)
        case "token_dead":
            found = f.TokenInvalidated(**here, token_id=token_id("console", name), reason="test")
        case "topic":
            found = (f.TopicSubscribed if about["on"] else f.TopicUnsubscribed)(
                **base, topic="cart_reminders"
            )
        case "frequency":
            found = f.FrequencyChosen(**base, max_pushes=about["max"], window=about["window"])
        case "quiet":
            found = f.QuietHoursChosen(**base, start_minute=about["start"], end_minute=about["end"])
        case "pause":
            paused = f.MarketingPaused(**base, until=about.get("until"))
            found = paused if about["on"] else f.MarketingResumed(**base)
        case "suppression":
            stopped = f.SubjectSuppressed(**base, reason="test", until=about.get("until"))
            found = stopped if about["on"] else f.SubjectReleased(**base, reason="test")
        case "erased":
            found = f.SubjectErased(**base)
        case "buy":
            found = f.OrderPlaced(**here, order_id=f"order-{number}", items=(about["item"],))
        case "cart":
            found = f.CartUpdated(**here, item=about["item"], change="added")
        case "fav":
            found = f.ItemSaved(**here, item=about["item"])
        case "pv":
            found = f.ItemViewed(**here, item=about["item"])
    assert found is not None, kind
    return found


scenarios = pytest.mark.parametrize(
    ("facts", "activity", "expected"), [pytest.param(*rest, id=name) for name, *rest in SCENARIOS]
)


@scenarios
def test_the_recomputation_finds_what_was_worked_out_by_hand(
    facts: list[Event], activity: list[Event], expected: dict[str, int]
) -> None:
    """The scenario's name is the sentence."""
    assert _recomputed(NAME, facts, activity) == expected


@scenarios
def test_the_core_finds_what_was_worked_out_by_hand(
    facts: list[Event], activity: list[Event], expected: dict[str, int]
) -> None:
    """The scenario's name is the sentence."""
    told = [_fact(NAME, number, event) for number, event in enumerate([*facts, *activity])]

    assert _core(told) == expected


def test_who_is_held_out_is_held_out_even_at_night() -> None:
    """The holdout is looked at before the quiet hours, so nothing is held for it."""
    activity = acts("cart i 27 10:00", "cart i 27 21:30")
    told = [_fact(HELD_OUT, number, event) for number, event in enumerate([*REACHABLE, *activity])]

    assert _recomputed(HELD_OUT, REACHABLE, activity) == {**TWO, "hold_out": 2}
    assert _core(told) == {**TWO, "hold_out": 2}


def test_the_wait_is_an_option() -> None:
    """With half an hour of wait, the second add comes too late to re-arm."""
    activity = acts("cart i 27 10:00", "cart j 27 10:45")

    assert _recomputed(NAME, REACHABLE, activity, 30 * MINUTE) == {**TWO, "send": 2}
    assert _recomputed(NAME, REACHABLE, activity, 60 * MINUTE) == {**ONE, "send": 1}


def test_an_instance_forgets_its_oldest_items_beyond_a_hundred() -> None:
    """Of 101 items the first is forgotten: ordering the other hundred empties the instance."""
    adds = [Event(at("27 10:00") + n * MINUTE, "cart", {"id": "", "item": f"i{n}"}) for n in range(101)]
    orders = [Event(at("27 12:00"), "buy", {"id": "", "item": f"i{n}"}) for n in range(1, 101)]
    told = [_fact(NAME, number, event) for number, event in enumerate([*REACHABLE, *adds, *orders])]

    assert _recomputed(NAME, REACHABLE, adds + orders) == {"started": 1, "converted": 1}
    assert _core(told) == {"started": 1, "converted": 1}


@pytest.mark.parametrize(
    ("seed", "wait_s", "amplify"), [("optin", 3_600, 6), ("x", 1_800, 4), ("y", 200_000, 2)]
)
def test_core_and_recomputation_agree_on_a_whole_log(
    tmp_path: Path, seed: str, wait_s: int, amplify: int
) -> None:
    """Reader, hash rule, consent, journey and gate, all at once: every number is the same."""
    path = tmp_path / "log.csv"
    generated_log.write(path, users=60, seed=wait_s)
    rows = taobao.read(path)
    consent = list(taobao.simulated_consent(rows, amplify, seed))
    activity = list(taobao.facts(rows, amplify, seed))

    found = recompute.recompute(path, wait_s, amplify, seed)

    _agree(found, consent, activity, wait_s)


@pytest.mark.parametrize(("wait_s", "amplify"), [(3_600, 8), (20_000, 4)])
def test_core_and_recomputation_agree_on_a_log_of_another_shop(
    tmp_path: Path, wait_s: int, amplify: int
) -> None:
    """In another format, in another country, with orders of several items at once."""
    path = tmp_path / "log.jsonl"
    generated_otto_log.write(path)
    rows = otto.read(path)
    consent = list(otto.simulated_consent(rows, amplify))
    activity = list(otto.facts(rows, amplify))

    found = recompute.recompute(path, wait_s, amplify, shop=recompute.OTTO)

    assert any(isinstance(fact, f.OrderPlaced) and len(fact.items) > 1 for fact in activity)
    assert found["journeys"]["converted"] > 100
    _agree(found, consent, activity, wait_s)


def _agree(
    found: dict[str, Any], consent: list[f.SubjectFact], activity: list[f.SubjectFact], wait_s: int
) -> None:
    tally = _core([*consent, *activity], wait_s * 1000)
    tokens = sum(isinstance(fact, f.TokenRegistered | f.TokenInvalidated) for fact in consent)
    assert found["facts"] == {
        "permissions": len(consent) - tokens,
        "tokens": tokens,
        "activity": len(activity),
    }
    for name in ("started", "converted", "candidates", "erased"):
        assert found["journeys"][name] == tally.get(name, 0), name
    for verdict in ("send", "hold_out", "hold"):
        assert found["decisions"][verdict] == tally.get(verdict, 0), verdict
    withheld = {name.split()[1]: n for name, n in tally.items() if name.startswith("withhold")}
    assert found["decisions"]["withhold"] == withheld
    assert len(withheld) >= 7


def test_a_small_file_is_counted_as_by_hand(tmp_path: Path) -> None:
    """Three users, a duplicate and two bad lines: 9 facts of activity; 3 started, 1 converted, 2 due.

    User 4 carts two items at 02:00 UTC and orders one. User 5 carts and orders within the hour. User 6
    carts at 05:00; looking at 07:00 changes nothing.
    """
    day = 1_511_740_800  # 2017-11-27T00:00:00Z
    rows = [
        (6, 30, 1, "cart", 5 * 3_600),
        (6, 30, 1, "pv", 7 * 3_600),
        (6, 30, 1, "pv", 7 * 3_600),
        (4, 10, 1, "pv", 7_190),
        (4, 10, 1, "cart", 7_200),
        (4, 11, 2, "cart", 7_260),
        (4, 10, 1, "buy", 8_000),
        (5, 20, 3, "cart", 9_000),
        (5, 20, 3, "buy", 9_600),
        (5, 21, 3, "fav", 9_700),
    ]
    lines = [f"{user},{item},{category},{what},{day + s}" for user, item, category, what, s in rows]
    path = tmp_path / "small.csv"
    path.write_text("\n".join([*lines, "4,10,1,share,1511740800", "nonsense"]) + "\n", "ascii")

    found = recompute.recompute(path)

    assert found["facts"]["activity"] == 9
    assert found["journeys"] == {"started": 3, "converted": 1, "candidates": 2, "erased": 0, "open": 0}
    final = found["decisions"]
    assert final["send"] + final["hold_out"] + sum(final["withhold"].values()) == 2


def test_the_recomputation_imports_nothing_of_ours() -> None:
    """A second opinion that shared code would not be one: the standard library and nothing else."""
    source = Path(recompute.__file__).read_text("utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported <= sys.stdlib_module_names


def test_the_command_line_prints_json(tmp_path: Path) -> None:
    """It runs as a script, from anywhere, and prints what `recompute` returns."""
    path = tmp_path / "log.csv"
    generated_log.write(path, users=8)
    command = [sys.executable, recompute.__file__, str(path), "--wait", "1800", "--amplify", "2"]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert json.loads(printed) == recompute.recompute(path, 1_800, 2)
