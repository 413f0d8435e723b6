"""Leaving a journey: facts that end its instances, or take items out of them.

An exit counts for what is open, for candidates that wait for their decision, and for triggers that arrive
later and are older than it.
"""

from __future__ import annotations

import msgspec

from ledger import facts as f
from ledger.ids import short_hash
from ledger.journey import Exit, Journey, items_at
from ledger.matching import key_at, matches
from ledger.setting import Turn
from ledger.subject import REMOVED_MAX, Candidate, Instance, Subject

replace = msgspec.structs.replace


def leave(subject: Subject, fact: f.SubjectFact, turn: Turn) -> Subject:
    """Apply a fact to all exits that it may be for."""
    kind = type(fact).__name__
    definitions = turn.setting.definitions
    for journey in definitions.moved_by.get(kind, ()):
        for way in journey.exits:
            if way.fact == kind and matches(way, fact, subject, turn):
                subject = _noted(subject, journey, way, fact)
    instances = subject.instances
    moved = [definitions.moves(one.journey_version, kind) for one in instances]
    if True in moved:
        left = [
            _after(one, subject, fact, turn) if is_moved else one
            for one, is_moved in zip(instances, moved, strict=True)
        ]
        subject = replace(subject, instances=tuple(one for one in left if one is not None))
    if any(definitions.moves(one.journey_version, kind) for one in subject.held):
        held = tuple(_withdrawn(one, subject, fact, turn) for one in subject.held)
        subject = replace(subject, held=held)
    return subject


def over_since(subject: Subject, journey: Journey, key: str, at: int) -> bool:
    """Whether an exit of the whole journey came after `at`: a trigger from then is old news."""
    if not subject.removed:
        return False
    removed = dict(subject.removed)
    return any(removed.get(_mark(journey, "", k), -1) > at for k in {"", key})


def items_over_since(subject: Subject, journey: Journey, items: tuple[str, ...], at: int) -> set[str]:
    """Which of the items were taken out after `at`."""
    if not subject.removed:
        return set()
    removed = dict(subject.removed)
    return {item for item in items if removed.get(_mark(journey, item), -1) > at}


def _after(instance: Instance, subject: Subject, fact: f.SubjectFact, turn: Turn) -> Instance | None:
    """The instance after a fact, None if that ends it."""
    journey = turn.setting.journey(instance.journey, instance.journey_version)
    for way in journey.exits:
        if not _concerns(way, fact, instance, subject, turn):
            continue
        if way.items is None:
            turn.end(instance, way.outcome)
            return None
        gone = items_at(fact, way.items)
        left = tuple(item for item in instance.items if item not in gone)
        if not left and instance.items:
            turn.end(instance, way.outcome)
            return None
        if len(left) < len(instance.items):
            instance = replace(instance, items=left)
    return instance


def _withdrawn(candidate: Candidate, subject: Subject, fact: f.SubjectFact, turn: Turn) -> Candidate:
    """A waiting candidate after a fact."""
    journey = turn.setting.journey(candidate.journey, candidate.journey_version)
    for way in journey.exits:
        if candidate.ended_as or not _concerns(way, fact, candidate, subject, turn):
            continue
        if way.items is None:
            candidate = replace(candidate, ended_as=way.outcome)
            continue
        gone = items_at(fact, way.items)
        left = tuple(item for item in candidate.left if item not in gone)
        outcome = way.outcome if not left and candidate.left else ""
        candidate = replace(candidate, left=left, ended_as=outcome)
    return candidate


def _concerns(
    way: Exit, fact: f.SubjectFact, flow: Instance | Candidate, subject: Subject, turn: Turn
) -> bool:
    if way.fact != type(fact).__name__ or (way.key is not None and key_at(way, fact) != flow.key):
        return False
    return matches(way, fact, subject, turn, flow.kept)


def _noted(subject: Subject, journey: Journey, way: Exit, fact: f.SubjectFact) -> Subject:
    removed = dict(subject.removed)
    if way.items is not None:
        marks = [_mark(journey, item) for item in items_at(fact, way.items)]
    else:
        marks = [_mark(journey, "", key_at(way, fact) or "")]
    for mark in marks:
        removed[mark] = max(fact.occurred_at, removed.get(mark, fact.occurred_at))
    latest = sorted(removed.items(), key=lambda entry: (entry[1], entry[0]))
    return replace(subject, removed=tuple(latest[-REMOVED_MAX:]))


def _mark(journey: Journey, item: str, key: str | None = None) -> int:
    """What left one journey is still new to another, so an exit counts for its own."""
    return short_hash(f"{journey.name}\0{item}" if key is None else f"{journey.name}\0\0{key}")
