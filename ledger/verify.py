"""Derive a recorded decision again: from its snapshot, and its snapshot from the ledger."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ledger import facts as f
from ledger.consent import EMPTY, installation_of
from ledger.consent_fold import take_in
from ledger.definitions import Policy
from ledger.gate import decide
from ledger.snapshot import ConsentView, consent_view, decode_snapshot
from ledger.time_zones import ZoneTable

LedgerFact = tuple[f.SubjectFact, str, int, int]
"""(fact, family `permissions` or `tokens`, offset, first append in ms)."""


def objections(
    decision: f.PushDecided,
    policy: Policy,
    zone_table: ZoneTable,
    ledger: Iterable[LedgerFact],
    *,
    tokens_kept: bool = True,
) -> list[str]:
    """What does not hold of a decision; empty when all of it can be derived again.

    `ledger` holds the accepted facts of the decision's subject, in any order; those at or after the cited
    offsets are left out here. `tokens_kept` False: facts of tokens are kept for a while only, and the oldest
    are gone, so whether an address was live is taken from the snapshot.
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
        or again.send_before != decision.send_before
    ):
        found.append("the chosen installations, the end of the hold or the time limit differ")
    limits = {"permissions": decision.permissions_next, "tokens": decision.tokens_next}
    consent = EMPTY
    for fact, family, offset, appended_ms in sorted(ledger, key=lambda entry: entry[1:3]):
        if offset < limits[family]:
            consent = take_in(consent, fact, appended_ms)
    recorded, derived = snapshot.consent, consent_view(consent, decision.app, decision.topic)
    if not tokens_kept:
        recorded, derived = _without_tokens(recorded), _without_tokens(derived)
    if derived != recorded:
        found.append("the consent in the snapshot is not the fold of the ledger")
    return found


def _without_tokens(view: ConsentView) -> ConsentView:
    """The view of somebody of whose installations only what permissions tell is known."""
    replace = msgspec.structs.replace
    told = (one for one in view.installations if (one.permission, one.time_zone) != ("not_determined", None))
    return replace(view, installations=tuple(replace(one, token_live=False) for one in told))
