"""`optin verify`: derive every recorded decision again, from its snapshot and from the ledger."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import typer

from connectors.kafka.read import first_offset
from connectors.kafka.topics import partition_count
from connectors.time_zones import zone_table
from ledger.consent_fold import LedgerFact
from ledger.definitions import Body
from ledger.policy import Policy
from ledger.verify import objections
from processors import report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.definitions.archive import read_archive
from processors.history import decisions_of, ledger_of
from processors.topic_names import PERMISSIONS, TOKENS

SHOWN_MAX: Final = 20


def verify(
    data: DataFolder = None,
) -> None:
    """Check that every decision can be derived again.

    For each recorded decision: the gate, asked with the recorded inputs, policy and time, gives the recorded
    verdict; and the consent among those inputs equals a fold of the ledger up to the cited offsets.
    Exits with 1, and names the decisions, if one can't.
    """
    checked = without_tokens = 0
    found: list[tuple[str, int, str]] = []
    with report.progress() as progress, servers(data, progress) as where:
        bootstrap = where.kafka_bootstrap
        archive = asyncio.run(read_archive(bootstrap))
        for partition in range(asyncio.run(partition_count(bootstrap, PERMISSIONS))):
            progress(f"Verifying: partition {partition}, {checked:,} decisions so far")
            tokens_kept = not asyncio.run(first_offset(bootstrap, TOKENS, partition))
            count, objected = asyncio.run(verify_partition(bootstrap, partition, archive, tokens_kept))
            checked += count
            without_tokens += 0 if tokens_kept else count
            found += objected
    for decision_id, revision, objection in found[:SHOWN_MAX]:
        report.out.print(f"{decision_id} revision {revision}: {objection}", highlight=False)
    if without_tokens:
        report.out.print(
            f"{without_tokens:,} of them without delivery addresses, whose oldest facts are no longer kept",
            highlight=False,
        )
    report.out.print(f"{checked:,} decisions checked, {len(found):,} objections", highlight=False)
    if found:
        raise typer.Exit(1)


async def verify_partition(
    bootstrap: str, partition: int, archive: Mapping[str, Body], tokens_kept: bool
) -> tuple[int, list[tuple[str, int, str]]]:
    """Check all decisions of one partition: how many, and (decision id, revision, objection) of bad ones."""
    ledger: dict[str, list[LedgerFact]] = defaultdict(list)
    for fact in await ledger_of(bootstrap, partition):
        ledger[fact[0].subject].append(fact)
    found: list[tuple[str, int, str]] = []
    decisions = await decisions_of(bootstrap, partition)
    for decision in decisions:
        policy = archive.get(decision.policy_version)
        if not isinstance(policy, Policy):
            said = [f"the body of policy {decision.policy_version} is not on optin.definitions"]
        else:
            said = objections(
                decision, policy, zone_table(), ledger[decision.subject], tokens_kept=tokens_kept
            )
        found += [(decision.decision_id, decision.revision, objection) for objection in said]
    return len(decisions), found
