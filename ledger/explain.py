"""Consent with its reasons: which fact stands behind each part of a subject's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ledger import facts as f
from ledger.consent import EMPTY, Consent
from ledger.consent_fold import take_in
from ledger.effective import current_token, effective, unlinked


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part of the consent state: its value, and the fact that gave it this value."""

    name: str
    value: str
    fact: f.SubjectFact


def explain(facts: Iterable[tuple[f.SubjectFact, int]]) -> tuple[Consent, tuple[Part, ...]]:
    """Fold (fact, first append ms) pairs of one subject and trace each part to its fact."""
    consent = EMPTY
    values: dict[str, str] = {}
    behind: dict[str, f.SubjectFact] = {}
    for fact, appended_ms in facts:
        consent = take_in(consent, fact, appended_ms)
        now = _parts(consent)
        for name, value in now.items():
            if values.get(name) != value:
                behind[name] = fact
        values = now
    return consent, tuple(Part(name, values[name], behind[name]) for name in sorted(values))


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
