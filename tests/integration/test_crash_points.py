"""A worker dies at each place where it can stand still, before it and after it; an oracle reads what is left.

The short form takes a seeded sample. The long form (`make crash-points`) takes every point and prints the
table. `OPTIN_TEST_CRASH_SEED` repeats a run, `OPTIN_TEST_CRASH_POINTS` takes only points with one of these
prefixes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from processors.bounded_run import INPUTS, BoundedRun
from processors.prepare import migrate_tables, publish
from processors.stack import Servers, Stack
from processors.topic_names import DECISIONS
from processors.wall_clock import wall_ms
from tests.support.crash_plan import BY_POINT, Strike, plan, roles_of, wanted
from tests.support.crash_points import POINTS
from tests.support.crash_run import CrashRun, Evidence, nothing, tell
from tests.support.faulty_worker import Fault, read_faults
from tests.support.load import dated, definitions, facts
from tests.support.planted_lane import BUGS
from tests.support.steady_load import SteadyLoad

LONG: Final = os.environ.get("OPTIN_TEST_LONG") == "1"
SEED: Final = int(os.environ.get("OPTIN_TEST_CRASH_SEED") or time.time())
PREFIXES: Final = tuple(filter(None, os.environ.get("OPTIN_TEST_CRASH_POINTS", "").split(",")))
SHORT: Final = 8
STRIKES_PER_LOOK: Final = 60
"""The oracle is asked after so many kills, so that a violation has few suspects."""
FACTS_PER_S: Final = 80.0
BOUNDED_FACTS: Final = 2_000
"""Longer than any lease, journey or batch of these tests: what is objected to after that stays."""


@contextmanager
def run_over(folder: Path, servers: Servers, bugs: Mapping[str, str] | None = None) -> Iterator[CrashRun]:
    """A run under load over fresh servers."""
    rules = definitions(folder / "definitions")
    migrate_tables(servers)
    publish(rules)(servers)
    load = SteadyLoad(servers.kafka_bootstrap, SEED, FACTS_PER_S)
    load.start()
    try:
        with CrashRun(folder, servers, rules, load, bugs=bugs) as run:
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
    print(f"OPTIN_TEST_CRASH_SEED={SEED}")
    strikes = plan(SEED, chosen())
    with run_over(tmp_path, fresh_stack) as run:
        violations: list[str] = []
        for begin in range(0, len(strikes), STRIKES_PER_LOOK):
            run.go_on()
            run.strike(strikes[begin : begin + STRIKES_PER_LOOK])
            violations = run.settle(nothing)
            tell(f"{len(run.struck)} of {len(strikes)} kills, {len(violations)} violations {violations[:5]}")
            if violations:
                break
        print(table(run, strikes, violations))

    assert violations == []
    assert run.missed == []
    assert not [one for one in chosen() if "@".join(one) not in run.hits]


@pytest.mark.skipif(not LONG, reason="long form")
@pytest.mark.timeout(900)
def test_a_worker_may_die_at_any_point_of_a_bounded_run(named_stack: Servers, tmp_path: Path) -> None:
    """The event clock has its own turns: killed there, a run ends as it does undisturbed."""
    chosen = [one for one in wanted() if BY_POINT.get(one[0]) == "event clock"]
    strikes = [
        Strike(Fault(*one, "kill", 1 if one[0].startswith("wiring.") else 2), role, "event clock")
        for one in chosen
        for role in roles_of(one[0])
    ]
    rules = definitions(tmp_path / "definitions")
    load = SteadyLoad(named_stack.kafka_bootstrap, SEED, FACTS_PER_S)  # never started: the input is bounded
    began = wall_ms() - BOUNDED_FACTS
    made = [dated(one, began + number) for number, one in enumerate(facts(SEED, BOUNDED_FACTS, 100))]
    load.acknowledged |= {one.event_id for one in made}

    def decided(found: list[str]) -> bool:
        undecided = ("the row is not", "started no journey", "ended 0 times")
        return not any(words in one for one in found for words in undecided)

    with Stack(tmp_path, roles={}, prepare=[migrate_tables, publish(rules)]) as stack:
        bounded = BoundedRun(stack, tell)
        bounded.publish(made, "facts")
        bounded.record_ends(INPUTS)
        env = {"OPTIN_CLOCK": "event", "OPTIN_MERGE_RECORDS": "20"}
        with CrashRun(tmp_path, stack.servers, rules, load, env=env) as run:
            run.strike(strikes)
            run.settle(decided)
            bounded.record_ends([DECISIONS])
            violations = run.settle(nothing)
            print(table(run, strikes, violations))

    assert violations == []
    assert run.missed == []


def table(run: CrashRun, strikes: list[Strike], violations: list[str]) -> str:
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
    lines.append(f"{len(points)} points, {len(run.struck)} kills, {len(violations)} violations")
    return "\n".join(lines)


ROW = "the row is not the fold of its facts"
PLANTED: Final = {
    # bug: (role, where its worker dies, in which situation, words of the objection)
    "position_first": ("journeys", "writer.transact.commit_transaction@after:kill:3", "load", ROW),
    "forgotten_attempt": ("delivery", "hand_over.handed.send@before:kill", "load", "has no outcome"),
    "early_finish": ("metrics", "metrics_streamer.insert.to_thread@before:kill", "slow insert", "is not in"),
    "forgotten_timers": ("journeys", "lane.fire_by_wall.commit@before:kill", "load", "ended 0 times"),
    "second_send": ("delivery", "hand_over.handed.send@after:kill", "load", "was printed 2 times"),
    "unawaited_append": ("journeys", "append.started.start@before:kill", "slow append", ROW),
}
TOGETHER: Final = (
    ("position_first", "forgotten_attempt", "early_finish"),
    ("forgotten_timers", "second_send"),
    ("unawaited_append",),
)
"""Bugs of different roles that are planted at once; the short form takes the first group."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bugs", TOGETHER if LONG else TOGETHER[:1], ids="-".join)
def test_a_bug_that_only_a_crash_shows_is_caught(
    bugs: tuple[str, ...], fresh_stack: Servers, tmp_path: Path
) -> None:
    """One kill at the right point, and the oracle or ClickHouse tells what went wrong."""
    strikes = []
    for bug in bugs:
        role, fault, situation, _ = PLANTED[bug]
        strikes.append(Strike(read_faults(fault)[0], role, situation))

    planted = {PLANTED[bug][0]: bug for bug in bugs}
    with run_over(tmp_path, fresh_stack, planted) as run:
        run.strike(strikes)
        found = run.settle(Evidence([PLANTED[bug][3] for bug in bugs]))

    assert run.missed == []
    for bug in bugs:
        assert any(PLANTED[bug][3] in words for words in found), (bug, found[:5])


def test_every_planted_bug_has_its_turn() -> None:
    """No bug is written down and never planted."""
    assert sorted(bug for bugs in TOGETHER for bug in bugs) == sorted(PLANTED) == sorted(BUGS)
