"""A shop's log through the whole path gives what plain Python computes from it, whatever is killed meanwhile.

The real log is used where OPTIN_TEST_DATA has it, and a generated one of the same format anyway. What the
long form does in runs of their own, the short form does in few: see the parameters.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from processors.stack import Servers, Stack
from tests.support import command_line, generated_log
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
DATA = os.environ.get("OPTIN_TEST_DATA")
REAL_LOG = "real" if DATA and (Path(DATA) / REAL).exists() else "generated"
"""The real log where it is, so that nothing of what takes it is skipped where it isn't."""
SMALL_USERS = 40
WORKERS_AND_COPIES = [(2, 1), (4, 1), (2, 100)] if LONG else [(4, 3)]
KILLED = [("journeys",), ("metrics",)] if LONG else [("journeys", "metrics")]
AGAINS = 2 if LONG else 1
AGAIN_S = 120.0

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The log that a test asks for by `real`, `generated` or `small`; the generated one unless asked."""
    wanted = getattr(request, "param", "generated")
    if wanted != "real":
        path = tmp_path / f"{wanted}.csv"
        generated_log.write(path, **({"users": SMALL_USERS} if wanted == "small" else {}))
        return path
    return real_file(REAL)


def real_file(name: str) -> Path:
    """A file of the folder of real data; skips the test where it is not."""
    if not DATA:
        pytest.skip("OPTIN_TEST_DATA is not set: CONTRIBUTING.md says where the real log comes from")
    path = Path(DATA) / name
    if not path.exists():
        pytest.skip(f"OPTIN_TEST_DATA has no {name}")
    return path


def on_log(long: str, short: str) -> pytest.MarkDecorator:
    """Which log a test takes in each form."""
    return pytest.mark.parametrize("log", [long if LONG else short], indirect=True)


@pytest.mark.parametrize("log", ["generated", "real"] if LONG else ["generated"], indirect=True)
def test_a_replay_gives_what_plain_python_computes(log: Path, tmp_path: Path, fresh_stack: Servers) -> None:
    """One JSON object on stdout, on the topics, and in ClickHouse: all equal to the recomputation."""
    wanted = expected(log)

    assert replay(log, tmp_path / "data", fresh_stack, "--wait", "1h") == as_printed(wanted)
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == wanted
    assert asked(fresh_stack) == wanted
    assert sum(wanted["deliveries"].values()) == wanted["decisions"]["send"] > 0
    verified = optin(fresh_stack, "verify")
    assert verified.endswith(" decisions checked, 0 objections\n"), verified


@pytest.mark.skipif(not LONG, reason="another shop's log goes the same way: long form (OPTIN_TEST_LONG=1)")
def test_a_replay_of_ottos_sessions_gives_what_plain_python_computes(
    tmp_path: Path, fresh_stack: Servers
) -> None:
    """Ten times the real sample: on stdout, on the topics and by kind, all is as counted elsewhere."""
    log = real_file(REAL_OTTO)
    wanted = expected(log, 10, OTTO)

    printed = replay(log, tmp_path / "data", fresh_stack, "--amplify", "10", dataset="otto")

    assert printed == as_printed(wanted)
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == wanted
    topic = asyncio.run(read(fresh_stack.kafka_bootstrap, "optin.activity"))
    told = [decode(record.value) for record in topic]
    kinds = Counter(fact[0] for fact in told if fact)
    assert kinds == {"ItemViewed": 8_000, "CartUpdated": 520, "OrderPlaced": 50}
    assert sum(len(fact[1]["items"]) for fact in told if fact and fact[0] == "OrderPlaced") == 100
    assert wanted["journeys"]["cart_abandonment"]["started"] == 210
    assert wanted["decisions"]["send"] > 100


@on_log(REAL_LOG, short="small")
@pytest.mark.parametrize(("workers", "amplify"), WORKERS_AND_COPIES)
def test_the_number_of_workers_changes_no_byte(
    log: Path, workers: int, amplify: int, tmp_path: Path, fresh_stack: Servers
) -> None:
    """Two or four workers of a role print the same bytes as one.

    `--amplify` makes other people of each user, who are counted as plain Python counts them: copies of
    every user hold the same identities.
    """
    options = ("--workers", str(workers), *(("--amplify", str(amplify)) if amplify > 1 else ()))
    printed = replay(log, tmp_path / "data", fresh_stack, *options)
    found = json.loads(printed)

    assert printed == as_printed(expected(log, amplify))
    decisions = found["decisions"]
    candidates = decisions["send"] + decisions["hold_out"] + sum(decisions["withhold"].values())
    assert candidates == found["journeys"]["cart_abandonment"]["candidates"]
    assert sum(found["deliveries"].values()) == decisions["send"]


@on_log(REAL_LOG, short=REAL_LOG)
@pytest.mark.parametrize("roles", KILLED, ids="+".join)
def test_a_killed_worker_changes_no_answer(
    roles: tuple[str, ...], log: Path, tmp_path: Path, fresh_stack: Servers
) -> None:
    """Kill -9 between two transactions of journeys, or inside one: the next owner goes on at the position.

    Between an insert of metrics and its commit it doubles rows, and no answer; nor do full re-readings.
    """
    data, wanted = tmp_path / "data", expected(log)
    ripe = {
        "journeys": on_topic(fresh_stack, "optin.decisions", 60),
        "metrics": in_table(fresh_stack, "activity_facts", 600),
    }
    killers = [Killer(data, f"{role}-0", ripe[role]) for role in roles]
    with ExitStack() as running:
        for killer in killers:
            running.enter_context(killer)
        printed = replay(log, data, fresh_stack, env=SMALL_STEPS)

    assert all(killer.killed for killer in killers)
    assert printed == as_printed(wanted)
    assert asyncio.run(counted(fresh_stack.kafka_bootstrap)) == wanted
    assert asked(fresh_stack) == wanted
    for number in range(AGAINS if "metrics" in roles else 0):
        read_again(fresh_stack, tmp_path / f"again-{number}", wanted["facts"])
        assert asked(fresh_stack) == wanted


@on_log(REAL_LOG, short="generated")
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
                "candidates": journeys["completed"],
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
    done = command_line.optin(servers, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
