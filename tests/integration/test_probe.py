"""A silent push on a real broker and a real provider's stand-in: an uninstall is found without a message."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from ledger.consent import token_id
from processors.agents.reach_rows import ROWS, Worked, worked_key
from processors.prepare import migrate_tables, publish
from processors.stack import Stack
from processors.topic_names import SENDS_CHANGELOG
from processors.wall_clock import wall_ms
from tests.integration.test_providers import SETTLE_S, attempts, deaths, outcomes, said, tell, told
from tests.support.load import definitions
from tests.support.plain_reader import read
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.part import or_skip
from tests.support.providers.pushes import token
from tests.support.replays import wait_until

DAY_MS = 86_400_000


async def age(bootstrap: str, key: bytes, by_ms: int) -> Worked:
    """Make the note of an address older than it is, and due; returns what it says now."""
    kept = [one for one in await read(bootstrap, SENDS_CHANGELOG) if one.key == key]
    noted = ROWS.decode(kept[-1].value)
    assert isinstance(noted, Worked)
    older = msgspec.structs.replace(noted, at=noted.at - by_ms, look_at=wall_ms())
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(SENDS_CHANGELOG, ROWS.encode(older), key, partition=kept[-1].partition)
    return older


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_an_app_that_went_is_found_in_silence(tmp_path: Path) -> None:
    """After two days without a push, by a worker that reads the note back: once, and no push is attempted."""
    with or_skip(ApnsMock(tmp_path / "apns")) as mock:
        (tmp_path / "credentials.yaml").write_text(mock.credentials("shop"))
        rules = definitions(tmp_path / "definitions")
        env = {
            "OPTIN_DEFINITIONS": str(rules),
            "OPTIN_PUSH_CREDENTIALS": str(tmp_path / "credentials.yaml"),
            "OPTIN_PROBE_PER_S": "5",
        }
        prepare = [migrate_tables, publish(rules)]
        with Stack(tmp_path, roles={"journeys": 1, "delivery": 1}, env=env, prepare=prepare) as stack:
            where, key = stack.kafka_bootstrap, worked_key(token_id("apns", token(0)))
            stack.start_roles()
            asyncio.run(tell(where, said(0, "first")))
            assert wait_until(lambda: outcomes(where) == {"PushAccepted": 1}, SETTLE_S), outcomes(where)
            gone = wall_ms()
            mock.tell("dead", gone, token(0))
            older = asyncio.run(age(where, key, 2 * DAY_MS))
            (delivery,) = (pid for part, pid in stack.pids().items() if part.startswith("delivery"))
            os.kill(delivery, signal.SIGKILL)

            assert wait_until(lambda: deaths(where, "person-0") != [], SETTLE_S)
            (registered,) = (
                one["occurred_at"] for name, one in told(where, "optin.tokens") if name == "TokenRegistered"
            )
            assert len(mock.accepted()) == 1
            assert mock.counts()["UNREGISTERED"] == 1
            assert deaths(where, "person-0") == [("uninstall", max(older.at, registered), gone)]
            assert (attempts(where), outcomes(where)) == (1, {"PushAccepted": 1})
