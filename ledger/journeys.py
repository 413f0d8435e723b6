"""The journey machine: what follows from a fact or from time passing, for one subject.

`react` and `fire` return the subject's next state and the facts that follow; they start nothing
themselves. The machine is generic; what a journey is comes from `definitions.Journey`.

The rule: a trigger starts the subject's one open instance of a journey or re-arms it (due = last trigger
+ wait); a removal takes its items out, and an emptied instance ends; a due instance that still holds
items yields one candidate and ends; a later trigger starts a new one. Where there is no room for one more,
the oldest ends, `evicted` (`ledger.room`).
"""

from __future__ import annotations

import dataclasses

import msgspec

from ledger import attribution
from ledger import facts as f
from ledger.consent import installation_of
from ledger.definitions import Definitions, Journey, Match, held_out
from ledger.gate import MARKETING, TRANSACTIONAL, WINDOW_MS_MAX, decide
from ledger.ids import derived, short_hash
from ledger.room import evicted, with_contact
from ledger.snapshot import Snapshot, consent_view, encode_snapshot
from ledger.subject import (
    BEGUN_MAX,
    HELD_MAX,
    INSTANCES_MAX,
    ITEMS_MAX,
    RECENT_IDS_MAX,
    REMOVED_MAX,
    Candidate,
    Contact,
    Instance,
    Subject,
)
from ledger.time_zones import ZoneTable

replace = msgspec.structs.replace

Step = tuple[Subject, tuple[f.SubjectFact, ...]]
"""The next state and the facts that follow from it, in order."""


class UnknownDefinition(LookupError):  # noqa: N818 - named for what was met
    """An instance cites a journey body that this process has not read.

    Operator action: none if it passes; else check that the definitions topic is complete.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What holds while one chunk is folded: definitions, zones, and how far the ledger was read."""

    definitions: Definitions
    zone_table: ZoneTable
    permissions_next: int
    tokens_next: int


def react(subject: Subject, name: str, fact: f.SubjectFact, now: int, setting: Setting) -> Step:
    """Apply one activity or erasure fact of subject `name` at `now` (ms)."""
    if isinstance(fact, f.SubjectErased):
        return _forget(subject, name, now, setting)
    if subject.consent.erased_at is not None:
        return subject, ()
    if isinstance(fact, f.CartUpdated | f.OrderPlaced | f.PushOpened | f.ItemSaved):
        mark = short_hash(fact.order_id if isinstance(fact, f.OrderPlaced) else fact.event_id)
        if mark in subject.recent:
            return subject, ()
        subject = replace(subject, recent=(*subject.recent, mark)[-RECENT_IDS_MAX:])
    subject = _active(subject, fact, now)
    if isinstance(fact, f.PushOpened):
        contacts = attribution.opened(subject.contacts, fact.push_id, fact.occurred_at)
        return replace(subject, contacts=contacts), ()
    if isinstance(fact, f.OrderPlaced):
        contacts = attribution.ordered(subject.contacts, fact.occurred_at)
        subject = replace(subject, contacts=contacts)
    facts: list[f.SubjectFact] = []
    for journey in setting.definitions.journeys:
        subject = _remove(subject, name, journey, fact, now, facts)
        subject = _trigger(subject, name, journey, fact, now, setting, facts)
    return subject, tuple(facts)


def fire(subject: Subject, name: str, now: int, setting: Setting) -> Step:
    """Take all steps of subject `name` that are due at or before `now` (ms).

    Held candidates come before instances, older before younger. Raises `UnknownDefinition`.
    """
    facts: list[f.SubjectFact] = []
    waiting = subject.held
    subject = replace(subject, held=tuple(c for c in waiting if c.hold_until > now))
    for candidate in waiting:
        if candidate.hold_until <= now:
            again = replace(candidate, revision=candidate.revision + 1)
            subject = _decide(subject, name, again, now, setting, facts)
    open_instances = subject.instances
    subject = replace(subject, instances=tuple(i for i in open_instances if i.due > now))
    for instance in open_instances:
        if instance.due <= now:
            facts.append(_ended(name, instance, "candidate", now))
            candidate = Candidate(
                decision_id=derived("decision", instance.instance),
                revision=0,
                candidate_at=now,
                hold_until=now,
                instance=instance.instance,
                journey=instance.journey,
                journey_version=instance.journey_version,
                app=instance.app,
                items=instance.items,
                left=instance.items,
                holdout=instance.holdout,
            )
            subject = _decide(subject, name, candidate, now, setting, facts)
    return subject, tuple(facts)


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


