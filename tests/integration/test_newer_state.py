"""An older worker that is given the partitions of a newer one ends before it touches anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from connectors.placement import partition_of
from ledger.subject import NEW, STATE_VERSION, encode
from processors.lane import position
from processors.lane.position import POSITION_KEY, Position
from processors.lane.unreadable_state import EXIT_UNREADABLE_STATE
from processors.prepare import publish
from processors.stack import Servers
from tests.integration.test_delivery import append, reachable
from tests.support.plain_reader import read
from tests.support.replays import environment

CHANGELOG: Final = "optin.journeys-subjects-changelog"
PARTITION: Final = partition_of(b"ann", 8)
RUN_S_MAX: Final = 60


@pytest.mark.timeout(180)
@pytest.mark.parametrize("what", ["rows", "a row alone"])
def test_a_worker_that_meets_newer_state_ends_and_writes_nothing(
    what: str, named_stack: Servers, tmp_path: Path
) -> None:
    """It names the changelog, the partition and the remedy; the facts are still there for the newer one."""
    bootstrap = named_stack.kafka_bootstrap
    publish(None)(named_stack)
    newer = msgspec.structs.replace(NEW, version=STATE_VERSION + 1)
    written = [(b"ann", encode(newer))]
    if what == "rows":
        written.append((POSITION_KEY, position.encode(Position(rows=STATE_VERSION + 1))))

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for key, value in written:
                await producer.send_and_wait(CHANGELOG, value, key=key, partition=PARTITION)

    asyncio.run(run())
    append(bootstrap, reachable("ann"))

    worker = subprocess.run(
        [sys.executable, "-m", "processors.cli", "worker", "journeys"],
        env={**os.environ, **environment(named_stack), "OPTIN_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )

    said = worker.stdout + worker.stderr
    assert worker.returncode == EXIT_UNREADABLE_STATE, said[-2_000:]
    assert f"{CHANGELOG}/{PARTITION}" in said
    assert f"state version {STATE_VERSION + 1}, this binary knows {STATE_VERSION}" in said
    assert "run the version of optin that wrote" in said
    left = [
        (row.key, row.value) for row in asyncio.run(read(bootstrap, CHANGELOG)) if row.partition == PARTITION
    ]
    assert left == written
    assert asyncio.run(read(bootstrap, "optin.decisions")) == []
