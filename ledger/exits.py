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
    for journey, way in definitions.by_kind(kind).ends:
        if matches(way, fact, subject, turn):
            subject = _noted(subject, journey, way, fact)
    instances, held = subject.instances, subject.held
    heard = [definitions.hearing(one.journey_version, kind) for one in instances]
    if any(heard):
        left = [
            one if hearing is None else _after(one, hearing.exits, subject, fact, turn)
            for one, hearing in zip(instances, heard, strict=True)
        ]
        subject = replace(subject, instances=tuple(one for one in left if one is not None))
    heard = [definitions.hearing(one.journey_version, kind) for one in held]
    if any(heard):
        withdrawn = tuple(
            one if hearing is None else _withdrawn(one, hearing.exits, subject, fact, turn)
            for one, hearing in zip(held, heard, strict=True)
        )
        subject = replace(subject, held=withdrawn)
    return subject


def over_since(subject: Subject, journey: Journey, key: str, at: int) -> bool:
    """Whether an exit of the whole journey came after `at`: a trigger from then is old news."""
    if _nothing_since(subject, at):
        return False
    removed = dict(subject.removed)
    return any(removed.get(_mark(journey, "", k), -1) > at for k in {"", key})


def items_over_since(subject: Subject, journey: Journey, items: tuple[str, ...], at: int) -> set[str]:
    """Which of the items were taken out after `at`."""
    if _nothing_since(subject, at):
        return set()
    removed = dict(subject.removed)
    return {item for item in items if removed.get(_mark(journey, item), -1) > at}


def _nothing_since(subject: Subject, at: int) -> bool:
    # They stand in the order of their times, and most facts are newer than the last.
    return not subject.removed or subject.removed[-1][1] <= at


def _after(
    instance: Instance, exits: tuple[Exit, ...], subject: Subject, fact: f.SubjectFact, turn: Turn
) -> Instance | None:
    """The instance after a fact, None if that ends it."""
    for way in exits:
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


def _withdrawn(
    candidate: Candidate, exits: tuple[Exit, ...], subject: Subject, fact: f.SubjectFact, turn: Turn
) -> Candidate:
    """A waiting candidate after a fact."""
    for way in exits:
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
    if way.key is not None and key_at(way, fact) != flow.key:
        return False
    return matches(way, fact, subject, turn, flow.kept)


def _noted(subject: Subject, journey: Journey, way: Exit, fact: f.SubjectFact) -> Subject:
    if way.items is not None:
        marks = [_mark(journey, item) for item in items_at(fact, way.items)]
    else:
        marks = [_mark(journey, "", key_at(way, fact) or "")]
    if len(marks) == 1 and (not subject.removed or subject.removed[-1][1] < fact.occurred_at):
        # Almost always: the newest, and so the last.
        others = [entry for entry in subject.removed if entry[0] != marks[0]]
        latest = [*others, (marks[0], fact.occurred_at)]
        return replace(subject, removed=tuple(latest[-REMOVED_MAX:]))
    removed = dict(subject.removed)
    for mark in marks:
        removed[mark] = max(fact.occurred_at, removed.get(mark, fact.occurred_at))
    latest = sorted(removed.items(), key=lambda entry: (entry[1], entry[0]))
    return replace(subject, removed=tuple(latest[-REMOVED_MAX:]))


def _mark(journey: Journey, item: str, key: str | None = None) -> int:
    """What left one journey is still new to another, so an exit counts for its own."""
    return short_hash(f"{journey.name}\0{item}" if key is None else f"{journey.name}\0\0{key}")
