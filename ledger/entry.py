"""Entering a journey: a trigger begins an instance, starts the open one over, or does nothing.

While an instance has not come to a push yet, a further trigger moves it back to its first step, and nothing
is said of it. After a push the instance ends `restarted` and another begins. Old news begin nothing:
facts older than the journey's `max_fact_age`, than an exit, or than the trigger that an instance began with.
"""

from __future__ import annotations

import msgspec

from ledger import facts as f
from ledger.definitions import held_out
from ledger.exits import items_over_since, over_since
from ledger.ids import derived, short_hash
from ledger.journey import IGNORE, ONCE, Journey, Match, Scalar, items_at, value_at
from ledger.matching import key_at, matches
from ledger.reachable import welcome
from ledger.room import evicted
from ledger.setting import Turn
from ledger.subject import (
    BEGUN_MAX,
    ENTERED_MAX,
    INSTANCES_MAX,
    ITEMS_MAX,
    KEPT_BYTES_MAX,
    KEPT_MAX,
    Candidate,
    Instance,
    Subject,
)
from ledger.walk import walk

replace = msgspec.structs.replace

RESTARTED = "restarted"
NUMBER_BYTES = 9

Entered = tuple[Subject, tuple[Candidate, ...]]
"""The state, and the pushes that were asked for at once."""


def enter(
    subject: Subject, journey: Journey, triggers: tuple[Match, ...], fact: f.SubjectFact, turn: Turn
) -> Entered:
    """Apply a fact that may be a trigger of the journey; `triggers`: those for facts of its kind."""
    for trigger in triggers:
        if matches(trigger, fact, subject, turn):
            break
    else:
        return subject, ()
    key = key_at(trigger, fact)
    if key is None or _is_old(subject, journey, key, fact, turn):
        return subject, ()
    items: tuple[str, ...] = ()
    if trigger.items is not None:
        items = items_at(fact, trigger.items)
        # A fact that was long under way: what was taken out after it needs no reminder.
        if over := items_over_since(subject, journey, items, fact.occurred_at):
            items = tuple(item for item in items if item not in over)
        if not items:
            return subject, ()
    for index, instance in enumerate(subject.instances):
        if instance.journey == journey.name and instance.app == fact.app and instance.key == key:
            return _again(subject, index, journey, fact, items, turn)
    return _begin(subject, journey, fact, key, items, turn)


def _is_old(subject: Subject, journey: Journey, key: str, fact: f.SubjectFact, turn: Turn) -> bool:
    age_max = journey.max_fact_age_ms
    if age_max is None:
        age_max = turn.setting.definitions.policy.lateness_max_ms
    if turn.now - fact.occurred_at > age_max:
        return True
    return over_since(subject, journey, key, fact.occurred_at)


def _again(
    subject: Subject, index: int, journey: Journey, fact: f.SubjectFact, items: tuple[str, ...], turn: Turn
) -> Entered:
    instance = subject.instances[index]
    others = (*subject.instances[:index], *subject.instances[index + 1 :])
    is_older = fact.occurred_at < instance.since
    if journey.reentry == IGNORE or (instance.pushed and fact.occurred_at <= instance.since):
        return _heard(subject, journey, fact), ()
    everything = items
    if instance.items:
        everything = (*(item for item in instance.items if item not in items), *items)
    if instance.pushed:
        mark = _begun_mark(journey, fact)
        if mark in subject.begun or _cools(subject, journey, instance.key, fact):
            return subject, ()
        turn.end(instance, RESTARTED)
        held = tuple(
            replace(one, ended_as=RESTARTED) if one.instance == instance.instance else one
            for one in subject.held
        )
        subject = replace(subject, instances=others, held=held)
        return _begin(subject, journey, fact, instance.key, everything, turn)
    subject = _heard(subject, journey, fact)
    turn.facts += _items_evicted(turn, instance, everything, fact)
    everything = everything[-ITEMS_MAX:]
    if is_older:
        merged = replace(instance, items=everything)
        return replace(subject, instances=_with(subject.instances, index, merged)), ()
    body = turn.setting.journey(instance.journey, instance.journey_version)
    merged = replace(instance, items=everything, since=fact.occurred_at, kept=kept_of(body, fact))
    moved, asked = walk(subject, merged, body, 0, fact.occurred_at, turn)
    if moved is None:
        return replace(subject, instances=others), asked
    if moved.at == instance.at and moved.due < instance.due:
        moved = replace(moved, due=instance.due)
    return replace(subject, instances=_with(subject.instances, index, moved)), asked


def _with(instances: tuple[Instance, ...], index: int, instance: Instance) -> tuple[Instance, ...]:
    return (*instances[:index], instance, *instances[index + 1 :])


