"""Facts that no subject is the key of reach ClickHouse like all others, and bad ones do not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.clickhouse.query import ask
from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.prepare import migrate_tables
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.support.examples import example_of
from tests.support.given import changed
from tests.support.replays import environment, wait_until

SETTLE_S: Final = 60.0
KINDS: Final = (
    f.InstallationClaimed,
    f.ItemPriceChanged,
    f.ItemStockChanged,
    f.SubjectAttributesSet,
    f.CustomActivity,
    f.TrialEnded,
)


@pytest.mark.timeout(300)
def test_claims_items_and_new_activity_are_measured(named_stack: Servers, tmp_path: Path) -> None:
    """Each lands in the table of its topic; a claim under another key is left out."""
    bootstrap, now = named_stack.kafka_bootstrap, wall_ms()
    facts = [changed(example_of(kind), occurred_at=now - 1_000) for kind in KINDS]
    astray = changed(facts[0], event_id="astray")

    async def append() -> None:
        async with FactPublisher(bootstrap) as publisher:
            assert await publisher.publish(facts) == len(facts)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait("optin.links", codec.encode(astray), key=b"another", partition=0)
            await producer.send_and_wait("optin.items", codec.encode(facts[0]), key=b"another", partition=0)

    asyncio.run(append())
    with Stack(tmp_path, roles={"metrics": 1}, prepare=[migrate_tables]) as stack:
        stack.start_roles()

        def measured(table: str) -> list[Any]:
            return ask(
                named_stack.clickhouse_url, f"SELECT fact, event_id FROM {table} FINAL ORDER BY 1"
            ).rows

        def complete() -> bool:
            return sum(len(measured(t)) for t in ("link_facts", "item_facts", "activity_facts")) >= len(KINDS)

        assert wait_until(complete, SETTLE_S)
        found = {table: measured(table) for table in ("link_facts", "item_facts", "activity_facts")}

    wanted = sorted((type(one).__name__, one.event_id) for one in facts)
    assert found["link_facts"] == [("InstallationClaimed", facts[0].event_id)]
    assert [name for name, _ in found["item_facts"]] == ["ItemPriceChanged", "ItemStockChanged"]
    assert sorted(row for rows in found.values() for row in rows) == wanted


@pytest.mark.timeout(120)
def test_a_bounded_run_refuses_claims(named_stack: Servers, tmp_path: Path) -> None:
    """By the event clock nobody would fold them: the worker says so, and does not start."""
    claim = changed(example_of(f.InstallationClaimed), occurred_at=wall_ms() - 1_000)

    async def append() -> None:
        async with FactPublisher(named_stack.kafka_bootstrap) as publisher:
            await publisher.publish([claim])

    asyncio.run(append())
    done = subprocess.run(
        [sys.executable, "-m", "processors.cli", "worker", "journeys"],
        env={**os.environ, **environment(named_stack), "OPTIN_CLOCK": "event", "OPTIN_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode != 0
    assert "optin.links" in done.stderr
    assert "a run by the event clock takes none" in " ".join(done.stderr.split())
