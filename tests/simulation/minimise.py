"""Shrinks a failing schedule: leaves out faults and publications as long as it fails in the same way.

Delta debugging (Zeller and Hildebrandt, 2002), on the faults first, since they are few, then on the
publications, then on the faults again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.run import run
from tests.simulation.scenario import Scenario, shrunk

RUNS_MAX: Final = 600

_PARTICULAR: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|s\d+-\d+|\d+")


def kind_of(objection: str) -> str:
    """An objection without the names and numbers that differ from run to run."""
    return _PARTICULAR.sub("#", objection)


def minimise(whole: Scenario, objection: str) -> tuple[list[int], list[int], int]:
    """(numbers of publications, of faults, runs) of a smaller scenario with such an objection."""
    wanted, runs = kind_of(objection), 0
    publications = list(range(len(whole.publications)))
    faults = list(range(len(whole.faults)))

    def fails(mine: Sequence[int], theirs: Sequence[int]) -> bool:
        nonlocal runs
        if runs >= RUNS_MAX:
            return False
        runs += 1
        return wanted in map(kind_of, run(shrunk(whole, mine, theirs)).objections)

    faults = ddmin(faults, lambda some: fails(publications, some))
    publications = ddmin(publications, lambda some: fails(some, faults))
    faults = ddmin(faults, lambda some: fails(publications, some))
    return publications, faults, runs


def ddmin(items: list[int], fails: Callable[[list[int]], bool]) -> list[int]:
    """A part of `items` that still fails, of which no single piece can be left out."""
    if not items or fails([]):
        return []
    pieces = 2
    while len(items) > 1:
        size = -(-len(items) // pieces)
        for begin in range(0, len(items), size):
            rest = items[:begin] + items[begin + size :]
            if fails(rest):
                items, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if pieces >= len(items):
                break
            pieces = min(2 * pieces, len(items))
    return items