def _begin(
    subject: Subject, journey: Journey, fact: f.SubjectFact, key: str, items: tuple[str, ...], turn: Turn
) -> Entered:
    mark = _begun_mark(journey, fact)
    if mark in subject.begun or _cools(subject, journey, key, fact):
        return subject, ()
    subject = replace(subject, begun=(*subject.begun, mark)[-BEGUN_MAX:])
    if journey.cooldown_ms:
        entered = {**dict(subject.entered), _entered_mark(journey, fact.app, key): fact.occurred_at}
        subject = replace(subject, entered=_latest(entered, fact.app, turn))
    definitions = turn.setting.definitions
    version = definitions.journey_versions[journey.name]
    started = Instance(
        instance=derived("instance", turn.name, journey.name, version, fact.event_id),
        journey=journey.name,
        journey_version=version,
        app=fact.app,
        due=turn.now,
        items=items[-ITEMS_MAX:],
        holdout=held_out(journey.holdout, turn.name),
        key=key,
        kept=kept_of(journey, fact),
        opted_in=welcome(subject.consent, fact.app, journey, definitions.policy),
        since=fact.occurred_at,
    )
    turn.facts.append(
        f.JourneyStarted(
            event_id=derived("started", started.instance),
            app=fact.app,
            occurred_at=turn.now,
            source="processor",
            subject=turn.name,
            journey=journey.name,
            journey_version=version,
            instance=started.instance,
            trigger_event_id=fact.event_id,
            holdout=started.holdout,
        )
    )
    turn.facts += _items_evicted(turn, started, items, fact)
    waiting, asked = walk(subject, started, journey, 0, fact.occurred_at, turn)
    if waiting is None:
        return subject, asked
    too_many = max(len(subject.instances) + 1 - INSTANCES_MAX, 0)
    for oldest in subject.instances[:too_many]:
        turn.end(oldest, "evicted")
        turn.facts += evicted(turn.name, oldest.app, "instance", 1, fact.event_id, oldest.instance, turn.now)
    return replace(subject, instances=(*subject.instances[too_many:], waiting)), asked


def kept_of(journey: Journey, fact: f.SubjectFact) -> dict[str, Scalar]:
    """The fields of a trigger that later steps look at; what is absent, or does not fit, is left out."""
    kept: dict[str, Scalar] = {}
    left = KEPT_BYTES_MAX
    for path in journey.kept[:KEPT_MAX]:
        value = value_at(fact, path)
        if not isinstance(value, str | int | float | bool):
            continue
        taken = len(path.encode()) + (len(value.encode()) if isinstance(value, str) else NUMBER_BYTES)
        if taken <= left:
            kept[path] = value
            left -= taken
    return kept


def _heard(subject: Subject, journey: Journey, fact: f.SubjectFact) -> Subject:
    """Remember a trigger that found an open instance: a copy that comes after its end begins nothing.

    Of activity `journeys.react` tells copies by itself.
    """
    if isinstance(fact, f.ActivityFact):
        return subject
    mark = _begun_mark(journey, fact)
    if mark in subject.begun:
        return subject
    return replace(subject, begun=(*subject.begun, mark)[-BEGUN_MAX:])


def _begun_mark(journey: Journey, fact: f.SubjectFact) -> int:
    return short_hash(f"{journey.name}\0{fact.event_id}")


def _entered_mark(journey: Journey, app: str, key: str) -> int:
    return short_hash(f"{journey.name}\0{app}\0{key}")


def _latest(entered: dict[int, int], app: str, turn: Turn) -> tuple[tuple[int, int], ...]:
    """The starts to remember, in the order of their times; one that must never be repeated gives way last."""
    latest = sorted(entered.items(), key=lambda entry: (entry[1], entry[0]))
    if len(latest) > ENTERED_MAX:
        journeys = turn.setting.definitions.journeys
        once = {_entered_mark(one, app, "") for one in journeys if one.cooldown_ms == ONCE}
        oldest_last = [
            *(one for one in latest if one[0] not in once),
            *(one for one in latest if one[0] in once),
        ]
        kept = dict(oldest_last[-ENTERED_MAX:])
        latest = [one for one in latest if one[0] in kept]
    return tuple(latest)


def _cools(subject: Subject, journey: Journey, key: str, fact: f.SubjectFact) -> bool:
    """Whether another instance began too short a while ago."""
    if not journey.cooldown_ms:
        return False
    began = dict(subject.entered).get(_entered_mark(journey, fact.app, key))
    if began is None:
        return False
    return journey.cooldown_ms == ONCE or fact.occurred_at < began + journey.cooldown_ms


def _items_evicted(
    turn: Turn, instance: Instance, items: tuple[str, ...], fact: f.SubjectFact
) -> tuple[f.SubjectFact, ...]:
    over = len(items) - ITEMS_MAX
    if over <= 0:
        return ()
    return evicted(turn.name, instance.app, "item", over, fact.event_id, instance.instance, turn.now)
