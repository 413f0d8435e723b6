"""Prints what a run of faults showed: faults by kind with their pauses, figures, and the judgement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from tests.chaos.journals import rebalances
from tests.chaos.judge import TOLD_MAX, Finding
from tests.chaos.pauses import longest_gaps, resumptions, summary

AFTERWARDS_MS: Final = 30_000
"""A fault's consequences are looked for until the next fault, and for so long after its end at most."""
KINDS_OF_OBJECTIONS: Final = {
    "lost": ("is lost", "started no journey", "has folded", "has no outcome", "ended 0", "not shown"),
    "doubled": ("times", "outcomes"),
    "over cap": ("sends in a",),
    "sent against consent": ("without permission", "after a revocation", "withheld and shown"),
}


def table_of_pauses(finding: Finding) -> list[str]:
    """One line per kind of fault: how many, rebalances that followed, pauses of partitions."""
    gaps: dict[str, list[int]] = defaultdict(list)
    moves: Counter[str] = Counter()
    resumed: list[int] = []
    done = [one for one in finding.struck if not one.missed]
    for one, following in zip(done, [*done[1:], None], strict=True):
        end = one.end + AFTERWARDS_MS
        if following is not None:
            end = min(end, max(following.begin, one.end))
        gaps[one.fault.kind] += longest_gaps(finding.moved, one.begin, end)
        moves[one.fault.kind] += rebalances(finding.notes, one.begin, end)
        if one.back:
            resumed += resumptions(finding.moved, one.back)
    kinds = Counter(one.fault.kind for one in done)
    table = [
        f"  {kind:16s} {number:3d} faults, {moves[kind]:3d} rebalances, {summary(gaps[kind])}"
        for kind, number in sorted(kinds.items())
    ]
    if resumed:
        table.append(f"  after a killed node answered again, of those that still stood: {summary(resumed)}")
    return table


def sorted_objections(objections: Sequence[str]) -> dict[str, int]:
    """How many objections of each kind; all that is nothing else is `wrong`."""
    counts = dict.fromkeys([*KINDS_OF_OBJECTIONS, "wrong"], 0)
    for words in objections:
        kinds = (kind for kind, marks in KINDS_OF_OBJECTIONS.items() if any(mark in words for mark in marks))
        counts[next(kinds, "wrong")] += 1
    return counts


def lines(finding: Finding) -> list[str]:
    """The report on one run."""
    missed = [one for one in finding.struck if one.missed]
    return [
        f"== {finding.name}",
        *(f"  {number:8d}  {figure}" for figure, number in finding.counts.items() if number),
        "pauses of partitions whose lane has steady work (a pause may belong to two faults that overlap):",
        *table_of_pauses(finding),
        *(f"did not count: {one.fault.kind} {one.fault.target}, {one.missed}" for one in missed),
        "objections: "
        + ", ".join(f"{n} {kind}" for kind, n in sorted_objections(finding.objections).items()),
        *(f"  OBJECTION: {words}" for words in finding.objections[:TOLD_MAX]),
        *(f"  VOID: {words}" for words in finding.void),
    ]