def _matches(match: Match, fact: f.SubjectFact) -> bool:
    return type(fact).__name__ == match.fact and all(
        str(getattr(fact, field, None)) == value for field, value in match.where.items()
    )


def _items(match: Match, fact: f.SubjectFact) -> tuple[str, ...]:
    value = getattr(fact, match.items)
    return (value,) if isinstance(value, str) else tuple(value)


def _remove(
    subject: Subject,
    name: str,
    journey: Journey,
    fact: f.SubjectFact,
    now: int,
    facts: list[f.SubjectFact],
) -> Subject:
    for removal in journey.removals:
        if not _matches(removal, fact):
            continue
        gone = set(_items(removal, fact))
        subject = _note_removed(subject, journey, gone, fact.occurred_at)
        kept: list[Instance] = []
        for instance in subject.instances:
            if instance.journey != journey.name or gone.isdisjoint(instance.items):
                kept.append(instance)
                continue
            left = tuple(item for item in instance.items if item not in gone)
            if left:
                kept.append(replace(instance, items=left))
            else:
                facts.append(_ended(name, instance, removal.outcome, now))
        held = tuple(
            replace(candidate, left=tuple(i for i in candidate.left if i not in gone))
            if candidate.journey == journey.name and removal.outcome == "converted"
            else candidate
            for candidate in subject.held
        )
        subject = replace(subject, instances=tuple(kept), held=held)
    return subject


def _removal_mark(journey: Journey, item: str) -> int:
    """What leaves one journey's cart is still new to another journey, so a removal counts for its own."""
    return short_hash(f"{journey.name}\0{item}")


def _note_removed(subject: Subject, journey: Journey, items: set[str], at: int) -> Subject:
    removed = dict(subject.removed)
    for item in items:
        mark = _removal_mark(journey, item)
        removed[mark] = max(at, removed.get(mark, at))
    latest = sorted(removed.items(), key=lambda entry: (entry[1], entry[0]))
    return replace(subject, removed=tuple(latest[-REMOVED_MAX:]))


def _trigger(
    subject: Subject,
    name: str,
    journey: Journey,
    fact: f.SubjectFact,
    now: int,
    setting: Setting,
    facts: list[f.SubjectFact],
) -> Subject:
    if not _matches(journey.trigger, fact):
        return subject
    if now - fact.occurred_at > setting.definitions.policy.lateness_max_ms:
        return subject
    # A fact that was long under way: what left the cart after it needs no reminder.
    over = {item for item, at in subject.removed if at > fact.occurred_at}
    items = tuple(item for item in _items(journey.trigger, fact) if _removal_mark(journey, item) not in over)
    if not items:
        return subject
    for index, instance in enumerate(subject.instances):
        if instance.journey == journey.name and instance.app == fact.app:
            everything = (*(item for item in instance.items if item not in items), *items)
            armed = replace(
                instance,
                due=max(instance.due, fact.occurred_at + journey.wait_ms),
                items=everything[-ITEMS_MAX:],
            )
            facts += _items_evicted(name, instance, everything, fact, now)
            others = subject.instances
            return replace(subject, instances=(*others[:index], armed, *others[index + 1 :]))
    version = setting.definitions.journey_versions[journey.name]
    mark = short_hash(f"{journey.name}\0{fact.event_id}")
    if mark in subject.begun:
        return subject
    subject = replace(subject, begun=(*subject.begun, mark)[-BEGUN_MAX:])
    distinct = tuple(dict.fromkeys(items))
    started = Instance(
        instance=derived("instance", name, journey.name, version, fact.event_id),
        journey=journey.name,
        journey_version=version,
        app=fact.app,
        due=fact.occurred_at + journey.wait_ms,
        items=distinct[-ITEMS_MAX:],
        holdout=held_out(journey.holdout, name),
    )
    facts.append(
        f.JourneyStarted(
            event_id=derived("started", started.instance),
            app=fact.app,
            occurred_at=now,
            source="processor",
            subject=name,
            journey=journey.name,
            journey_version=version,
            instance=started.instance,
            trigger_event_id=fact.event_id,
            holdout=started.holdout,
        )
    )
    facts += _items_evicted(name, started, distinct, fact, now)
    too_many = max(len(subject.instances) + 1 - INSTANCES_MAX, 0)
    for oldest in subject.instances[:too_many]:
        facts.append(_ended(name, oldest, "evicted", now))
        facts += evicted(name, oldest.app, "instance", 1, fact.event_id, oldest.instance, now)
    return replace(subject, instances=(*subject.instances, started)[-INSTANCES_MAX:])


