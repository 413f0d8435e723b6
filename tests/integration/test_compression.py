"""A producer chooses how it compresses; whatever that is, its facts are read."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

import pytest
from confluent_kafka import Producer

from connectors import codec
from connectors.kafka.read import read_topic
from ledger import facts as f
from processors.stack import Servers
from tests.support.given import NOON, fact

COPIES: Final = 50
"""Enough of one fact that compressing pays: a batch that would grow is sent plain."""


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_compressed_fact_is_read(stack: Servers, compression: str) -> None:
    """By the same client that the roles read with: one it can't unpack would end them all."""
    who = f"{compression}-{uuid.uuid4()}"
    revoked = fact(f.PermissionRevoked, NOON, subject=who, cause="support")
    producer = Producer(
        {"bootstrap.servers": stack.kafka_bootstrap, "compression.type": compression, "linger.ms": 200}
    )
    for _ in range(COPIES):
        producer.produce("optin.permissions", codec.encode(revoked), who.encode())
    assert producer.flush(30) == 0

    async def found() -> list[f.Fact]:
        key = who.encode()
        return [
            codec.decode(record.value)
            async for records in read_topic(stack.kafka_bootstrap, "optin.permissions")
            for record in records
            if record.key == key
        ]

    assert asyncio.run(found()) == [revoked] * COPIES
