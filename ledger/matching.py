"""Whether a fact of the right kind is one that a journey waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger import facts as f
from ledger.journey import Match, value_at
from ledger.rules import values
from ledger.setting import Turn
from ledger.subject import Subject


def matches(
    match: Match,
    fact: f.SubjectFact,
    subject: Subject,
    turn: Turn,
    trigger: Mapping[str, Any] | None = None,
) -> bool:
    """Fields and rule, of a fact of the right kind; `trigger`: what an open instance kept of its own."""
    for field, word in match.where.items():
        if _word(value_at(fact, field)) != word:
            return False
    if match.when is None:
        return True
    known = values(subject.profile, turn.now, trigger=trigger, fact=fact)
    return turn.setting.rules.holds(match.when, known)


def key_at(match: Match, fact: f.SubjectFact) -> str | None:
    """The fact's key by this match: "" where it has none, None where the fact says nothing of it."""
    if match.key is None:
        return ""
    value = value_at(fact, match.key)
    return None if value is None else _word(value)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
