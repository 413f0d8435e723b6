"""Counts of what facts did, told once they are durable. Only called for what is rare."""

from __future__ import annotations

from typing import Final

from ledger import facts as f
from ledger.consent import WORD_KINDS, Consent, installation_key, register_of, spoken
from ledger.effective import is_passed_over
from processors.agents.intake import Accepted
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.meters import Meters
from processors.wall_clock import wall_ms

REVOCATIONS: Final[frozenset[type[f.SubjectFact]]] = frozenset(
    {f.PermissionRevoked, f.PermissionDenied, f.MarketingPaused, f.SubjectSuppressed, f.SubjectErased}
)
"""Facts that take permission away."""


def tell_refused(reason: str, transaction: Transaction, meters: Meters) -> None:
    """Count a dead letter by its reason."""
    known = reason if reason in c.DEAD_LETTER_REASONS else "other"
    transaction.once_durable(lambda: meters.add(c.DEAD_LETTERS, reason=known))


def tell_revoked(item: Accepted, transaction: Transaction, meters: Meters) -> None:
    """Note how long one of `REVOCATIONS` took from its first append until it is durable.

    Not for one that changes nothing: a second copy, or a later word is known.
    """
    name, appended_ms = type(item.fact).__name__, item.appended_ms

    def tell() -> None:
        meters.observe(c.REVOCATION, max(0, wall_ms() - appended_ms) / 1000, fact=name)

    transaction.once_durable(tell)


def tell_passed_over(item: Accepted, consent: Consent, transaction: Transaction, meters: Meters) -> None:
    """Count a word on permission that has no effect on `consent`, which it was folded into."""
    fact = item.fact
    if not isinstance(fact, WORD_KINDS):
        return
    known = consent.installations.get(installation_key(fact.app, fact.installation))
    place = item.appended_ms, item.record.offset
    if known is not None and is_passed_over(known, spoken(fact)[0], place):
        clock = register_of(fact)
        transaction.once_durable(lambda: meters.add(c.PASSED_OVER, clock=clock))


def tell_left_out(item: Accepted, transaction: Transaction, meters: Meters) -> None:
    """Count the lines of a fact that were left out."""
    count, name = item.left_out, type(item.fact).__name__
    transaction.once_durable(lambda: meters.add(c.LEFT_OUT, count, fact=name))


def tell_outcome(outcome: str, transaction: Transaction, meters: Meters) -> None:
    """Count what became of a push."""
    transaction.once_durable(lambda: meters.add(c.PUSHES, outcome=outcome))
