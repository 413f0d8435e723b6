"""Candidates: pushes that a flow wants to send, from the moment they are wanted to their final decision.

Marketing that is wanted within one short window is gathered and decided in the order of priority, so that the
last slot of a cap goes to the most important and not to the first. What can't be sent at night is held, and
decided again in the morning; then, by policy, only the last of them may have a chance.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ledger import facts as f
from ledger.consent import installation_of
from ledger.gate import MARKETING, TRANSACTIONAL, WINDOW_MS_MAX, Decision, Question, decide
from ledger.ids import derived
from ledger.journey import CONVERTED, Journey, Push
from ledger.policy import LAST_ONLY
from ledger.room import evicted, with_contact
from ledger.rules import Text, values
from ledger.setting import Turn
from ledger.snapshot import RULES, Snapshot, consent_view, encode_snapshot
from ledger.subject import HELD_MAX, Candidate, Contact, Instance, Subject

replace = msgspec.structs.replace

GATHERED = -1
"""Revision of a candidate that nobody decided on yet."""


def candidate_of(instance: Instance, index: int, now: int) -> Candidate:
    """What an instance wants to send at its push step `index`."""
    return Candidate(
        decision_id=derived("decision", instance.instance, str(index)),
        revision=GATHERED,
        candidate_at=now,
        hold_until=now,
        instance=instance.instance,
        journey=instance.journey,
        journey_version=instance.journey_version,
        app=instance.app,
        items=instance.items,
        left=instance.items,
        holdout=instance.holdout,
        at=index,
        kept=instance.kept,
        arm=instance.arm,
        key=instance.key,
    )


def ask(subject: Subject, asked: Iterable[Candidate], turn: Turn, due: Iterable[Candidate] = ()) -> Subject:
    """Take in what is wanted now: gather it, or decide on it, together with what is `due`."""
    window = turn.setting.definitions.policy.decision_window_ms
    now: list[Candidate] = []
    for candidate in asked:
        if not window or _push(candidate, turn).message.category == TRANSACTIONAL:
            now.append(candidate)
            continue
        gathered = [one.hold_until for one in subject.held if one.revision == GATHERED]
        until = min(gathered, default=turn.now + window)
        subject = replace(subject, held=(*subject.held, replace(candidate, hold_until=until)))
        subject = _hold_no_more(subject, candidate.decision_id, turn)
    return _decide_all(subject, _in_order([*due, *now], turn), turn)


def forget(subject: Subject, waiting: Iterable[Candidate], turn: Turn) -> Subject:
    """Decide for good on what waits, after an erasure: nothing else is looked at."""
    for candidate in waiting:
        as_it_was = replace(candidate, left=candidate.items, ended_as="")
        subject, _ = _decide(subject, as_it_was, turn)
    return subject


def _body(candidate: Candidate, turn: Turn) -> Journey:
    return turn.setting.journey(candidate.journey, candidate.journey_version)


def _push(candidate: Candidate, turn: Turn) -> Push:
    journey = _body(candidate, turn)
    step = journey.steps[candidate.at] if candidate.at >= 0 else journey.pushes[0]
    assert isinstance(step, Push)
    return step


def _in_order(candidates: list[Candidate], turn: Turn) -> list[Candidate]:
    """By priority; then what was held, the older first, or the latest first if only one of them is to go."""
    last_only = turn.setting.definitions.policy.after_hold == LAST_ONLY

    def rank(candidate: Candidate) -> tuple[int, bool, int]:
        was_held = candidate.revision > GATHERED
        latest_first = -candidate.candidate_at if was_held and last_only else 0
        return -_body(candidate, turn).priority, not was_held, latest_first

    return sorted(candidates, key=rank)


def _decide_all(subject: Subject, candidates: list[Candidate], turn: Turn) -> Subject:
    last_only = turn.setting.definitions.policy.after_hold == LAST_ONLY
    is_taken = False
    for candidate in candidates:
        was_held = candidate.revision > GATHERED
        subject, decision = _decide(subject, candidate, turn, is_superseded=was_held and is_taken)
        is_taken |= last_only and was_held and decision.verdict in {"send", "hold"}
    return subject


def _decide(
    subject: Subject,
    candidate: Candidate,
    turn: Turn,
    *,
    is_superseded: bool = False,
    is_evicted: bool = False,
) -> tuple[Subject, Decision]:
    candidate = replace(candidate, revision=candidate.revision + 1)
    definitions = turn.setting.definitions
    recent = tuple(c for c in subject.contacts if c.at > turn.now - WINDOW_MS_MAX)
    snapshot = _snapshot(replace(subject, contacts=recent), candidate, turn)
    snapshot = replace(snapshot, superseded=is_superseded, evicted=is_evicted)
    decision = decide(snapshot, definitions.policy, turn.setting.zone_table, turn.now)
    text = None
    if decision.verdict == "send":
        text = _text(subject, candidate, snapshot, turn)
        if text.missing:
            snapshot = replace(snapshot, text_missing=text.missing)
            decision = decide(snapshot, definitions.policy, turn.setting.zone_table, turn.now)
            text = None
    turn.facts.append(_decided(subject, candidate, snapshot, decision, text, turn))
    subject = replace(subject, contacts=recent)
    if decision.hold_until is not None:
        waiting = replace(candidate, hold_until=decision.hold_until)
        subject = replace(subject, held=(*subject.held, waiting))
        return _hold_no_more(subject, candidate.decision_id, turn), decision
    if decision.verdict == "send":
        contact = Contact(
            candidate.decision_id,
            turn.now,
            snapshot.category,
            candidate.journey,
            decision.installations,
            _body(candidate, turn).attribution_ms,
        )
        contacts, lost = with_contact(recent, contact, MARKETING)
        turn.facts += evicted(turn.name, candidate.app, "contact", lost, candidate.decision_id, "", turn.now)
        subject = replace(subject, contacts=contacts)
    return subject, decision


def _snapshot(subject: Subject, candidate: Candidate, turn: Turn) -> Snapshot:
    message = _push(candidate, turn).message
    view = consent_view(subject.consent, candidate.app, message.topic)
    news_at = candidate.kept.get("changed_at", -1)
    return Snapshot(
        consent=view,
        category=message.category,
        topic=message.topic,
        last_active=tuple(subject.last_active.get(i.key, -1) for i in view.installations),
        contacts=tuple(c.at for c in subject.contacts if c.category == message.category),
        holdout=candidate.holdout,
        goal_met=candidate.ended_as == CONVERTED,
        message=message.name,
        left_as="" if candidate.ended_as == CONVERTED else candidate.ended_as,
        opens=subject.profile.opens,
        last_order=subject.profile.last_order,
        news_at=news_at if isinstance(news_at, int) else -1,
        failed_steps=len(subject.failed),
        rules=RULES,
    )


def _text(subject: Subject, candidate: Candidate, snapshot: Snapshot, turn: Turn) -> Text:
    zones = Question(snapshot, turn.setting.definitions.policy, turn.setting.zone_table, turn.now).zones
    known = values(subject.profile, turn.now, items=candidate.left, trigger=candidate.kept, zones=zones)
    return turn.setting.texts.render(_push(candidate, turn).message, known)


def _decided(
    subject: Subject,
    candidate: Candidate,
    snapshot: Snapshot,
    decision: Decision,
    text: Text | None,
    turn: Turn,
) -> f.PushDecided:
    setting, rule_from = turn.setting, subject.consent.rule_from
    version = candidate.kept.get("version")
    return f.PushDecided(
        event_id=derived("decided", candidate.decision_id, str(candidate.revision)),
        app=candidate.app,
        occurred_at=turn.now,
        source="processor",
        subject=turn.name,
        decision_id=candidate.decision_id,
        revision=candidate.revision,
        candidate_at=candidate.candidate_at,
        journey=candidate.journey,
        journey_version=candidate.journey_version,
        policy_version=setting.definitions.policy_version,
        instance=candidate.instance,
        step=_push(candidate, turn).step,
        category=snapshot.category,
        topic=snapshot.topic,
        verdict=decision.verdict,
        reason=decision.reason,
        hold_until=decision.hold_until,
        send_before=decision.send_before,
        checks=decision.checks,
        snapshot=encode_snapshot(snapshot),
        permissions_next=setting.permissions_next,
        tokens_next=setting.tokens_next,
        consent_rule_from=setting.permissions_next if rule_from < 0 else rule_from,
        installations=tuple(map(installation_of, decision.installations)),
        items=candidate.left,
        title=None if text is None else text.title,
        body=None if text is None else text.body,
        shown={} if text is None else dict(text.shown),
        attribution_ms=_body(candidate, turn).attribution_ms,
        message=snapshot.message,
        arm=candidate.arm or None,
        item_version=version if isinstance(version, int) else None,
    )


def _hold_no_more(subject: Subject, cause: str, turn: Turn) -> Subject:
    """Decide for good on candidates that wait where there are more than fit: the least important, oldest."""
    while len(subject.held) > HELD_MAX:
        least = min(subject.held, key=lambda one: (_body(one, turn).priority, one.candidate_at))
        others = tuple(one for one in subject.held if one is not least)
        subject, _ = _decide(replace(subject, held=others), least, turn, is_evicted=True)
        turn.facts += evicted(turn.name, least.app, "candidate", 1, cause, least.decision_id, turn.now)
    return subject
