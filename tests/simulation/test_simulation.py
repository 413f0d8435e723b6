"""The real lanes and handlers on simulated servers: all promises hold under seeded faults, and bugs are seen.

Short form 50 seeds, long form (`make test-all`) 1,000; `make sim` runs as many as one likes on all cores.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from typing import Final
from unittest import mock

import pytest

from processors.agents import push_sender
from tests.simulation.bugs import BUGS, catches
from tests.simulation.evidence import home
from tests.simulation.minimise import ddmin, minimise
from tests.simulation.run import run
from tests.simulation.scenario import scenario, shrunk

LONG: Final = os.environ.get("OPTIN_TEST_LONG") == "1"
SEEDS: Final = 1_000 if LONG else 50
PER_TEST: Final = 10

HAPPENED: Final = {
    "hand-overs": 50,
    "deaths": 30,
    "producers fenced": 3,
    "transactions aborted": 10,
    "rebalances": 50,
    "by the event clock": 3,
    "crash": 20,
    "freeze": 10,
    "slow": 10,
    "broker restarts": 15,
    "markers forgotten": 10,
    "markers settled": 10,
    "facts: clock": 100,
    "facts: again": 50,
    "facts: misplaced": 20,
    "facts: poison": 20,
    "facts: held open": 20,
}
"""What 50 seeds must contain at least, or they show nothing."""


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """What happened in all seeds."""
    return Counter()


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
def test_all_promises_hold(first: int, counts: Counter[str]) -> None:
    """Nothing is lost, doubled or wrong, no push is late or sent twice; see `tests.simulation.judge`."""
    for seed in range(first, first + PER_TEST):
        result = run(scenario(seed))
        counts += result.counts
        assert result.objections == [], f"replay and shrink with: make sim SEED={seed}"


def test_the_seeds_meant_something(counts: Counter[str]) -> None:
    """Every kind of fault struck, and pushes were handed over meanwhile."""
    if not counts:
        pytest.skip("no seeds were run in this process")
    assert {name: counts[name] for name, least in HAPPENED.items() if counts[name] < least} == {}


REFUSING: Final = (0.0, 0.05, 0.1, 0.7)
"""A provider to which most addresses are dead; see `Scenario.provider`."""


def refusing(seeds: range) -> tuple[list[str], int]:
    """Objections with such a provider, and how many pushes were passed on."""
    runs = [run(dataclasses.replace(scenario(seed), provider=REFUSING)) for seed in seeds]
    return [one for found in runs for one in found.objections], sum(one.counts["passed on"] for one in runs)


def test_what_is_passed_on_to_another_installation_is_shown_once_at_most() -> None:
    """Also where workers die in between; each that was chosen has one outcome."""
    objections, passed = refusing(range(1_000 if LONG else 80))
    assert objections == []
    assert passed >= 5


def test_passing_on_what_may_have_been_shown_is_caught() -> None:
    """A planted bug: an unknown outcome is taken for a refusal of the address."""
    with mock.patch.object(push_sender, "PASSED_ON", frozenset({"token_dead", ""})):
        objections, _ = refusing(range(290, 300))
    assert any("may have been shown twice" in one for one in objections)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    """By the objection that speaks of it, at the first seed that does."""
    bug = BUGS[name]

    assert catches(bug, bug.seed), "find another seed with: python -m tests.simulation.bugs"


def test_a_seed_gives_the_same_run_again() -> None:
    """Down to the deaths and their instants, so that a failure can be looked at."""
    first, second = run(scenario(17)), run(scenario(17))

    assert dataclasses.asdict(first) == dataclasses.asdict(second)
    assert first.deaths


def test_a_failing_schedule_is_shrunk_to_what_it_takes() -> None:
    """A lost re-append needs one misplaced fact and no fault."""
    whole, bug = scenario(0), BUGS["re-append dropped"]
    with bug.plant():
        objection = next(words for words in run(whole).objections if bug.caught_by in words)
        publications, faults, _ = minimise(whole, objection)
        left = shrunk(whole, publications, faults)
        again = run(left).objections

    assert [bug.caught_by in words for words in again] == [True]
    assert len(left.publications) == 1
    (needed,) = left.publications
    assert home(needed.key or b"", left.partitions) != needed.partition
    assert left.faults == ()


@pytest.mark.parametrize(
    ("needed", "left"), [({3}, [3]), ({1, 18}, [1, 18]), (set(), []), (set(range(20)), list(range(20)))]
)
def test_shrinking_keeps_exactly_what_is_needed(needed: set[int], left: list[int]) -> None:
    """One piece, two far apart, nothing, or everything."""
    assert ddmin(list(range(20)), lambda some: needed <= set(some)) == left
