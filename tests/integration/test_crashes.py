"""Processes are killed and frozen at bad moments under load; what is on the topics afterwards is judged.

The short form of `make chaos` (tests/chaos): a few faults on one Kafka node; the long form has more of them,
and some on three nodes. OPTIN_TEST_CHAOS_SEED repeats a run. And workers with planted bugs, which the same
judges must find out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from processors.prepare import migrate_tables, publish
from processors.stack import Stack
from tests.chaos.judge import behind
from tests.chaos.report import lines
from tests.chaos.run import run
from tests.support import promises
from tests.support.crash_run import Evidence
from tests.support.load import Load, definitions, facts
from tests.support.oracle import objections
from tests.support.replays import wait_until

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
SEED = int(os.environ.get("OPTIN_TEST_CHAOS_SEED") or time.time())
RATE = 200.0
SETTLE_S = 90.0
PLANTED_S = 12.0
"""How long the whole system is let settle where writers fence nobody."""
EVIDENCE_S = 90.0
"""How long a planted bug may take to be seen; a run ends with it."""
"""A system with a bug may never settle; its journeys of 2 s and leases of 4 s are over by then."""

FEW = {
    1: {"kill": 1, "kill_open": 1, "freeze_at": 1, "broker_kill": 1},
}
MORE = {
    1: {"kill": 4, "kill_open": 2, "freeze": 1, "freeze_at": 3, "broker_kill": 1, "clickhouse_kill": 1},
    3: {"kill": 3, "kill_open": 1, "freeze_and_kill": 1, "leader_kill": 2, "broker_freeze": 1},
}
COUNTS = MORE if LONG else FEW


@pytest.mark.stack
@pytest.mark.timeout(900)
@pytest.mark.parametrize("nodes", COUNTS)
def test_nothing_is_lost_or_doubled(nodes: int, tmp_path: Path) -> None:
    """Every fact is folded, every decision is there once, every push has one outcome, none is sent twice."""
    print(f"OPTIN_TEST_CHAOS_SEED={SEED}")
    finding = run(
        tmp_path,
        name=f"{nodes}",
        nodes=nodes,
        seed=SEED,
        counts=COUNTS[nodes],
        last_s=5.0 * sum(COUNTS[nodes].values()) if LONG else 6.0,
        rate=RATE,
        hits_min=1,
        progress=print,
    )
    print("\n".join(lines(finding)))

    assert finding.objections == []
    assert finding.void == []


@pytest.mark.stack
@pytest.mark.timeout(600)
@pytest.mark.skipif(not LONG, reason="the long form: OPTIN_TEST_LONG=1 or make test-all")
def test_a_run_catches_writers_that_fence_nobody(tmp_path: Path) -> None:
    """Where a frozen worker wakes up and its transaction still counts, the judges object."""
    finding = run(
        tmp_path,
        name="unfenced",
        nodes=1,
        seed=SEED,
        counts={"freeze": 2, "freeze_at": 2, "kill_open": 1},
        last_s=6.0,
        rate=RATE,
        hits_min=1,
        progress=print,
        bugs="unfenced",
        settled_s=PLANTED_S,
    )
    print("\n".join(lines(finding)))

    assert finding.objections


def looked_until(look: Callable[[], list[str]], enough: Callable[[list[str]], bool]) -> list[str]:
    """What is objected to once it is `enough`, or after `EVIDENCE_S`."""
    deadline = time.monotonic() + EVIDENCE_S
    while not enough(found := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


WORDS: Mapping[str, str] = {
    "dropped_fact": "the row is not the fold of its facts",
    "doubled_decision": "is there 2 times",
    "ignored_revocation": "sends without permission",
    "ignored_cap": "the subject allows",
    "doubled_push": "was shown 2 times",
}
"""Bugs of planted_worker, and the words that find them out."""
TOGETHER = (
    ("dropped_fact", "doubled_decision"),
    ("ignored_revocation", "ignored_cap", "doubled_push"),
)
"""The short form plants several at once, none of which brings forth the words of another."""


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("named_stack")
@pytest.mark.parametrize("bugs", [(bug,) for bug in WORDS] if LONG else TOGETHER, ids="+".join)
def test_a_planted_bug_is_caught(bugs: tuple[str, ...], tmp_path: Path) -> None:
    """A worker that loses, doubles or ignores something is found out, for the right reason."""
    rules = definitions(tmp_path / "definitions")
    stack = Stack(
        tmp_path,
        roles={"journeys": 1, "delivery": 1},
        env={"OPTIN_DEFINITIONS": str(rules), "OPTIN_LEASE_S": "3", "OPTIN_CLOCK_SKEW_S": "1"},
        prepare=[migrate_tables, publish(rules)],
        command=lambda role: [sys.executable, "-m", "tests.support.planted_worker", "+".join(bugs), role],
    )
    with stack:
        where = stack.kafka_bootstrap
        stack.start_roles()
        load = Load(where, facts(1, 1_500, 60))
        load.start()
        acknowledged = load.finish()
        assert wait_until(lambda: not behind(where), SETTLE_S)

        def look() -> list[str]:
            topics = asyncio.run(promises.read_all(where))
            return [
                *asyncio.run(objections(where, acknowledged)),
                *promises.over_cap(topics, 3, "rolling_day"),
                *promises.shown_wrongly(topics, promises.pushes_shown(tmp_path / "pushes.jsonl")),
            ]

        found = looked_until(look, Evidence([WORDS[bug] for bug in bugs]))

    for bug in bugs:
        assert any(WORDS[bug] in objection for objection in found), (bug, found[:5])


def test_every_planted_bug_has_its_turn() -> None:
    """No bug is left out of the short form."""
    assert sorted(bug for bugs in TOGETHER for bug in bugs) == sorted(WORDS)
