"""The commands `up`, `status` and `down` as a person uses them, through a crash of everything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from connectors.child import Identity
from connectors.clickhouse.query import ask
from connectors.kafka.publish import FactPublisher
from processors.attach import servers
from processors.stack import read_state
from processors.telemetry.readiness import READY, ask_all
from tests.integration.test_delivery import reachable
from tests.support.load import definitions
from tests.support.replays import wait_until

SETTLE_S: Final = 60.0
STOPPED: Final = 3


def optin(data: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command over the data folder, without servers of the environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPTIN_")}
    cache = {"OPTIN_CACHE": os.environ["OPTIN_CACHE"]} if "OPTIN_CACHE" in os.environ else {}
    return subprocess.run(
        [sys.executable, "-m", "processors.cli", *words, "--data", str(data)],
        env={**inherited, **cache, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def status(data: Path) -> dict[str, Any]:
    """What `optin status --json` prints."""
    found: dict[str, Any] = json.loads(optin(data, "status", "--json").stdout)
    return found


def readiness(data: Path) -> dict[str, str]:
    """What each worker says about itself; servers say nothing."""
    return {part["name"]: part["ready"] for part in status(data)["parts"] if part["endpoint"]}


ACCEPTED: Final = "SELECT sum(p.accepted) AS n FROM push_outcomes AS p"


def accepted(data: Path) -> int:
    """How many pushes the view counts as accepted, by `optin sql`."""
    return int(json.loads(optin(data, "sql", ACCEPTED, "--format", "json").stdout)[0]["n"])


def accepted_by_now(data: Path) -> int:
    """The same without a process, for whoever asks again and again."""
    with servers(data, lambda _: None) as running:
        return int(ask(running.clickhouse_url, ACCEPTED).rows[0][0])


def all_ready(data: Path) -> bool:
    """Whether all workers say so; without a process, too."""
    running = read_state(data)
    return running is not None and {*ask_all(running.endpoints).values()} == {READY}


def append(bootstrap: str, people: list[str]) -> None:
    """Reachable people fill carts."""

    async def run() -> None:
        async with FactPublisher(bootstrap) as publisher:
            await publisher.publish([one for person in people for one in reachable(person)])

    asyncio.run(run())


@pytest.mark.timeout(300)
def test_a_stack_comes_up_survives_a_crash_of_all_of_it_and_goes_down(tmp_path: Path) -> None:
    """On the same ports, with all that was in it; a second one over the folder is refused."""
    rules = definitions(tmp_path / "definitions", wait="1s")
    data, env = tmp_path / "data", {"OPTIN_DEFINITIONS": str(rules)}
    assert "holds no stack" in optin(data, "status").stderr

    up = optin(data, "up", "--detach", **env)
    assert up.returncode == 0, up.stderr
    try:
        first = status(data)
        names = {part["name"] for part in first["parts"]}
        assert names == {"kafka", "clickhouse", "journeys-0", "delivery-0", "metrics-0"}
        assert {part["state"] for part in first["parts"]} == {"running"}
        assert first["kafka_bootstrap"] in up.stdout
        assert first["push_credentials"] is None
        assert "No push leaves this machine" in optin(data, "status").stdout
        ready = dict.fromkeys(("journeys-0", "delivery-0", "metrics-0"), "yes")
        assert wait_until(lambda: all_ready(data), SETTLE_S)
        assert readiness(data) == ready
        assert "already runs" in optin(data, "up", **env).stderr
        append(first["kafka_bootstrap"], ["a", "b", "c"])
        assert wait_until(lambda: accepted_by_now(data) >= 2, SETTLE_S)
        before = accepted(data)
        assert before >= 2

        children = [Identity.of(part["pid"]) for part in first["parts"]]
        os.kill(first["pid"], signal.SIGKILL)
        assert wait_until(lambda: not any(child and child.alive() for child in children), SETTLE_S)
        assert optin(data, "status").returncode == STOPPED

        assert optin(data, "up", "--detach", **env).returncode == 0
        second = status(data)
        assert second["kafka_bootstrap"] == first["kafka_bootstrap"]
        assert second["clickhouse_url"] == first["clickhouse_url"]
        append(second["kafka_bootstrap"], ["d", "e", "f"])
        assert wait_until(lambda: accepted_by_now(data) >= before + 2, SETTLE_S)
        assert accepted(data) >= before + 2
        assert optin(data, "verify").returncode == 0
    finally:
        down = optin(data, "down")
    assert down.returncode == 0
    assert optin(data, "status").returncode == STOPPED
    assert "nothing runs" in optin(data, "down").stdout
