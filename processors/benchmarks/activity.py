"""The activity that the journeys measurement folds, and what the plain core makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from ledger import facts as f
from ledger.fold import fold
from ledger.profile import Profile
from ledger.subject import NEW, Subject
from processors.benchmarks.load import SPREAD
from processors.definitions.loader import shipped
from processors.definitions.setting import setting_of
from processors.wall_clock import wall_ms

KINDS: Final = "vovcvsvovcvxvocvsvov"
"""Of 20 facts 10 are views, 4 app opens, 3 items put in a cart, 2 saves, and 1 takes an item out again."""
ORDERS: Final = 19
"""Every so many-th fact of the mix is an order instead."""
KINDS_STEP: Final = 7
"""People go through the mix by such steps, each from a place of their own."""
ITEMS: Final = 5_000
PERMITTED: Final = frozenset({0, 1, 2, 3})
"""Of ten people those with permission and an address."""
AGO_MS: Final = 600_000
"""Old enough that no fact is ahead of the broker's clock, and young enough that all are news to a journey."""
FACTS_PER_MS: Final = 4


class Made(NamedTuple):
    """What the core makes of one person's facts: the profile, and the instances that began."""

    profile: Profile
    started: frozenset[str]


@cache
def first_ms() -> int:
    """When the first fact occurred, the same for all rounds of a run."""
    return wall_ms() - AGO_MS


def _envelope(event_id: str, number: int, at: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "app": "bench",
        "occurred_at": at,
        "source": "device:bench",
        "subject": f"person-{number}",
    }


def known_people(subjects: int) -> Iterator[f.SubjectFact]:
    """What is known before: some have permission, and an address."""
    for number in range(subjects):
        if number % 10 not in PERMITTED:
            continue
        here: dict[str, Any] = {"installation": "phone"}
        at = first_ms() - 3
        yield f.InstallationSeen(
            **_envelope(f"seen-{number}", number, at), **here, platform="ios", time_zone="Europe/Berlin"
        )
        yield f.PermissionGranted(**_envelope(f"granted-{number}", number, at), **here, level="authorized")
        yield f.TokenRegistered(
            **_envelope(f"token-{number}", number, at), **here, provider="console", token=f"token-{number}"
        )


def activity_facts(events: int, subjects: int) -> Iterator[f.SubjectFact]:
    """Facts about `subjects` people in turn, each again only after all others."""
    for number in range(events):
        yield activity_fact(number, subjects)


def activity_fact(number: int, subjects: int) -> f.SubjectFact:
    """One fact; two in a row of one person are about one item."""
    person, turn = number * SPREAD % subjects, number // subjects
    envelope = _envelope(f"did-{number}", person, first_ms() + number // FACTS_PER_MS)
    item = f"item-{(person * 31 + turn // 2) % ITEMS}"
    if (person + turn) % ORDERS == 0:
        order: dict[str, Any] = {"order_id": f"order-{number}", "items": (item,)}
        return f.OrderPlaced(**envelope, **order, amount_minor=4_900, currency="EUR")
    match KINDS[(person * 3 + turn * KINDS_STEP) % len(KINDS)]:
        case "v":
            return f.ItemViewed(**envelope, item=item, category="shoes", installation="phone")
        case "o":
            return f.AppOpened(**envelope, installation="phone")
        case "c":
            return f.CartUpdated(**envelope, item=item, change="added", installation="phone")
        case "s":
            return f.ItemSaved(**envelope, item=item, installation="phone")
        case _:
            return f.CartUpdated(**envelope, item=item, change="removed", installation="phone")


@cache
def expected(events: int, subjects: int) -> dict[str, Made]:
    """What the core makes of all these facts with the shipped definitions, fact by fact.

    Nothing that a journey waits for is due within a run, so the clock of the worker and ours need not agree.
    """
    setting = setting_of(shipped({}))
    states: dict[str, Subject] = {}
    started: dict[str, list[str]] = {}
    now = wall_ms()
    for facts in (known_people(subjects), activity_facts(events, subjects)):
        for fact in facts:
            name = fact.subject
            state, said = fold(states.get(name, NEW), name, fact, fact.occurred_at, now, setting)
            states[name] = state
            began = [one.instance for one in said if isinstance(one, f.JourneyStarted)]
            started.setdefault(name, []).extend(began)
    return {name: Made(state.profile, frozenset(started[name])) for name, state in states.items()}
