"""A shop's log through the whole path gives what plain Python computes from it, whatever is killed meanwhile.

Real logs are used where OPTIN_TEST_DATA has them, and a generated one in the format of Taobao's anyway.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from processors.stack import Servers, Stack
from tests.support import generated_log
from tests.support.plain_reader import decode, read
from tests.support.recompute import OTTO
from tests.support.replays import (
    SMALL_STEPS,
    Killer,
    as_printed,
    environment,
    expected,
    in_table,
    on_topic,
    replay,
    wait_until,
)

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
REAL = "taobao-userbehavior/UserBehavior.csv"
REAL_OTTO = "otto-sample/train.jsonl"
AMPLIFY = 100 if LONG else 3
AGAIN_S = 120.0

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up log."""
    path = tmp_path_factory.mktemp("log") / "generated.csv"
    generated_log.write(path)
    return path


@pytest.fixture
def log(request: pytest.FixtureRequest, generated: Path) -> Path:
    """The log that a test asks for by `real` or `generated`; the generated one unless asked."""
    if getattr(request, "param", "generated") == "generated":
        return generated
    return real_file(REAL)


def real_file(name: str) -> Path:
    """A file of the folder of real data; skips the test where it is not."""
    folder = os.environ.get("OPTIN_TEST_DATA")
    if not folder:
        pytest.skip("OPTIN_TEST_DATA is not set: CONTRIBUTING.md says where the real log comes from")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"OPTIN_TEST_DATA has no {name}")
    return path


both_logs = pytest.mark.parametrize("log", ["generated", "real"], indirect=True)
real_log_in_long = pytest.mark.parametrize(
    "log", ["real" if LONG and os.environ.get("OPTIN_TEST_DATA") else "generated"], indirect=True
)


@both_logs
def test_a_replay_gives_what_plain_python_computes(log: Path, tmp_path: Path, fresh_stack: Servers) -> None:
    """One JSON object on stdout, on the topics, and in ClickHouse: all equal to the recomputation."""
    wanted = expected(log)

    assert replay(log, tmp_path / "data", fresh_stack, "--wait", "1h") == as_printed(wanted)
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == wanted
    assert asked(fresh_stack) == wanted
    assert sum(wanted["deliveries"].values()) == wanted["decisions"]["send"] > 0
    verified = optin(fresh_stack, "verify")
    assert verified.endswith(" decisions checked, 0 objections\n"), verified


def test_a_replay_of_ottos_sessions_gives_what_plain_python_computes(
    tmp_path: Path, fresh_stack: Servers
) -> None:
    """Ten times the real sample: on stdout, on the topics and by kind, all is as counted elsewhere."""
    log = real_file(REAL_OTTO)
    wanted = expected(log, 10, OTTO)

    printed = replay(log, tmp_path / "data", fresh_stack, "--amplify", "10", dataset="otto")

    assert printed == as_printed(wanted)
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == wanted
    told = [
        decode(record.value) for record in asyncio.run(read(fresh_stack.kafka_bootstrap, "optin.activity"))
    ]
    assert Counter(fact[0] for fact in told if fact) == {
        "ItemViewed": 8_000,
        "CartUpdated": 520,
        "OrderPlaced": 50,
    }
    assert sum(len(fact[1]["items"]) for fact in told if fact and fact[0] == "OrderPlaced") == 100
    assert wanted["journeys"]["cart_abandonment"]["started"] == 210
    assert wanted["decisions"]["send"] > 100


@real_log_in_long
@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_changes_no_byte(
    log: Path, workers: int, tmp_path: Path, fresh_stack: Servers
) -> None:
    """Two or four workers of a role print the same bytes as one."""
    printed = replay(log, tmp_path / "data", fresh_stack, "--workers", str(workers))

    assert printed == as_printed(expected(log))


@real_log_in_long
def test_a_killed_journeys_worker_changes_no_byte(log: Path, tmp_path: Path, fresh_stack: Servers) -> None:
    """Kill -9 between two transactions, or inside one: the next owner goes on at the position."""
    data, ripe = tmp_path / "data", on_topic(fresh_stack, "optin.decisions", 60)
    with Killer(data, "journeys-0", ripe) as killer:
        printed = replay(log, data, fresh_stack, env=SMALL_STEPS)

    assert killer.killed
    assert printed == as_printed(expected(log))
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == expected(log)


@real_log_in_long
def test_a_killed_metrics_worker_changes_no_answer(log: Path, tmp_path: Path, fresh_stack: Servers) -> None:
    """Kill -9 between an insert and its commit doubles rows, and no answer; nor do two full re-readings."""
    data, wanted = tmp_path / "data", expected(log)
    with Killer(data, "metrics-0", in_table(fresh_stack, "activity_facts", 600)) as killer:
        printed = replay(log, data, fresh_stack, env=SMALL_STEPS)

    assert killer.killed
    assert printed == as_printed(wanted)
    assert asked(fresh_stack) == wanted
    for number in (1, 2):
        read_again(fresh_stack, tmp_path / f"again-{number}", wanted["facts"])
        assert asked(fresh_stack) == wanted


@real_log_in_long
def test_a_killed_delivery_worker_sends_nothing_twice(
    log: Path, tmp_path: Path, fresh_stack: Servers
) -> None:
    """After kill -9 an attempt without outcome is unknown for good; all others are as they would be."""
    data, wanted = tmp_path / "data", expected(log)
    with Killer(data, "delivery-0", on_topic(fresh_stack, "optin.deliveries", 40)) as killer:
        printed = replay(log, data, fresh_stack, env={**SMALL_STEPS, "OPTIN_LEASE_S": "2"})

    assert killer.killed
    found = json.loads(printed)
    outcomes = found.pop("deliveries")
    assert found == {name: value for name, value in wanted.items() if name != "deliveries"}
    assert outcomes["accepted"] + outcomes["unknown"] == wanted["deliveries"]["accepted"]
    assert outcomes["rejected"] == outcomes["withheld_late"] == 0
    lines = (data / "pushes.jsonl").read_text().splitlines()
    shown = Counter(json.loads(line)["push_id"] for line in lines)
    assert set(shown.values()) == {1}
    assert outcomes["accepted"] <= len(shown) <= wanted["decisions"]["send"]


