"""One fact into a subject's consent: whether there is room for it, from when it counts, and the fold.

A fact counts from its own time, but never from later than its first append. A clock that is ahead of the
broker's is honest within the skew, so such facts exist; a second copy of one is appended later, and must not
move it behind what was said in between. So the first times of such facts are remembered (`Consent.ahead`).
Words on permission need no such memory: they keep their own time and their first append, both.
The identity linker's facts count from their own time always: no clock gave it, but the order of the claims.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from ledger import facts as f
from ledger.consent import (
    ACTIVITY,
    INSTALLATIONS_MAX,
    SUPPRESSIONS_MAX,
    TOPICS_MAX,
    WORDS,
    Consent,
    Installation,
    evolve,
    installation_key,
)
from ledger.ids import short_hash
from ledger.unreadable import FormerlyTaken, UnreadableRecord, mark, settle

AHEAD_MAX: Final = 32
"""Facts of clocks that are ahead, whose first time is remembered: the latest ones."""

_NEEDS_NO_PLACE: Final[tuple[type[f.Fact], ...]] = (*ACTIVITY, f.PromptShown, f.PromptAnswered)
"""Facts that name an installation and keep nothing of it."""

LedgerFact: TypeAlias = tuple[f.SubjectFact | UnreadableRecord | FormerlyTaken, str, int, int]
"""What stands at one place: (fact, family `permissions` or `tokens`, offset, first append in ms)."""


def effective_time(fact: f.Fact, appended_ms: int) -> int:
    """When the fact counts from: its own time, but never later than its first append."""
    if fact.occurred_at <= appended_ms or isinstance(fact, f.LinkFact):
        return fact.occurred_at
    return appended_ms


def refusal(consent: Consent, fact: f.SubjectFact) -> str | None:
    """Why this fact has no room in the state, or None. The caller sends it to dead-letters.

    Whether permissions have room depends on permissions alone, so that the marks which refused ones leave can
    be derived again from their partition: installations that only tokens speak of are counted apart.
    """
    # Lengths first: they are all that almost every fact is asked for.
    installations, topics, suppressions = consent.installations, consent.topics, consent.suppressions
    if len(installations) >= INSTALLATIONS_MAX and _is_crowded(installations, fact):
        return "too_many_installations"
    if len(topics) >= TOPICS_MAX and isinstance(fact, f.TopicSubscribed | f.TopicUnsubscribed):
        return None if fact.topic in topics else "too_many_topics"
    if len(suppressions) >= SUPPRESSIONS_MAX and isinstance(fact, f.SubjectSuppressed | f.SubjectReleased):
        return None if fact.reason in suppressions else "too_many_suppressions"
    return None


def _is_crowded(installations: dict[str, Installation], fact: f.SubjectFact) -> bool:
    installation = getattr(fact, "installation", None)
    if installation is None or isinstance(fact, _NEEDS_NO_PLACE):
        return False
    known = installations.get(installation_key(fact.app, installation))
    by_token = isinstance(fact, f.TokenRegistered | f.TokenInvalidated)
    if known is not None and (by_token or not _by_token_alone(known)):
        return False
    alike = sum(_by_token_alone(one) == by_token for one in installations.values())
    return alike >= INSTALLATIONS_MAX


def _by_token_alone(known: Installation) -> bool:
    return msgspec.structs.replace(known, tokens=()) == Installation()


def take_in(consent: Consent, fact: f.SubjectFact, appended_ms: int, offset: int = 0) -> Consent:
    """Fold one fact that was first appended at `appended_ms`; a fact without room changes nothing.

    `offset`: of its record, which orders what was appended in one millisecond. The same fact may come again,
    with the same or a later append.
    """
    if refusal(consent, fact) is not None:
        return consent
    return fold_fact(consent, fact, appended_ms, offset)


def fold_fact(consent: Consent, fact: f.SubjectFact, appended_ms: int, offset: int = 0) -> Consent:
    """Fold one fact for which there is room (the caller asked `refusal`); else like `take_in`."""
    place = appended_ms, offset
    if type(fact) in WORDS:
        return evolve(consent, fact, fact.occurred_at, place)
    if type(fact) is f.UnreadableFactSettled:
        return settle(consent, fact)
    if not consent.ahead and (fact.occurred_at <= appended_ms or isinstance(fact, f.LinkFact)):
        return evolve(consent, fact, fact.occurred_at, place)
    at, ahead = time_of(consent, fact, appended_ms)
    after = evolve(consent, fact, at, place)
    if ahead is consent.ahead or after.erased_at is not None:
        return after
    return msgspec.structs.replace(after, ahead=ahead)


def time_of(consent: Consent, fact: f.SubjectFact, appended_ms: int) -> tuple[int, dict[str, int]]:
    """From when a fact counts, which an earlier copy may have said, and `Consent.ahead` after it."""
    at = effective_time(fact, appended_ms)
    mark = f"{short_hash(fact.event_id):x}"
    at = min(at, consent.ahead.get(mark, at))
    if fact.occurred_at <= appended_ms or isinstance(fact, f.LinkFact) or mark in consent.ahead:
        return at, consent.ahead
    ahead = sorted({**consent.ahead, mark: at}.items(), key=lambda entry: (entry[1], entry[0]))
    return at, dict(ahead[-AHEAD_MAX:])


def follow(consent: Consent, entry: LedgerFact) -> Consent:
    """Fold what stands at one place, as the roles do: a fact, or the mark that a bad record leaves.

    Entries of permissions must come in the order of their offsets.
    """
    fact, family, offset, appended_ms = entry
    if isinstance(fact, FormerlyTaken):
        return consent
    if isinstance(fact, UnreadableRecord):
        return mark(consent, offset, appended_ms)
    if family == "permissions" and refusal(consent, fact) is not None:
        return mark(consent, offset, appended_ms)
    return take_in(consent, fact, appended_ms, offset)
