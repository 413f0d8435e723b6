"""The one way in: fold a fact into a subject's row, and say what follows."""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f
from ledger.consent import ACTIVITY
from ledger.consent_fold import effective_time, fold_fact
from ledger.failed_steps import settle_failed
from ledger.journeys import hear, react, seen_active
from ledger.room import evicted, released, tokens_lost
from ledger.setting import Setting, Step
from ledger.subject import Subject

_ACTIVITY: Final = frozenset(ACTIVITY)


def fold(
    subject: Subject,
    name: str,
    fact: f.SubjectFact,
    appended_ms: int,
    now: int,
    setting: Setting,
    offset: int = 0,
) -> Step:
    """Fold one accepted fact of subject `name`, first appended at `appended_ms`, at `now` (both ms).

    `offset`: of its record, which orders what was appended in one millisecond.
    Total and deterministic. The caller asked `consent_fold.refusal` whether there is room. Facts of decisions
    change nothing here, those of deliveries give slots back.
    """
    kind = type(fact)
    if kind in _ACTIVITY:
        return react(subject, name, fact, now, setting)
    before = subject.consent
    consent = fold_fact(before, fact, appended_ms, offset)
    if consent is not before:
        subject = msgspec.structs.replace(subject, consent=consent)
    if kind is f.SubjectErased:
        return react(subject, name, fact, now, setting)
    if kind is f.UnreadableFactSettled:
        assert isinstance(fact, f.UnreadableFactSettled)
        subject = settle_failed(subject, fact)
    if isinstance(fact, f.TokenRegistered | f.TokenInvalidated):
        lost = tokens_lost(before, consent, fact)
        return subject, evicted(name, fact.app, "token", lost, fact.event_id, fact.installation, now)
    if isinstance(fact, f.InstallationSeen) and consent.erased_at is None:
        subject = seen_active(subject, fact.app, fact.installation, effective_time(fact, appended_ms))
    if isinstance(fact, f.DeliveryFact):
        return released(subject, fact), ()
    if kind.__name__ in setting.definitions.moved_by or subject.instances:
        return hear(subject, name, fact, now, setting)
    return subject, ()
