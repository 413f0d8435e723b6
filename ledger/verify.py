"""Derive a recorded decision again: from its snapshot, and its snapshot from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ledger import facts as f
from ledger.consent import EMPTY, Consent, installation_key, installation_of
from ledger.consent_fold import LedgerFact, follow
from ledger.former_rule import follow_formerly, upgraded
from ledger.gate import CHECKS_ADDED, decide
from ledger.policy import Policy
from ledger.snapshot import ConsentView, consent_view, decode_snapshot
from ledger.time_zones import ZoneTable
from ledger.void_addresses import is_void


def objections(
    decision: f.PushDecided,
    policy: Policy,
    zone_table: ZoneTable,
    ledger: Iterable[LedgerFact],
    *,
    tokens_kept: bool = True,
) -> list[str]:
    """What does not hold of a decision; empty when all of it can be derived again.

    `ledger` holds the facts of the decision's subject and its unreadable records, in any order; those at or
    after the cited offsets are left out here. `tokens_kept` False: facts of tokens are kept for a while only,
    and the oldest are gone, so whether an address was live is taken from the snapshot.
    """
    found = []
    snapshot = decode_snapshot(decision.snapshot)
    again = decide(snapshot, policy, zone_table, decision.occurred_at)
    if (again.verdict, again.reason) != (decision.verdict, decision.reason):
        found.append(
            f"verdict {decision.verdict}/{decision.reason} was recorded,"
            f" {again.verdict}/{again.reason} is derived"
        )
    if decision.checks not in _as_recorded(again.checks):
        found.append("the checks' results differ")
    if (
        tuple(map(installation_of, again.installations)) != decision.installations
        or again.hold_until != decision.hold_until
        or again.send_before != decision.send_before
    ):
        found.append("the chosen installations, the end of the hold or the time limit differ")
    limits = {"permissions": decision.permissions_next, "tokens": decision.tokens_next}
    read = [entry for entry in ledger if entry[2] < limits[entry[1]]]
    void = {
        installation_key(fact.app, fact.installation)
        for fact, *_ in read
        if isinstance(fact, f.TokenRegistered) and is_void(fact.provider, fact.token)
    }
    since = decision.consent_rule_from
    consent = folded(read, decision.permissions_next if since is None else since, upgrade=since is not None)
    recorded = snapshot.consent
    derived = consent_view(consent, decision.app, decision.topic, formerly=since is None)
    if void:
        derived = _as_before_void(derived, recorded, void)
    if all(one.since < 0 for one in recorded.installations):
        derived = _as_before_since(derived)
    if not recorded.suppressed_since:
        derived = msgspec.structs.replace(derived, suppressed_since=())
    if not tokens_kept:
        recorded, derived = _without_tokens(recorded), _without_tokens(derived)
    if derived != recorded:
        found.append("the consent in the snapshot is not the fold of the ledger")
    return found


def folded(ledger: Iterable[LedgerFact], rule_from: int, *, upgrade: bool) -> Consent:
    """The fold by the former rule of what stands on permissions before `rule_from`, and by today's after it.

    `upgrade` False: the row was still one of the former rule.
    """
    consent = EMPTY
    former = rule_from > 0
    for entry in sorted(ledger, key=lambda entry: entry[1:3]):
        if former and upgrade and (entry[1] != "permissions" or entry[2] >= rule_from):
            consent, former = upgraded(consent), False
        consent = follow_formerly(consent, entry) if former else follow(consent, entry)
    return upgraded(consent) if former and upgrade else consent


def _as_recorded(checks: tuple[f.CheckResult, ...]) -> Iterator[tuple[f.CheckResult, ...]]:
    """The results as each generation of the gate would have recorded them: what it lacked stopped nothing."""
    yield checks
    for generation in range(len(CHECKS_ADDED)):
        later = CHECKS_ADDED[generation:]
        if all(check.passed for check in checks if check.name in later):
            yield tuple(check for check in checks if check.name not in later)


def _as_before_since(view: ConsentView) -> ConsentView:
    """The view as it was recorded before it told since when a permission counts."""
    replace = msgspec.structs.replace
    return replace(view, installations=tuple(replace(one, since=-1) for one in view.installations))


def _as_before_void(derived: ConsentView, recorded: ConsentView, void: set[str]) -> ConsentView:
    """The view as it was recorded while an address that never was one counted as live."""
    live = {one.key for one in recorded.installations if one.token_live} & void
    replace = msgspec.structs.replace
    return replace(
        derived,
        installations=tuple(
            replace(one, token_live=one.token_live or one.key in live) for one in derived.installations
        ),
    )


def _without_tokens(view: ConsentView) -> ConsentView:
    """The view of somebody of whose installations only what permissions tell is known."""
    replace = msgspec.structs.replace
    told = (one for one in view.installations if (one.permission, one.time_zone) != ("not_determined", None))
    return replace(view, installations=tuple(replace(one, token_live=False) for one in told))


__all__ = ["LedgerFact", "objections"]
