"""Two workers with different folders for a while, and definitions that were told before workers start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.cli import app
from processors.definitions.loader import load
from processors.prepare import migrate_tables
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Stack, worker_command
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stack import TestServers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

OPERATED: Final = Path(__file__).parents[1] / "support" / "operated"
SETTLE_S: Final = 90.0
JOURNEY: Final = "cart_abandonment"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The folder that is rolled out: the reminder says something else."""
    folder = Path(shutil.copytree(OPERATED, tmp_path / "other"))
    message = folder / "messages" / "reminder.yaml"
    lines = message.read_text().splitlines()
    said = ["title: Another title" if line.startswith("title:") else line for line in lines]
    message.write_text("\n".join(said) + "\n")
    return folder


@pytest.fixture
def stack(servers: TestServers, tmp_path: Path) -> Iterator[Stack]:
    """One worker of journeys, which is not started yet."""
    with servers.fresh(tmp_path) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KAFKA_ENV, fresh.kafka_bootstrap)
        patch.setenv(CLICKHOUSE_ENV, fresh.clickhouse_url)
        env = {"OPTIN_DEFINITIONS": str(OPERATED), "OPTIN_SESSION_TIMEOUT_S": "6"}
        with Stack(tmp_path / "data", roles={"journeys": 1}, env=env, prepare=[migrate_tables]) as running:
            yield running


def append(stack: Stack, *facts: f.Fact) -> None:
    """Append facts, acknowledged."""

    async def run() -> None:
        async with FactPublisher(stack.kafka_bootstrap) as publisher:
            await publisher.publish(list(facts))

    asyncio.run(run())


def carts(stack: Stack, *names: str) -> None:
    """Something in the cart of each."""
    at = wall_ms()
    here = [{"subject": name, "installation": "phone", "event_id": f"cart-{name}"} for name in names]
    append(stack, *(fact(f.CartUpdated, at, **one, item="boots", change="added") for one in here))


def told(stack: Stack, kind: str) -> dict[str, dict[str, Any]]:
    """Facts of the cart's journey by their subject; each has one at most."""
    records = asyncio.run(read(stack.kafka_bootstrap, "optin.decisions"))
    facts = [one for record in records if (one := decode(record.value))]
    mine = [body for name, body in facts if name == kind and body["journey"] == JOURNEY]
    assert len({one["subject"] for one in mine}) == len(mine)
    return {one["subject"]: one for one in mine}


def test_no_instance_changes_its_version_while_two_are_rolled_out(stack: Stack, other: Path) -> None:
    """The first worker takes over what one of a newer folder began, and that ends as it began.

    Nothing was activated, so each worker counts on its own folder: as long as a rolling update takes.
    """
    versions = {load(folder).journey_versions[JOURNEY]: folder for folder in (OPERATED, other)}
    assert len(versions) == 2
    stack.start_roles()
    first = stack.pids()["journeys-0"]
    carts(stack, "before")
    assert wait_until(lambda: "before" in told(stack, "JourneyStarted"), SETTLE_S)
    environment = {
        **os.environ,
        "OPTIN_CLOCK": "wall",
        "OPTIN_DEFINITIONS": str(other),
        "OPTIN_SESSION_TIMEOUT_S": "6",
        "OPTIN_DATA": str(stack.data),
        "OPTIN_INSTANCE": "journeys-9",
    }
    second = subprocess.Popen(
        worker_command("journeys"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for number in range(200):
            carts(stack, f"during-{number}")
            begun = {one["journey_version"] for one in told(stack, "JourneyStarted").values()}
            if begun == versions.keys():
                break
            time.sleep(0.5)
    finally:
        second.send_signal(signal.SIGKILL)
        second.wait()

    started = told(stack, "JourneyStarted")
    assert wait_until(lambda: told(stack, "PushDecided").keys() == started.keys(), SETTLE_S)
    began = {name: one["journey_version"] for name, one in started.items()}
    assert set(began.values()) == versions.keys()
    assert {name: one["journey_version"] for name, one in told(stack, "PushDecided").items()} == began
    assert {name: one["journey_version"] for name, one in told(stack, "JourneyEnded").items()} == began
    assert stack.pids()["journeys-0"] == first, "it knew what it took over without being started again"
    verified = CliRunner().invoke(app, ["verify"])
    assert verified.exit_code == 0, verified.output


def test_a_fact_that_came_after_definitions_meets_them_though_workers_started_later(
    stack: Stack, other: Path
) -> None:
    """What was told before is folded before anything else."""
    names = [f"p{number}" for number in range(40)]
    published = CliRunner().invoke(app, ["definitions", "publish", str(other)])
    assert published.exit_code == 0, published.output
    carts(stack, *names)

    stack.start_roles()

    assert wait_until(lambda: told(stack, "JourneyStarted").keys() == set(names), SETTLE_S)
    begun = {one["journey_version"] for one in told(stack, "JourneyStarted").values()}
    assert begun == {load(other).journey_versions[JOURNEY]}