@real_log_in_long
def test_copies_of_every_user_hold_the_same_identities(
    log: Path, tmp_path: Path, fresh_stack: Servers
) -> None:
    """`--amplify` makes other people of each user, who are counted as plain Python counts them."""
    printed = replay(log, tmp_path / "data", fresh_stack, "--amplify", str(AMPLIFY), "--workers", "2")
    found = json.loads(printed)

    assert printed == as_printed(expected(log, AMPLIFY))
    decisions = found["decisions"]
    candidates = decisions["send"] + decisions["hold_out"] + sum(decisions["withhold"].values())
    assert candidates == found["journeys"]["cart_abandonment"]["candidates"]
    assert sum(found["deliveries"].values()) == decisions["send"]


async def counted(bootstrap: str) -> dict[str, Any]:
    """The summary, counted on the topics by a plain read_committed consumer."""
    facts = set()
    for topic in ("permissions", "tokens", "activity"):
        for record in await read(bootstrap, f"optin.{topic}"):
            fact = decode(record.value)
            assert fact is not None
            facts.add(fact[1]["event_id"])
    journeys: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for record in await read(bootstrap, "optin.decisions"):
        name, fields = decode(record.value) or ("", {})
        match name, fields.get("verdict"):
            case "JourneyStarted", _:
                journeys["started"] += 1
            case "JourneyEnded", _:
                journeys[fields["outcome"]] += 1
            case "PushDecided", "withhold":
                reasons[fields["reason"]] += 1
            case _, verdict:
                verdicts[str(verdict)] += 1
    outcomes = Counter(
        (decode(record.value) or ("",))[0] for record in await read(bootstrap, "optin.deliveries")
    )
    return {
        "facts": len(facts),
        "journeys": {
            "cart_abandonment": {
                "started": journeys["started"],
                "converted": journeys["converted"],
                "candidates": journeys["candidate"],
                "open": 2 * journeys["started"] - journeys.total(),
            }
        },
        "decisions": {
            "send": verdicts["send"],
            "hold_out": verdicts["hold_out"],
            "withhold": dict(sorted(reasons.items())),
        },
        "deliveries": {
            "accepted": outcomes["PushAccepted"],
            "rejected": outcomes["PushRejected"],
            "withheld_late": outcomes["PushWithheldLate"],
            "unknown": outcomes["PushOutcomeUnknown"],
        },
    }


def optin(servers: Servers, *arguments: str) -> str:
    """What a command prints on stdout."""
    return subprocess.run(
        [sys.executable, "-m", "processors.cli", *arguments],
        env={**os.environ, **environment(servers)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout


FACTS = (
    "SELECT uniqExact(event_id) AS facts FROM (SELECT event_id FROM permission_facts"
    " UNION ALL SELECT event_id FROM token_facts UNION ALL SELECT event_id FROM activity_facts)"
)
JOURNEYS = (
    "SELECT sum(f.started) AS started, sum(f.converted) AS converted, sum(f.candidates) AS candidates,"
    " sum(f.open) AS open FROM journey_funnel AS f WHERE journey = 'cart_abandonment'"
)
DECISIONS = (
    "SELECT verdict, reason, sum(d.decisions) AS decisions FROM decisions_by_reason AS d WHERE final"
    " GROUP BY verdict, reason ORDER BY verdict, reason"
)
DELIVERIES = (
    "SELECT sum(p.accepted) AS accepted, sum(p.rejected) AS rejected,"
    " sum(p.withheld_late) AS withheld_late, sum(p.unknown) AS unknown FROM push_outcomes AS p"
)


def asked(servers: Servers) -> dict[str, Any]:
    """The summary, asked of ClickHouse by `optin sql`."""

    def ask(query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(optin(servers, "sql", "--format", "json", query))
        return rows

    rows = ask(DECISIONS)
    final = {row["verdict"]: row["decisions"] for row in rows if row["verdict"] != "withhold"}
    return {
        "facts": ask(FACTS)[0]["facts"],
        "journeys": {"cart_abandonment": ask(JOURNEYS)[0]},
        "decisions": {
            "send": final["send"],
            "hold_out": final["hold_out"],
            "withhold": {row["reason"]: row["decisions"] for row in rows if row["verdict"] == "withhold"},
        },
        "deliveries": ask(DELIVERIES)[0],
    }


def read_again(servers: Servers, data: Path, facts: int) -> None:
    """Run the metrics role alone until it has inserted everything from offset 0 once more."""
    patch = pytest.MonkeyPatch()
    for name, value in environment(servers).items():
        patch.setenv(name, value)
    try:
        with Stack(data, roles={"metrics": 1}, env={"OPTIN_METRICS_FROM_BEGINNING": "1"}) as stack:
            stack.start_roles()

            def everything() -> bool:
                words = stack.log_of("metrics-0").read_text() if stack.log_of("metrics-0").exists() else ""
                counts = [
                    line.split(" rows, ")[1].split()[0] for line in words.splitlines() if " rows, " in line
                ]
                return bool(counts) and int(counts[-1]) > facts

            assert wait_until(everything, AGAIN_S)
    finally:
        patch.undo()
