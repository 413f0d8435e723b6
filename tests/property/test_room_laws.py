"""Laws of the bounds: no collection outgrows its own, whatever comes, and nothing is lost without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import candidates, consent, consent_fold, entry, exits, gate, journeys, room, unreadable
from ledger import facts as f
from ledger.consent_fold import refusal
from ledger.journey import Match
from ledger.policy import Cap, QuietHours
from ledger.subject import Subject, decode, encode
from tests.property.test_journey_laws import Life
from tests.support.fact_strategies import CONSENT_FACTS, Dated
from tests.support.given import HOUR, MINUTE, NOON, RECEIPT, changed, fact, journey, message, policy, setting

SMALL = 3
"""The same code with bounds that are reached often."""

SOON = QuietHours(start_minute=14 * 60, end_minute=20 * 60)
"""In Berlin, from an hour after the first fact on: what is due then is held."""

BOUNDS = [
    (consent, "TOKENS_MAX"),
    (consent_fold, "INSTALLATIONS_MAX"),
    (consent_fold, "TOPICS_MAX"),
    (consent_fold, "SUPPRESSIONS_MAX"),
    (consent_fold, "AHEAD_MAX"),
    (unreadable, "UNREADABLE_MAX"),
    (room, "CONTACTS_MAX"),
    (gate, "CONTACTS_MAX"),
    (entry, "INSTANCES_MAX"),
    (candidates, "HELD_MAX"),
    (entry, "ITEMS_MAX"),
    (journeys, "RECENT_IDS_MAX"),
    (entry, "BEGUN_MAX"),
    (exits, "REMOVED_MAX"),
]


@pytest.fixture(autouse=True, scope="module")
def small_bounds() -> Iterator[None]:
    """Every bound is `SMALL` while these laws are tried."""
    with pytest.MonkeyPatch.context() as patches:
        for module, name in BOUNDS:
            patches.setattr(module, name, SMALL)
        yield


def largest(subject: Subject) -> dict[str, int]:
    """How many there are of each thing, with the bound of installations halved, which has two."""
    mine = subject.consent
    items = [one.items for one in subject.instances] + [one.items for one in subject.held]
    return {
        "installations": len(mine.installations) / 2,  # type: ignore[dict-item]
        "last_active": len(subject.last_active) / 2,  # type: ignore[dict-item]
        "tokens": max((len(one.tokens) for one in mine.installations.values()), default=0),
        "topics": len(mine.topics),
        "suppressions": len(mine.suppressions),
        "ahead": len(mine.ahead),
        "unreadable": len(mine.unreadable),
        "recent": len(subject.recent),
        "instances": len(subject.instances),
        "held": len(subject.held),
        "items": max(map(len, items), default=0),
        "contacts": sum(max(1, len(contact.installations)) for contact in subject.contacts),
        "begun": len(subject.begun),
        "removed": len(subject.removed),
    }


MANY = st.integers(0, 9)
NONE: list[int] = []
BAD = st.just(NONE) | st.lists(MANY, max_size=8)
APPS = st.integers(0, SMALL + 1)


@st.composite
def lives(draw: st.DrawFn) -> list[Dated]:
    """Anything that a subject's row is made of, in the order of time, with more of it than fits."""
    everything: list[Dated] = []
    consents = draw(st.just([]) | st.lists(st.tuples(CONSENT_FACTS, MANY), max_size=25))
    for (one, appended), number in consents:
        names = {
            name: f"{getattr(one, name)}{number}"
            for name in ("installation", "topic", "reason", "token")
            if name in one.__struct_fields__
        }
        everything.append((changed(one, event_id=f"{one.event_id}-{number}", **names), appended))
    for number, minutes in enumerate(sorted(draw(st.lists(st.integers(0, 150), min_size=10, max_size=40)))):
        at, item, app = NOON + minutes * MINUTE, f"i{draw(MANY)}", f"app{draw(APPS)}"
        match draw(st.integers(0, 9)):
            case 0:
                shop = fact(f.OrderPlaced, at, app=app, order_id=f"o{number}", items=(item,))
            case 1:
                shop = fact(f.CartUpdated, at, app=app, item=item, change="removed")  # type: ignore[assignment]
            case _:
                shop = fact(f.CartUpdated, at, app=app, item=item, change="added")  # type: ignore[assignment]
        everything.append((shop, at))
    return sorted(everything, key=lambda dated: dated[0].occurred_at)


