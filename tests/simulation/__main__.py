"""Runs simulations from the command line: `python -m tests.simulation SEED`, or `--seeds 1000` for many.

A failing seed is run again with fewer and fewer publications and faults; what is left is printed, with the
command that runs exactly that.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.minimise import minimise
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, scenario, shrunk

SHOWN_MAX = 5


def numbers(text: str) -> list[int]:
    """`1,2,3` as numbers."""
    return [int(number) for number in text.split(",") if number]


def say(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)


def show(mine: Scenario, objections: Sequence[str], deaths: Sequence[str]) -> None:
    """Print a schedule and what came of it."""
    say(f"seed {mine.seed}: {'event' if mine.by_events else 'wall'} clock, {mine.partitions} partitions,")
    say(f"  {mine.workers} workers a role, {'static' if mine.static else 'dynamic'} membership,")
    say(f"  chunks of {mine.chunk_records}, calls of about {mine.latency_s} s, journeys wait {mine.wait_s} s")
    say(f"  clocks ahead by {', '.join(f'{ahead:+.1f}' for ahead in mine.clocks_s)} s")
    for one in mine.publications:
        say(f"  {one}")
    for fault in mine.faults:
        say(f"  {fault}")
    for death in deaths:
        say(f"  died: {death}")
    for objection in objections:
        say(f"  WRONG: {objection}")


def explain(seed: int, objections: Sequence[str]) -> None:
    """Shrink a failing seed and print what is left."""
    whole = scenario(seed)
    say(f"seed {seed} fails: {objections[0]}")
    say(f"  again with: make sim SEED={seed}    or: python -m tests.simulation {seed}")
    publications, faults, runs = minimise(whole, objections[0])
    less = shrunk(whole, publications, faults)
    say(
        f"  shrunk in {runs} runs from {len(whole.publications)} publications and {len(whole.faults)} faults"
        f" to {len(publications)} and {len(faults)}; exactly this again with:"
    )
    chosen = f"--publications {','.join(map(str, publications))} --faults={','.join(map(str, faults))}"
    say(f"  python -m tests.simulation {seed} {chosen}")
    result = run(less)
    show(less, result.objections, result.deaths)


def one(seed: int, publications: str | None, faults: str | None) -> int:
    """Run one seed, whole or in part."""
    mine = scenario(seed)
    if publications is not None or faults is not None:
        chosen = range(len(mine.publications)) if publications is None else numbers(publications)
        mine = shrunk(mine, chosen, range(len(mine.faults)) if faults is None else numbers(faults))
        result = run(mine)
        show(mine, result.objections, result.deaths)
    else:
        result = run(mine)
        if result.objections:
            explain(seed, result.objections)
        else:
            show(mine, [], result.deaths)
            say(f"seed {seed}: all promises hold")
    return bool(result.objections)


def outcome(seed: int) -> tuple[int, list[str], Counter[str]]:
    """What many seeds are asked for."""
    result = run(scenario(seed))
    return seed, result.objections, result.counts


def many(first: int, count: int) -> int:
    """Run many seeds on all cores; print what happened in them, and what failed."""
    started = time.monotonic()
    counts: Counter[str] = Counter()
    failed: list[tuple[int, list[str]]] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seed, objections, happened in pool.map(outcome, range(first, first + count), chunksize=10):
            counts += happened
            if objections:
                failed.append((seed, objections))
                say(f"seed {seed}: {objections[0]}")
    for name, number in sorted(counts.items()):
        say(f"{number:10,}  {name}")
    took = time.monotonic() - started
    say(f"{count:,} seeds from {first} in {took:.0f} s ({count / took:.0f}/s), {len(failed)} failed")
    for seed, objections in failed[:SHOWN_MAX]:
        explain(seed, objections)
    return bool(failed)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="run this one")
    parser.add_argument("--publications", help="only these publications of the seed: numbers with commas")
    parser.add_argument("--faults", help="only these faults of the seed")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many, when no seed is named")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    given = parser.parse_args()
    if given.seed is not None:
        sys.exit(one(given.seed, given.publications, given.faults))
    sys.exit(many(given.first, given.seeds))


if __name__ == "__main__":
    main()
