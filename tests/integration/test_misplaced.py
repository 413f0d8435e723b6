"""Facts of a producer with another partitioner are taken to where their subjects belong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from processors.lane.sparse_log import LINES_PER_MINUTE
from processors.prepare import publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stored_permission import stored_permission

PARTITIONS: Final = 8
SETTLE_S: Final = 60.0
PEOPLE: Final = [f"lost-{number}" for number in range(20)]


def facts_of(person: str) -> list[f.SubjectFact]:
    """A grant, and the revocation that must not get lost."""
    now = wall_ms()
    granted = fact(
        f.PermissionGranted, now - 2_000, subject=person, event_id=f"{person}-g", level="authorized"
    )
    revoked = fact(
        f.PermissionRevoked, now - 1_000, subject=person, event_id=f"{person}-r", cause="os_settings"
    )
    return [granted, revoked]


async def append(bootstrap: str) -> None:
    """Grants where they belong, revocations one partition further."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for person in PEOPLE:
            key = person.encode()
            home = partition_of(key, PARTITIONS)
            for one, partition in zip(facts_of(person), (home, (home + 1) % PARTITIONS), strict=True):
                await producer.send_and_wait(
                    "optin.permissions", codec.encode(one), key=key, partition=partition
                )


@pytest.mark.timeout(300)
def test_a_misplaced_revocation_takes_effect(named_stack: Servers, tmp_path: Path) -> None:
    """It is appended again with its first time, and folded on its subject's partition alone."""
    bootstrap = named_stack.kafka_bootstrap
    asyncio.run(append(bootstrap))

    def rows(role: str) -> dict[tuple[bytes, int], bytes]:
        changelog = asyncio.run(read(bootstrap, f"optin.{role}-changelog"))
        return {(row.key, row.partition): row.value for row in changelog}

    def permissions() -> list[str]:
        found = rows("journeys-subjects")
        homes = [(person.encode(), partition_of(person.encode(), PARTITIONS)) for person in PEOPLE]
        return [stored_permission(found[home]).permission for home in homes if home in found]

    roles = {"journeys": 1, "delivery": 1}
    with Stack(tmp_path, roles=roles, prepare=[publish(None)]) as stack:
        stack.start_roles()
        assert wait_until(lambda: permissions() == ["denied"] * len(PEOPLE), SETTLE_S), permissions()
        assert wait_until(lambda: len(rows("delivery-consent")) >= len(PEOPLE), SETTLE_S)
        log = stack.log_of("journeys-0").read_text()

    ledger = asyncio.run(read(bootstrap, "optin.permissions"))
    again = [record for record in ledger if record.headers]
    first = {decode(r.value)[1]["event_id"]: r.timestamp for r in ledger if not r.headers}  # type: ignore[index]
    assert len(again) == len(PEOPLE)
    for record in again:
        assert record.partition == partition_of(record.key, PARTITIONS)
        event = decode(record.value)[1]["event_id"]  # type: ignore[index]
        assert record.headers == (("first_appended_ms", str(first[event]).encode()),)
    subjects = {person.encode() for person in PEOPLE}
    for role in ("journeys-subjects", "delivery-consent"):
        places = [place for place in rows(role) if place[0] in subjects]
        assert sorted(places) == sorted((key, partition_of(key, PARTITIONS)) for key in subjects)
    assert asyncio.run(read(bootstrap, "optin.dead-letters")) == []
    assert (
        log.count("its producer's partitioner is not murmur2") == LINES_PER_MINUTE
    )  # the others are counted
    assert not any(person in log for person in PEOPLE)
