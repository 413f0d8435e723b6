"""The journey machine: what follows from a fact or from time passing, for one subject.

`react` and `fire` return the subject's next state and the facts that follow; they start nothing themselves.
What a journey is, comes from `ledger.journey.Journey`. In this order: a fact is added to the profile, ends
what it ends (`exits`), lets what waited for it go on (`walk`), begins what it begins (`entry`); the pushes
that are asked for on the way become candidates (`candidates`). Where there is no room for another instance,
the oldest ends, `evicted` (`ledger.room`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import attribution, candidates, entry, exits, profile, walk
from ledger import facts as f
from ledger.ids import short_hash
from ledger.recall import end_recalled
from ledger.setting import Setting, Step, Turn
from ledger.subject import RECENT_IDS_MAX, Candidate, Subject

replace = msgspec.structs.replace

_COUNTED_BY_TIME: Final = (f.AppOpened, f.ItemViewed, f.SubjectAttributesSet)
"""Activity whose second copies change nothing by themselves; of the rest the last ids are remembered."""


_PASSIVE: Final = (f.PushDelivered, f.PushDismissed)
"""What a phone says of a push. Nobody used the app for it, so it is no activity of the subject's."""


def react(subject: Subject, name: str, fact: f.SubjectFact, now: int, setting: Setting) -> Step:
    """Apply one activity or erasure fact of subject `name` at `now` (ms)."""
    turn = Turn(name, now, setting)
    if isinstance(fact, f.SubjectErased):
        return _forget(subject, turn)
    if subject.consent.erased_at is not None or not isinstance(fact, f.ActivityFact):
        return subject, ()
    if isinstance(fact, _PASSIVE):
        return _move(subject, fact, turn)
    if not isinstance(fact, _COUNTED_BY_TIME):
        mark = short_hash(fact.event_id)
        if mark in subject.recent:
            return subject, ()
        if isinstance(fact, f.OrderPlaced):
            return _ordered(subject, fact, turn, mark)
        subject = replace(subject, recent=(*subject.recent, mark)[-RECENT_IDS_MAX:])
    subject = _active(subject, fact, now)
    counted = profile.take_in(subject.profile, fact, now)
    if counted is not subject.profile:
        subject = replace(subject, profile=counted)
    if isinstance(fact, f.PushOpened):
        contacts = attribution.opened(subject.contacts, fact.push_id, fact.occurred_at)
        subject = replace(subject, contacts=contacts)
    return _move(subject, fact, turn)


def _ordered(subject: Subject, fact: f.OrderPlaced, turn: Turn, mark: int) -> Step:
    """An order, or a later telling of one: line by line, or again and whole after it was edited.

    One order counts once and begins a journey once; its amount is that of the latest telling. What it ends
    and what waits for it hears each telling, since each may name items that no other does.
    """
    order = short_hash(fact.order_id)
    is_known = order in subject.recent
    others = tuple(one for one in subject.recent if one != order)
    subject = replace(subject, recent=(*others, mark, order)[-RECENT_IDS_MAX:])
    subject = _active(subject, fact, turn.now)
    counted = profile.ordered(subject.profile, fact, turn.now, order, is_known=is_known)
    subject = replace(subject, profile=counted)
    if not is_known:
        subject = replace(subject, contacts=attribution.ordered(subject.contacts, fact.occurred_at))
    return _move(subject, fact, turn, begins=not is_known)


def hear(subject: Subject, name: str, fact: f.SubjectFact, now: int, setting: Setting) -> Step:
    """Let journeys move by a fact of consent that was folded already."""
    if subject.consent.erased_at is not None:
        return subject, ()
    return _move(subject, fact, Turn(name, now, setting))


def fire(subject: Subject, name: str, now: int, setting: Setting) -> Step:
    """Take all steps of subject `name` that are due at or before `now` (ms). Raises `UnknownDefinition`."""
    turn = Turn(name, now, setting)
    subject = end_recalled(subject, turn)
    due = tuple(one for one in subject.held if one.hold_until <= now)
    ready = tuple(one for one in subject.instances if one.due <= now)
    subject = replace(
        subject,
        held=tuple(one for one in subject.held if one.hold_until > now),
        instances=tuple(one for one in subject.instances if one.due > now),
    )
    asked: list[Candidate] = []
    for instance in ready:
        waiting, pushes = walk.on_from(subject, instance, turn)
        asked.extend(pushes)
        if waiting is not None:
            subject = replace(subject, instances=(*subject.instances, waiting))
    subject = candidates.ask(subject, asked, turn, due)
    return subject, tuple(turn.facts)


def _move(subject: Subject, fact: f.SubjectFact, turn: Turn, *, begins: bool = True) -> Step:
    kind = type(fact).__name__
    definitions = turn.setting.definitions
    moved = definitions.moved_by.get(kind, ())
    if not moved and not subject.instances and not subject.held:
        return subject, ()
    subject = exits.leave(end_recalled(subject, turn), fact, turn)
    subject, asked = walk.arrived(subject, fact, turn)
    wanted = [*asked]
    for journey, triggers in definitions.by_kind(kind).begins if begins else ():
        if definitions.journey_versions[journey.name] in turn.setting.recalled:
            continue
        subject, asked = entry.enter(subject, journey, triggers, fact, turn)
        wanted.extend(asked)
    if wanted:
        subject = candidates.ask(subject, wanted, turn)
    return subject, tuple(turn.facts)


def _active(subject: Subject, fact: f.SubjectFact, now: int) -> Subject:
    installation = getattr(fact, "installation", None)
    if installation is None:
        return subject
    return seen_active(subject, fact.app, installation, min(fact.occurred_at, now))


def seen_active(subject: Subject, app: str, installation: str, at: int) -> Subject:
    """Note that an installation of a known subject was in use at `at` (ms)."""
    key = f"{app}/{installation}"
    if at <= subject.last_active.get(key, -1) or key not in subject.consent.installations:
        # Activity of an installation that never told the ledger of itself can't be pushed to.
        return subject
    return replace(subject, last_active={**subject.last_active, key: at})


def _forget(subject: Subject, turn: Turn) -> Step:
    """Erasure: end what is open, decide what waits (withhold: erased), keep nothing else."""
    remaining = candidates.forget(Subject(consent=subject.consent), subject.held, turn)
    for instance in subject.instances:
        turn.end(instance, "erased")
    return remaining, tuple(turn.facts)
