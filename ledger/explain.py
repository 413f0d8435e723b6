"""Consent with its reasons: which fact stands behind each part of a subject's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TypeAlias

from ledger import facts as f
from ledger.consent import EMPTY, WORD_KINDS, Consent, PermissionFact, Unreadable, installation_key, spoken
from ledger.consent_fold import LedgerFact, follow
from ledger.effective import effective, is_passed_over, own_token, unlinked
from ledger.unreadable import FormerlyTaken, UnreadableRecord
from ledger.words import Place


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part of the consent state: its value, the fact that gave it this value, and when (ms).

    `offset`: of the record, on the subject's partition of permissions, where a part is about a bad record.
    """

    name: str
    value: str
    fact: f.SubjectFact | UnreadableRecord
    at: int
    offset: int | None = None


def explain(ledger: Iterable[LedgerFact]) -> tuple[Consent, tuple[Part, ...]]:
    """Fold what the ledger holds of one subject, permissions by offset, and trace each part to its fact.

    Behind a permission is the word that `effective` names; behind all else the fact that last changed it.
    """
    consent = EMPTY
    values: dict[str, _Value] = {}
    behind: dict[str, Part] = {}
    words: dict[Place, PermissionFact] = {}
    for entry in ledger:
        fact, _, offset, appended_ms = entry
        if isinstance(fact, FormerlyTaken):
            continue
        if isinstance(fact, WORD_KINDS):
            words[appended_ms, offset] = fact
        consent = follow(consent, entry)
        now = _parts(consent)
        marks = {_name(mark) for mark in consent.unreadable}
        for name, value in now.items():
            if values.get(name) != value:
                at = appended_ms if name in marks else _time(fact, appended_ms)
                behind[name] = Part(name, value[0], fact, at, offset if name in marks else None)
        values = now
    for key, installation in consent.installations.items():
        counts, name = effective(installation), _permission(key)
        if counts.register:
            fact = words[counts.place]
            cause = spoken(fact)[1]
            text = f"{counts.permission} ({cause})" if cause else counts.permission
            behind[name] = Part(name, text, fact, counts.at)
    return consent, tuple(behind[name] for name in sorted(values))


def passed_over(ledger: Iterable[LedgerFact], consent: Consent) -> tuple[Part, ...]:
    """The words on permission that stay without effect on `consent`, the fold of `ledger`.

    They were appended after the word that counts, and say the contrary. A copy of one is listed as one.
    """
    found: dict[str, Part] = {}
    for fact, _, offset, appended_ms in ledger:
        if not isinstance(fact, WORD_KINDS):
            continue
        key = installation_key(fact.app, fact.installation)
        known, word = consent.installations.get(key), spoken(fact)[0]
        if known is not None and is_passed_over(known, word, (appended_ms, offset)):
            found.setdefault(fact.event_id, Part(_permission(key), word, fact, fact.occurred_at))
    return tuple(found.values())


def _permission(key: str) -> str:
    return f"permission of {key}"


def _time(fact: f.SubjectFact | UnreadableRecord, appended_ms: int) -> int:
    return appended_ms if isinstance(fact, UnreadableRecord) else fact.occurred_at


def _name(mark: Unreadable) -> str:
    return f"unreadable record from offset {mark.first_offset}"


_Value: TypeAlias = tuple[str, object]
"""A part's value in words, and all that it was rendered from: another fact may say the same again."""


def _parts(consent: Consent) -> dict[str, _Value]:
    if consent.erased_at is not None:
        return {"erased": ("yes", consent.erased_at)}
    parts: dict[str, _Value] = {}
    for key, installation in consent.installations.items():
        word = effective(installation)
        parts[_permission(key)] = word.permission, word
        token = own_token(consent.installations, key)
        if token is not None:
            parts[f"token of {key}"] = "live" if token.live else "dead", token
        links = installation.linked_at, installation.unlinked_at
        if max(links) >= 0:
            parts[f"link of {key}"] = "unlinked" if unlinked(installation) else "linked", links
        if installation.seen_at >= 0:
            place = installation.time_zone or installation.country or "unknown place"
            parts[f"installation {key}"] = f"{installation.platform}, {place}", installation.seen_at
    for mark in consent.unreadable:
        alone = mark.first_offset == mark.last_offset
        text = "no marketing" if alone else f"no marketing, nor for later ones to {mark.last_offset}"
        parts[_name(mark)] = text, mark
    for topic, choice in consent.topics.items():
        parts[f"topic {topic}"] = "on" if choice.on else "off", choice
    for reason, switch in consent.suppressions.items():
        parts[f"suppression {reason}"] = "on" if switch.on else "released", switch
    if consent.frequency is not None:
        text = f"{consent.frequency.max_pushes} per {consent.frequency.window}"
        parts["frequency"] = text, consent.frequency
    if consent.quiet is not None:
        start, end = consent.quiet.start_minute, consent.quiet.end_minute
        text = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
        parts["quiet hours"] = text, consent.quiet
    if consent.pause is not None:
        parts["pause"] = "on" if consent.pause.on else "over", consent.pause
    return parts