def reachable(app: str) -> list[Dated]:
    """Somebody who may be pushed to in an app."""
    made = [
        fact(f.PermissionGranted, NOON, app=app, level="authorized"),
        fact(f.InstallationSeen, NOON, app=app, platform="ios", time_zone="Europe/Berlin"),
        fact(f.TokenRegistered, NOON, app=app, provider="console", token="t"),
    ]
    return [(one, NOON) for one in made]


@given(lives(), st.sampled_from(["marketing", "transactional"]), BAD)
def test_no_collection_outgrows_its_bound(facts: list[Dated], category: str, bad: list[int]) -> None:
    """After every fact and every due step; and the row survives its encoding."""
    said = message(category=category) if category == "marketing" else RECEIPT
    life = Life(setting(policy(caps=(), quiet_hours=SOON), journey(said=said, wait_ms=20 * MINUTE)))
    life.live([one for app in range(SMALL) for one in reachable(f"app{app}")])
    for number, dated in enumerate(facts):
        if refusal(life.subject.consent, dated[0]) is None:
            life.live([dated])
        if number in bad:
            marked = unreadable.mark(life.subject.consent, number, NOON)
            life.subject = changed(life.subject, consent=marked)
        assert max(largest(life.subject).values()) <= SMALL, largest(life.subject)
    life.pass_until(float("inf"))

    assert max(largest(life.subject).values()) <= SMALL
    assert decode(encode(life.subject)) == life.subject


@given(lives(), st.lists(st.integers(1, 6), max_size=2))
def test_whatever_gives_way_comes_to_an_end(facts: list[Dated], caps: list[int]) -> None:
    """Each instance ends once, each candidate gets one final decision, each eviction is told once."""
    rules = policy(caps=tuple(Cap(max_pushes=n, window="rolling_week") for n in caps), quiet_hours=SOON)
    life = Life(setting(rules, journey(wait_ms=20 * MINUTE)))
    life.live([one for app in range(SMALL) for one in reachable(f"app{app}")])
    life.live(facts).pass_until(float("inf"))

    started = [one.instance for one in life.said if isinstance(one, f.JourneyStarted)]
    ended = [one for one in life.said if isinstance(one, f.JourneyEnded)]
    assert sorted(started) == sorted(one.instance for one in ended)
    finals = Counter(one.decision_id for one in life.decisions if one.verdict != "hold")
    assert set(finals.values()) <= {1}
    assert finals.keys() == {one.decision_id for one in life.decisions}
    told = Counter(one.part for one in life.said if isinstance(one, f.StateEvicted))
    assert told["instance"] == sum(one.outcome == "evicted" for one in ended)
    assert told["candidate"] == sum(map(was_evicted, life.decisions))
    assert len({one.event_id for one in life.said}) == len(life.said)


def was_evicted(decision: f.PushDecided) -> bool:
    """Whether the decision was made for lack of room."""
    from ledger.snapshot import decode_snapshot

    return decode_snapshot(decision.snapshot).evicted


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=60), st.integers(1, 9))
def test_caps_are_never_exceeded_by_an_overflow(moments: list[tuple[int, bool]], most: int) -> None:
    """However many contacts want room: marketing sends in a window are no more than the cap, or the bound."""
    rules = policy(caps=(Cap(max_pushes=most, window="rolling_month"),), quiet_hours=None)
    kinds = [
        journey(name="cart", wait_ms=MINUTE),
        journey(
            name="receipt",
            wait_ms=MINUTE,
            triggers=(Match(fact="ItemSaved", items="item"),),
            said=RECEIPT,
        ),
    ]
    life = Life(setting(rules, *kinds)).live(reachable("shop"))
    for number, (hours, marketing) in enumerate(sorted(moments)):
        at = NOON + hours * HOUR + number * 2 * MINUTE
        if marketing:
            life.live([(fact(f.CartUpdated, at, item="boots", change="added"), at)])
        else:
            life.live([(fact(f.ItemSaved, at, item="boots"), at)])
    life.pass_until(float("inf"))

    sent = [one for one in life.decisions if one.verdict == "send"]
    marketing_sends = [one for one in sent if one.category == "marketing"]
    assert len(marketing_sends) <= min(most, SMALL)
    assert len([one for one in sent if one.category == "transactional"]) == len(
        {one.decision_id for one in life.decisions if one.category == "transactional"}
    )
    slots = {one.decision_id for one in life.subject.contacts if one.category == "marketing"}
    assert slots == {one.decision_id for one in marketing_sends}
    assert life.subject.last_active.keys() <= life.subject.consent.installations.keys()
