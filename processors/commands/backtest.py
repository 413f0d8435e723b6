"""`optin backtest`: what other definitions would have decided on recorded facts."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.kafka.topics import partition_count
from ledger.definitions import Definitions
from processors import report
from processors.attach import servers
from processors.backtest import Outcome, by_group, differences, run_partition, tally
from processors.definitions.archive import read_archive
from processors.definitions.loader import load
from processors.topic_names import PERMISSIONS

LISTED_MAX: Final = 20


def backtest(
    definitions: Annotated[Path, typer.Option(help="Folder with the definitions to try.")],
    from_data: Annotated[
        Path | None, typer.Option("--from-data", help="Data folder of a stack; the last used without it.")
    ] = None,
    listed: Annotated[
        int, typer.Option(min=0, max=100_000, help="How many differences to list one by one.")
    ] = LISTED_MAX,
) -> None:
    """Take the recorded facts through other definitions, by the event clock; nothing is sent or written.

    Prints for each journey what was recorded and what would have been, the sends for each stage of life with
    the app, and what differs and why: `fold_order` (facts arrived in another order than they happened),
    `slot_released` (a rejected push gave its slot back), `clock` (it was decided at another moment), or
    `definitions`, where others decided than those that are tried. With the definitions that decided it, a run
    by the event clock comes out the same.
    """
    with report.progress() as progress, servers(from_data, progress) as found:
        bootstrap = found.kafka_bootstrap
        rules = load(definitions, asyncio.run(read_archive(bootstrap)))
        outcome = Outcome()
        for partition in range(asyncio.run(partition_count(bootstrap, PERMISSIONS))):
            progress(f"Backtest: partition {partition}, {outcome.facts:,} facts so far")
            asyncio.run(run_partition(bootstrap, partition, rules, outcome))
    _show(outcome, rules, listed)


def _show(outcome: Outcome, rules: Definitions, listed: int) -> None:
    before, after = tally(outcome.recorded.values()), tally(outcome.derived.values())
    nothing: Counter[str] = Counter()
    rows = []
    for journey in sorted({*before, *after, *rules.journey_versions}):
        mine, theirs = after.get(journey, nothing), before.get(journey, nothing)
        words = ["candidates", *sorted((mine.keys() | theirs.keys()) - {"candidates"})]
        rows += [(journey, word, theirs[word], mine[word], mine[word] - theirs[word]) for word in words]
    report.out.print(f"{outcome.facts:,} facts", highlight=False)
    report.out.print(report.table("Decisions", ("journey", "", "recorded", "backtest", "change"), rows))
    told = by_group(outcome.derived.values())
    groups = [(journey, stage, count) for (journey, stage), count in sorted(told.items())]
    report.out.print(report.table("Sends by stage", ("journey", "stage", "backtest"), groups))
    found = list(differences(outcome, rules))
    causes = Counter(one.cause for one in found)
    report.out.print(
        f"{len(found):,} of {len(outcome.recorded.keys() | outcome.derived.keys()):,} decisions differ"
        + "".join(f", {cause}: {count:,}" for cause, count in sorted(causes.items())),
        highlight=False,
    )
    for one in found[:listed]:
        told_before = (
            "none" if one.recorded is None else f"{one.recorded.verdict} {one.recorded.reason or ''}"
        )
        told_now = "none" if one.derived is None else f"{one.derived.verdict} {one.derived.reason or ''}"
        where = one.recorded or one.derived
        assert where is not None
        report.out.print(
            f"  {where.journey}/{where.step} {where.subject}: {told_before.strip()} -> {told_now.strip()}"
            f"  ({one.cause})",
            highlight=False,
        )
