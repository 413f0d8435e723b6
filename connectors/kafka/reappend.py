"""Appends a record again, on the partition where its key belongs.

Delivery guarantee: when `append` returns, the record is acknowledged by all in-sync replicas. The caller
commits that it has read the first copy only afterwards; a crash in between appends once more, and readers
know a fact by its `event_id`.
"""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.errors import Transient


class Reappender:
    """A producer of its own, outside every transaction, started when first needed."""

    def __init__(self, bootstrap: str, first_appended_header: str) -> None:
        self._bootstrap = bootstrap
        self._header = first_appended_header
        self._producer: Any = None

    async def append(
        self, topic: str, partition: int, key: bytes, value: bytes, first_appended_ms: int
    ) -> None:
        """Append and wait for the acknowledgement; the header keeps the first append. Raises Transient."""
        try:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap, client_id="optin-reappender", enable_idempotence=True
                )
                await producer.start()
                self._producer = producer
            await self._producer.send_and_wait(
                topic,
                value,
                key=key,
                partition=partition,
                headers=[(self._header, str(first_appended_ms).encode())],
            )
        except (KafkaError, OSError) as error:
            raise Transient(
                f"a misplaced fact could not be appended to {topic}/{partition}: {error!r}"
            ) from error