def _items_evicted(
    name: str, instance: Instance, items: tuple[str, ...], fact: f.SubjectFact, now: int
) -> tuple[f.SubjectFact, ...]:
    over = max(len(items) - ITEMS_MAX, 0)
    return evicted(name, instance.app, "item", over, fact.event_id, instance.instance, now)


def _ended(name: str, instance: Instance, outcome: str, now: int) -> f.JourneyEnded:
    return f.JourneyEnded(
        event_id=derived("ended", instance.instance),
        app=instance.app,
        occurred_at=now,
        source="processor",
        subject=name,
        journey=instance.journey,
        journey_version=instance.journey_version,
        instance=instance.instance,
        outcome=outcome,
    )


def _forget(subject: Subject, name: str, now: int, setting: Setting) -> Step:
    """Erasure: end what is open, decide what is held (withhold: erased), keep nothing else."""
    facts: list[f.SubjectFact] = []
    remaining = Subject(consent=subject.consent)
    for candidate in subject.held:
        again = replace(candidate, revision=candidate.revision + 1, left=candidate.items)
        remaining = _decide(remaining, name, again, now, setting, facts)
    facts.extend(_ended(name, instance, "erased", now) for instance in subject.instances)
    return remaining, tuple(facts)


def _decide(
    subject: Subject,
    name: str,
    candidate: Candidate,
    now: int,
    setting: Setting,
    facts: list[f.SubjectFact],
    *,
    is_evicted: bool = False,
) -> Subject:
    journey = setting.definitions.journey(candidate.journey_version)
    if journey is None:
        raise UnknownDefinition(f"{candidate.journey} {candidate.journey_version}")
    push, policy = journey.push, setting.definitions.policy
    view = consent_view(subject.consent, candidate.app, push.topic)
    recent = tuple(c for c in subject.contacts if c.at > now - WINDOW_MS_MAX)
    snapshot = Snapshot(
        consent=view,
        category=push.category,
        topic=push.topic,
        last_active=tuple(subject.last_active.get(i.key, -1) for i in view.installations),
        contacts=tuple(c.at for c in recent if c.category == MARKETING),
        holdout=candidate.holdout,
        goal_met=not candidate.left,
        evicted=is_evicted,
    )
    decision = decide(snapshot, policy, setting.zone_table, now)
    sent = decision.verdict == "send"
    facts.append(
        f.PushDecided(
            event_id=derived("decided", candidate.decision_id, str(candidate.revision)),
            app=candidate.app,
            occurred_at=now,
            source="processor",
            subject=name,
            decision_id=candidate.decision_id,
            revision=candidate.revision,
            candidate_at=candidate.candidate_at,
            journey=candidate.journey,
            journey_version=candidate.journey_version,
            policy_version=setting.definitions.policy_version,
            instance=candidate.instance,
            step=push.step,
            category=push.category,
            topic=push.topic,
            verdict=decision.verdict,
            reason=decision.reason,
            hold_until=decision.hold_until,
            send_before=decision.send_before,
            checks=decision.checks,
            snapshot=encode_snapshot(snapshot),
            permissions_next=setting.permissions_next,
            tokens_next=setting.tokens_next,
            installations=tuple(map(installation_of, decision.installations)),
            items=candidate.left,
            title=push.title if sent else None,
            body=push.body if sent else None,
            attribution_ms=journey.attribution_ms,
        )
    )
    if decision.hold_until is not None:
        waiting = replace(candidate, hold_until=decision.hold_until)
        subject = replace(subject, held=(*subject.held, waiting), contacts=recent)
        return _hold_no_more(subject, name, candidate.decision_id, now, setting, facts)
    if sent:
        contact = Contact(
            candidate.decision_id,
            now,
            push.category,
            candidate.journey,
            decision.installations,
            journey.attribution_ms,
        )
        recent, lost = with_contact(recent, contact, MARKETING)
        facts += evicted(name, candidate.app, "contact", lost, candidate.decision_id, "", now)
    return replace(subject, contacts=recent)


def _hold_no_more(
    subject: Subject, name: str, cause: str, now: int, setting: Setting, facts: list[f.SubjectFact]
) -> Subject:
    """Decide for good on the oldest held candidates where there are more than fit."""
    while len(subject.held) > HELD_MAX:
        oldest, *others = subject.held
        subject = replace(subject, held=tuple(others))
        last = replace(oldest, revision=oldest.revision + 1)
        subject = _decide(subject, name, last, now, setting, facts, is_evicted=True)
        facts += evicted(name, oldest.app, "candidate", 1, cause, oldest.decision_id, now)
    return subject


__all__ = ["MARKETING", "TRANSACTIONAL", "Setting", "Step", "UnknownDefinition", "fire", "react"]
