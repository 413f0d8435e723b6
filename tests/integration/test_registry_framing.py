"""Values in a registry's framing are folded like all others; a registry that is away is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer

from connectors import codec
from connectors.codec import HEADER_BYTES
from connectors.placement import partition_of
from ledger import facts as f
from ledger.unreadable import UnreadableRecord
from processors.history import history_of
from processors.prepare import publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from schemas import fact_schema
from tests.support.fake_registry import FakeRegistry, register
from tests.support.given import fact
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stored_permission import stored_permission

PARTITIONS: Final = 8
SETTLE_S: Final = 60.0
WAITING: Final = [f"registry-{number}" for number in range(200)]
WAITING_PARTITIONS: Final = {0, 1, 2}
FRAMED: Final = [who for who in WAITING if partition_of(who.encode(), PARTITIONS) in WAITING_PARTITIONS]
PLAIN: Final = [who for who in WAITING if who not in FRAMED]
NEVER_GIVEN_OUT: Final = 4_711


def framed(schema_id: int, revoked: f.SubjectFact) -> bytes:
    """As Confluent's Avro serializer writes it."""
    return b"\x00" + schema_id.to_bytes(4, "big") + codec.encode(revoked)[HEADER_BYTES:]


def revocation(who: str) -> f.PermissionRevoked:
    """A revocation of a second ago."""
    return fact(f.PermissionRevoked, wall_ms() - 1_000, subject=who, event_id=f"{who}-r", cause="os_settings")


def append(bootstrap: str, schema_id: int) -> None:
    """Revocations of everybody, in registry framing for some, and one value whose id means nothing."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "partitioner": "murmur2_random"})
    for who in WAITING:
        revoked = revocation(who)
        value = framed(schema_id, revoked) if who in FRAMED else codec.encode(revoked)
        producer.produce("optin.permissions", value, who.encode())
    producer.produce("optin.permissions", framed(NEVER_GIVEN_OUT, revocation(FRAMED[0])), FRAMED[0].encode())
    assert producer.flush(30) == 0


@pytest.fixture(autouse=True)
def nobody_else_reads_by_id() -> Iterator[None]:
    """The process's codec learns of the registry when this test reads a history; others must not."""
    yield
    codec.accept_registry(None)


@pytest.mark.timeout(300)
def test_framed_revocations_are_folded_once_the_registry_answers(
    named_stack: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only their partitions wait for it; nothing is lost and nothing is a dead letter by its silence."""
    bootstrap = named_stack.kafka_bootstrap

    def folded(role: str) -> set[str]:
        rows = asyncio.run(read(bootstrap, f"optin.{role}-changelog"))
        return {row.key.decode() for row in rows if row.key.startswith(b"registry-")}

    with FakeRegistry(password="s3cret") as registry:
        # What a producer's serializer does before its first record.
        schema_id = register(
            registry.address,
            "optin.permissions-value",
            schema=json.dumps(fact_schema("PermissionRevoked").record),
        )
        append(bootstrap, schema_id)
        registry.down = True
        address = registry.address.replace("//", "//optin:s3cret@")
        monkeypatch.setenv("OPTIN_SCHEMA_REGISTRY_URL", address)

        roles = {"journeys": 1, "delivery": 1, "metrics": 1}
        with Stack(tmp_path, roles=roles, prepare=[publish(None)]) as stack:
            stack.start_roles()
            logs = [stack.log_of(f"{role}-0") for role in roles]
            for role in ("journeys-subjects", "delivery-consent"):
                assert wait_until(lambda role=role: folded(role) == set(PLAIN), SETTLE_S), role  # type: ignore[misc]
            for log in logs:
                assert wait_until(lambda log=log: "unknown schema ids" in log.read_text(), SETTLE_S), log  # type: ignore[misc]
            assert folded("journeys-subjects") == set(PLAIN)
            assert asyncio.run(read(bootstrap, "optin.dead-letters")) == []

            registry.down = False
            for role in ("journeys-subjects", "delivery-consent"):
                assert wait_until(lambda role=role: folded(role) == set(WAITING), SETTLE_S), role  # type: ignore[misc]
            assert wait_until(lambda: asyncio.run(read(bootstrap, "optin.dead-letters")) != [], SETTLE_S)
            history = asyncio.run(history_of(bootstrap, FRAMED[0]))
            said = "".join(log.read_text() for log in logs)

    (letter,) = asyncio.run(read(bootstrap, "optin.dead-letters"))
    name, fields = decode(letter.value) or ("", {})
    assert (name, fields["reason"]) == ("RecordDeadLettered", "unknown_schema")
    assert fields["detail"] == f"schema {NEVER_GIVEN_OUT} of the registry is not registered"
    permissions: dict[str, str] = {}
    for row in asyncio.run(read(bootstrap, "optin.journeys-subjects-changelog")):
        if row.key.startswith(b"registry-"):
            permissions[row.key.decode()] = stored_permission(row.value).permission
    assert permissions == dict.fromkeys(WAITING, "denied")
    (revoked, *_), (bad, *_) = history.ledger
    assert isinstance(revoked, f.PermissionRevoked)
    assert bad == UnreadableRecord(FRAMED[0])
    assert "the schema registry answers again" in said
    assert "s3cret" not in said
