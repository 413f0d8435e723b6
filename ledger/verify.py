"""Derive a recorded decision again: from its snapshot, and its snapshot from the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from ledger import facts as f
from ledger.consent import EMPTY, effective_time, evolve, installation_of
from ledger.definitions import Policy
from ledger.gate import decide
from ledger.snapshot import consent_view, decode_snapshot
from ledger.time_zones import ZoneTable

LedgerFact = tuple[f.SubjectFact, str, int, int]
"""(fact, family `permissions` or `tokens`, offset, first append in ms)."""


def objections(
    decision: f.PushDecided, policy: Policy, zone_table: ZoneTable, ledger: Iterable[LedgerFact]
) -> list[str]:
    """What does not hold of a decision; empty when all of it can be derived again.

    `ledger` holds the accepted facts of the decision's subject, in any order; those at or after the cited
    offsets are left out here.
    """
    found = []
    snapshot = decode_snapshot(decision.snapshot)
    again = decide(snapshot, policy, zone_table, decision.occurred_at)
    if (again.verdict, again.reason) != (decision.verdict, decision.reason):
        found.append(
            f"verdict {decision.verdict}/{decision.reason} was recorded,"
            f" {again.verdict}/{again.reason} is derived"
        )
    if again.checks != decision.checks:
        found.append("the checks' results differ")
    if (
        tuple(map(installation_of, again.installations)) != decision.installations
        or again.hold_until != decision.hold_until
    ):
        found.append("the chosen installations or the end of the hold differ")
    limits = {"permissions": decision.permissions_next, "tokens": decision.tokens_next}
    consent = EMPTY
    for fact, family, offset, appended_ms in ledger:
        if offset < limits[family]:
            consent = evolve(consent, fact, effective_time(fact, appended_ms))
    if consent_view(consent, decision.app, decision.topic) != snapshot.consent:
        found.append("the consent in the snapshot is not the fold of the ledger")
    return found
