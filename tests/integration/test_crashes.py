"""Workers are killed and frozen at random moments under load; an oracle reads the topics afterwards.

The short form kills three times. The long form (`make chaos`) kills ten times, freezes a worker for longer
than its session lasts, and ends the broker once. `OPTIN_CHAOS_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from processors.prepare import migrate_tables, publish
from processors.stack import Stack
from tests.support.load import Load, definitions, facts
from tests.support.oracle import objections
from tests.support.plain_reader import decode, read
from tests.support.planted_worker import BUGS
from tests.support.replays import wait_until

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
SEED = int(os.environ.get("OPTIN_CHAOS_SEED") or time.time())
KILLS = 10 if LONG else 3
FACTS = 30_000 if LONG else 3_000
PEOPLE = 2_000 if LONG else 300
FREEZE_S = 9.0
SESSION_S = 6.0
SETTLE_S = 90.0
PLANTED_S = 12.0
"""A system with a bug may never settle; its journeys of 2 s and leases of 4 s are over by then."""


def stack_over(folder: Path, workers: int, command: Callable[[str], list[str]] | None = None) -> Stack:
    """A stack with short waits over the folder."""
    rules = definitions(folder / "definitions")
    env = {
        "OPTIN_DEFINITIONS": str(rules),
        "OPTIN_SESSION_TIMEOUT_S": str(SESSION_S),
        "OPTIN_LEASE_S": "3",
        "OPTIN_CLOCK_SKEW_S": "1",
    }
    roles = {"journeys": workers, "delivery": workers, "metrics": 1}
    more = {"command": command} if command else {}
    return Stack(folder, roles=roles, env=env, prepare=[migrate_tables, publish(rules)], **more)  # type: ignore[arg-type]


def folded(bootstrap: str) -> bool:
    """Whether the journeys role has folded all that is on its input topics."""
    ends: dict[tuple[str, int], int] = {}
    reached: dict[tuple[str, int], int] = {}
    for topic in ("optin.permissions", "optin.tokens", "optin.activity"):
        for record in asyncio.run(read(bootstrap, topic)):
            ends[topic, record.partition] = record.offset + 1
    for record in asyncio.run(read(bootstrap, "optin.journeys-subjects-changelog")):
        if record.key == b"\x00position":
            for topic, offset in msgpack.unpackb(record.value)[1].items():
                reached[topic, record.partition] = offset
    return all(reached.get(place, 0) >= end for place, end in ends.items())


def settled(
    bootstrap: str, acknowledged: frozenset[str], enough: Callable[[list[str]], bool], within_s: float
) -> list[str]:
    """What the oracle objects to once it is `enough`, or after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = asyncio.run(objections(bootstrap, acknowledged))
        if enough(found) or time.monotonic() > deadline:
            return found
        time.sleep(1)


def nothing(found: list[str]) -> bool:
    """The oracle has no objection."""
    return not found


def nothing_waits(found: list[str]) -> bool:
    """Every journey has ended and every push has its outcome."""
    return not any("no outcome" in words or "ended 0" in words for words in found)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("named_stack")
def test_nothing_is_lost_or_doubled_when_workers_are_killed(tmp_path: Path) -> None:
    """Every fact is folded, every decision is there once, every push has one outcome, none is sent twice."""
    print(f"OPTIN_CHAOS_SEED={SEED}")
    draw = random.Random(SEED)
    killed: Counter[str] = Counter()
    with stack_over(tmp_path, workers=2) as stack:
        stack.start_roles()
        load = Load(stack.kafka_bootstrap, facts(SEED, FACTS, PEOPLE))
        load.start()
        for number in range(KILLS):
            time.sleep(draw.uniform(0.8, 2.5))
            part, pid = draw.choice(sorted(stack.pids().items()))
            if LONG and number == KILLS // 2:
                freeze(pid)
            os.kill(pid, signal.SIGKILL)
            killed[part] += 1
        acknowledged = load.finish()
        found = settled(stack.kafka_bootstrap, acknowledged, nothing, SETTLE_S)
        deliveries = asyncio.run(read(stack.kafka_bootstrap, "optin.deliveries"))

    print(f"{len(acknowledged)} facts, killed {dict(killed)}, {len(deliveries)} delivery facts")
    assert sum(killed.values()) == KILLS
    assert len(acknowledged) == FACTS
    assert found == []
    shown = Counter(line.split('"push_id": "')[1][:36] for line in pushes(tmp_path))
    accepted = {
        fields["push_id"]
        for name, fields in filter(None, (decode(record.value) for record in deliveries))
        if name == "PushAccepted"
    }
    assert accepted
    assert max(shown.values()) == 1
    assert accepted <= shown.keys()


def freeze(pid: int) -> None:
    """Stop a process for longer than its session lasts; then it wakes up as a zombie among owners."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(FREEZE_S)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.2)


def pushes(folder: Path) -> list[str]:
    """What the console sender wrote."""
    return (folder / "pushes.jsonl").read_text().splitlines()


CAUGHT = {
    "dropped_fact": "the row is not the fold of its facts",
    "doubled_decision": "is there 2 times",
    "ignored_revocation": "sends without permission",
}


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("named_stack")
@pytest.mark.parametrize("bug", BUGS)
def test_the_oracle_catches_a_planted_bug(bug: str, tmp_path: Path) -> None:
    """A worker that loses, doubles or ignores something is found out, for the right reason."""

    def command(role: str) -> list[str]:
        return [sys.executable, "-m", "tests.support.planted_worker", bug, role]

    with stack_over(tmp_path, workers=1, command=command) as stack:
        stack.start_roles()
        load = Load(stack.kafka_bootstrap, facts(1, 1_500, 60))
        load.start()
        acknowledged = load.finish()
        assert wait_until(lambda: folded(stack.kafka_bootstrap), SETTLE_S)
        found = settled(stack.kafka_bootstrap, acknowledged, nothing_waits, PLANTED_S)

    assert any(CAUGHT[bug] in words for words in found), found[:5]
