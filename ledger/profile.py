"""What a subject's activity adds up to: how recent, how often, how much, and what the app backend said.

Kept as a fold that a doubled fact does not change, or that its caller guards (`journeys.react` tells second
copies of orders and opens by their ids). Rules and texts see it through `view`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ledger import facts as f
from ledger.time_zones import DAY_MS

RECENT_DAYS: Final = 28
_RECENT: Final = (1 << RECENT_DAYS) - 1
LAST_ITEMS_MAX: Final = 10
STEPS_MAX: Final = 24
ATTRIBUTES_MAX: Final = 32
CURRENCIES_MAX: Final = 4
TELLINGS_MAX: Final = 8
"""Orders whose amount a later telling may correct."""
NEW_DAYS: Final = 7
"""So long after the first activity somebody without an order is new; so long without any, active no more."""
LAPSED_DAYS: Final = 28

STAGES: Final = ("new", "active", "lapsing", "lapsed")


class Attribute(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a CDP or CRM said last of one attribute."""

    value: str
    at: int


class Telling(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The amount of an order, told at `at` (ms), in its currency's smallest unit; `order`: its hash."""

    order: int
    at: int
    amount: int
    currency: str


class Profile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Aggregates of one subject. Instants in ms, -1: never."""

    first_active: int = -1
    last_active: int = -1
    days: int = 0
    """Bit n: active n days (UTC) before the day of `last_active`."""
    orders: int = 0
    last_order: int = -1
    value: dict[str, int] = {}
    """Sum of the orders by currency, in its smallest unit."""
    opens: int = 0
    last_items: tuple[str, ...] = ()
    """Viewed, saved or put in a cart; the latest last."""
    onboarding_steps: tuple[str, ...] = ()
    attributes: dict[str, Attribute] = {}
    tellings: tuple[Telling, ...] = ()
    """Amounts of the last orders, each as it was told last; a later telling replaces its own."""


NOTHING: Final = Profile()

_ABOUT_ITEMS: Final = (f.ItemViewed, f.ItemSaved, f.CartUpdated)


def take_in(profile: Profile, fact: f.ActivityFact, now: int) -> Profile:
    """Add one fact of activity, seen at `now` (ms). Second copies of orders and opens must not come here."""
    if isinstance(fact, f.SubjectAttributesSet):
        return _described(profile, fact)
    changes: dict[str, Any] = {}
    at = min(fact.occurred_at, now)
    if at > profile.last_active or at // DAY_MS != profile.last_active // DAY_MS:
        changes["days"] = _days(profile, at)
        changes["last_active"] = max(at, profile.last_active)
    if profile.first_active < 0 or at < profile.first_active:
        changes["first_active"] = at
    if isinstance(fact, _ABOUT_ITEMS):
        item = fact.item
        if profile.last_items[-1:] != (item,):
            others = (one for one in profile.last_items if one != item)
            changes["last_items"] = (*others, item)[-LAST_ITEMS_MAX:]
    elif not isinstance(fact, f.AppOpened):
        changes |= _counted(profile, fact)
    return msgspec.structs.replace(profile, **changes) if changes else profile


def ordered(profile: Profile, fact: f.OrderPlaced, now: int, order: int, *, is_known: bool) -> Profile:
    """Count an order, seen at `now` (ms), once; `order` stands for its id, `is_known`: it was told before.

    Its amount is that of the whole order, as the latest telling (by `occurred_at`) has it: a later one
    replaces it, as long as the order is among the last `TELLINGS_MAX`.
    """
    profile = take_in(profile, fact, now)
    changes: dict[str, Any] = {}
    told = next((one for one in profile.tellings if one.order == order), None)
    if not is_known:
        changes["orders"] = profile.orders + 1
        changes["last_order"] = max(min(fact.occurred_at, now), profile.last_order)
        told = Telling(order, fact.occurred_at, 0, "")
    if told is not None and fact.occurred_at >= told.at:
        amount, currency = fact.amount_minor, fact.currency
        if amount is None or currency is None:  # this telling says nothing of it
            amount, currency = told.amount, told.currency
        value = _spent(_spent(profile.value, told.currency, -told.amount), currency, amount)
        others = tuple(one for one in profile.tellings if one.order != order)
        latest = (*others, Telling(order, fact.occurred_at, amount, currency))[-TELLINGS_MAX:]
        changes |= {"value": value, "tellings": latest}
    return msgspec.structs.replace(profile, **changes) if changes else profile


def _counted(profile: Profile, fact: f.ActivityFact) -> dict[str, Any]:
    """What changes by one fact of a rarer kind."""
    changes: dict[str, Any] = {}
    match fact:
        case f.PushOpened():
            changes["opens"] = profile.opens + 1
        case f.OnboardingStepCompleted(step=step):
            if step not in profile.onboarding_steps:
                changes["onboarding_steps"] = (*profile.onboarding_steps, step)[-STEPS_MAX:]
        case _:
            pass
    return changes


def _days(profile: Profile, at: int) -> int:
    ago = profile.last_active // DAY_MS - at // DAY_MS
    if profile.last_active < 0:
        return 1
    if ago >= 0:
        return (profile.days | 1 << ago) & _RECENT if ago < RECENT_DAYS else profile.days
    return (profile.days << -ago | 1) & _RECENT if -ago < RECENT_DAYS else 1


def _spent(value: dict[str, int], currency: str, amount: int) -> dict[str, int]:
    if not currency or (currency not in value and len(value) >= CURRENCIES_MAX):
        return value
    return {**value, currency: value.get(currency, 0) + amount}


def _described(profile: Profile, fact: f.SubjectAttributesSet) -> Profile:
    attributes = dict(profile.attributes)
    for name, value in fact.attributes.items():
        said = Attribute(value, fact.occurred_at)
        known = attributes.get(name)
        if known is None or (known.at, known.value) < (said.at, said.value):
            attributes[name] = said
    if len(attributes) > ATTRIBUTES_MAX:
        newest = sorted(attributes.items(), key=lambda entry: (entry[1].at, entry[0]))
        attributes = dict(newest[-ATTRIBUTES_MAX:])
    return msgspec.structs.replace(profile, attributes=attributes)


def stage(profile: Profile, now: int) -> str:
    """Where in its life with the app a subject is: one of `STAGES`; nobody seen yet is new."""
    if profile.first_active < 0:
        return "new"
    away = now - profile.last_active
    if away > LAPSED_DAYS * DAY_MS:
        return "lapsed"
    if away > NEW_DAYS * DAY_MS:
        return "lapsing"
    return "new" if not profile.orders and now - profile.first_active <= NEW_DAYS * DAY_MS else "active"


def view(profile: Profile, now: int) -> dict[str, Any]:
    """The profile as rules and texts see it. Days are whole ones since then; -1: never."""
    recent = profile.days << max(now // DAY_MS - profile.last_active // DAY_MS, 0) & _RECENT
    return {
        "active_days": recent.bit_count(),
        "days_since_active": _since(profile.last_active, now),
        "days_since_first_active": _since(profile.first_active, now),
        "days_since_order": _since(profile.last_order, now),
        "last_items": list(profile.last_items),
        "onboarding_steps": list(profile.onboarding_steps),
        "opens": profile.opens,
        "orders": profile.orders,
        "stage": stage(profile, now),
        "value": dict(profile.value),
    }


def _since(at: int, now: int) -> int:
    return -1 if at < 0 else max(now - at, 0) // DAY_MS
