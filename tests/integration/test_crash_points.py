"""A worker dies at each place where it can stand still, before it and after it; an oracle reads what is left.

The short form takes a seeded sample. The long form (`make crash-points`) takes every point and prints the
table. `OPTIN_CRASH_SEED` repeats a run, `OPTIN_CRASH_POINTS` takes only points with one of these prefixes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from processors.prepare import migrate_tables, publish
from processors.stack import Servers
from tests.support.crash_plan import BY_POINT, Strike, plan, wanted
from tests.support.crash_points import POINTS
from tests.support.crash_run import CrashRun, nothing, tell
from tests.support.load import definitions
from tests.support.steady_load import SteadyLoad

LONG: Final = os.environ.get("OPTIN_TEST_LONG") == "1"
SEED: Final = int(os.environ.get("OPTIN_CRASH_SEED") or time.time())
PREFIXES: Final = tuple(filter(None, os.environ.get("OPTIN_CRASH_POINTS", "").split(",")))
SHORT: Final = 8
STRIKES_PER_LOOK: Final = 60
"""The oracle is asked after so many kills, so that a violation has few suspects."""
FACTS_PER_S: Final = 80.0


@contextmanager
def run_over(folder: Path, servers: Servers) -> Iterator[CrashRun]:
    """A run under load over fresh servers."""
    rules = definitions(folder / "definitions")
    migrate_tables(servers)
    publish(rules)(servers)
    load = SteadyLoad(servers.kafka_bootstrap, SEED, FACTS_PER_S)
    load.start()
    try:
        with CrashRun(folder, servers, rules, load) as run:
            yield run
    finally:
        load.finish()


def chosen() -> list[tuple[str, str]]:
    """The sides of points that this run takes."""
    by_wall = [one for one in wanted() if BY_POINT.get(one[0]) != "event clock"]
    if PREFIXES:
        return [one for one in by_wall if one[0].startswith(PREFIXES)]
    if LONG:
        return by_wall
    under_load = [one for one in by_wall if one[0] not in BY_POINT]
    return random.Random(SEED).sample(under_load, SHORT)


@pytest.mark.timeout(7200 if LONG else 300)
def test_a_worker_may_die_at_any_point(fresh_stack: Servers, tmp_path: Path) -> None:
    """Nothing is lost, doubled or wrong, no push is shown twice, and ClickHouse holds each fact once."""
    print(f"OPTIN_CRASH_SEED={SEED}")
    strikes = plan(SEED, chosen())
    with run_over(tmp_path, fresh_stack) as run:
        for begin in range(0, len(strikes), STRIKES_PER_LOOK):
            run.strike(strikes[begin : begin + STRIKES_PER_LOOK])
            violations = run.settle(nothing)
            tell(f"{len(run.struck)} of {len(strikes)} kills, {len(violations)} violations {violations[:5]}")
            run.go_on()
            assert violations == []
        print(table(run, strikes))

    assert run.missed == []
    assert not [one for one in chosen() if "@".join(one) not in run.hits]


def table(run: CrashRun, strikes: list[Strike]) -> str:
    """What was struck, where, how often it was passed, and a line that sums up."""
    lines = [f"{'point':56} {'role':9} {'before':>6} {'after':>6}  situation"]
    hits = run.hits
    struck = {(s.strike.fault.point, s.strike.fault.side): s.strike for s in run.struck}
    for point in POINTS:
        found = [struck[point, side] for side in ("before", "after") if (point, side) in struck]
        if found:
            roles = "/".join(sorted({strike.role[:4] for strike in found}))
            passed = [hits[f"{point}@{side}"] for side in ("before", "after")]
            lines.append(f"{point:56} {roles:9} {passed[0]:6} {passed[1]:6}  {found[0].situation}")
    points = {strike.fault.point for strike in strikes}
    ends = ", ".join(f"{name}" for name in run.other_ends) or "none"
    lines.append(f"other ends: {ends}")
    lines.append(f"{len(points)} points, {len(run.struck)} kills, 0 violations")
    return "\n".join(lines)
