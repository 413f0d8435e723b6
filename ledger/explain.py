"""Consent with its reasons: which fact stands behind each part of a subject's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ledger import facts as f
from ledger.consent import EMPTY, Consent, Unreadable
from ledger.consent_fold import LedgerFact, follow
from ledger.effective import current_token, effective, unlinked
from ledger.unreadable import UnreadableRecord


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
    """Fold what the ledger holds of one subject, permissions by offset, and trace each part to its fact."""
    consent = EMPTY
    values: dict[str, str] = {}
    behind: dict[str, Part] = {}
    for entry in ledger:
        fact, _, offset, appended_ms = entry
        consent = follow(consent, entry)
        now = _parts(consent)
        marks = {_name(mark) for mark in consent.unreadable}
        for name, value in now.items():
            if values.get(name) != value:
                at = appended_ms if name in marks else _time(fact, appended_ms)
                behind[name] = Part(name, value, fact, at, offset if name in marks else None)
        values = now
    return consent, tuple(behind[name] for name in sorted(values))


def _time(fact: f.SubjectFact | UnreadableRecord, appended_ms: int) -> int:
    return appended_ms if isinstance(fact, UnreadableRecord) else fact.occurred_at


def _name(mark: Unreadable) -> str:
    return f"unreadable record from offset {mark.first_offset}"


def _parts(consent: Consent) -> dict[str, str]:
    if consent.erased_at is not None:
        return {"erased": "yes"}
    parts: dict[str, str] = {}
    for key, installation in consent.installations.items():
        word = effective(installation)
        cause = f" ({word.cause})" if word.cause else ""
        parts[f"permission of {key}"] = f"{word.permission}{cause}"
        token = current_token(installation)
        if token is not None:
            parts[f"token of {key}"] = "live" if token.live else "dead"
        if max(installation.linked_at, installation.unlinked_at) >= 0:
            parts[f"link of {key}"] = "unlinked" if unlinked(installation) else "linked"
        if installation.seen_at >= 0:
            place = installation.time_zone or installation.country or "unknown place"
            parts[f"installation {key}"] = f"{installation.platform}, {place}"
    for mark in consent.unreadable:
        alone = mark.first_offset == mark.last_offset
        parts[_name(mark)] = (
            "no marketing" if alone else f"no marketing, nor for later ones to {mark.last_offset}"
        )
    for topic, choice in consent.topics.items():
        parts[f"topic {topic}"] = "on" if choice.on else "off"
    for reason, switch in consent.suppressions.items():
        parts[f"suppression {reason}"] = "on" if switch.on else "released"
    if consent.frequency is not None:
        parts["frequency"] = f"{consent.frequency.max_pushes} per {consent.frequency.window}"
    if consent.quiet is not None:
        start, end = consent.quiet.start_minute, consent.quiet.end_minute
        parts["quiet hours"] = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    if consent.pause is not None:
        parts["pause"] = "on" if consent.pause.on else "over"
    return parts
