"""Appends records to named partitions outside transactions: facts that belong elsewhere than their cause.

Delivery guarantee: when a method returns, its records are acknowledged by all in-sync replicas. A caller that
crashes before it remembers that appends once more; readers know a fact by its `event_id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.errors import Transient

REQUEST_BYTES_MAX: Final = 2 << 20
"""A dead letter's record may be as large as its topic takes."""


class Addressed(NamedTuple):
    """A record and where it belongs. `first_appended_ms`: see `Appender.append`."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    first_appended_ms: int | None = None


class Appender:
    """A producer of its own, outside every transaction, started when first needed."""

    def __init__(self, bootstrap: str, first_appended_header: str) -> None:
        self._bootstrap = bootstrap
        self._header = first_appended_header
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        first_appended_ms: int | None,
    ) -> None:
        """Append and wait for the acknowledgement; raises Transient.

        `first_appended_ms`: the header in which a record that is appended again keeps its first append.
        """
        await self.append_all([Addressed(topic, partition, key, value, first_appended_ms)])

    async def append_all(self, records: Sequence[Addressed]) -> None:
        """Append records side by side and wait for all acknowledgements; raises Transient.

        In the order given where they go to one partition. After an error some of them are appended.
        """
        if not records:
            return
        try:
            producer = await self._started()
            acknowledged = [await self._send(producer, record) for record in records]
            await asyncio.gather(*acknowledged)
        except (KafkaError, OSError) as error:
            places = ", ".join(sorted({f"{record.topic}/{record.partition}" for record in records}))
            raise Transient(f"{places} did not take a record: {error!r}") from error

    async def _send(self, producer: Any, record: Addressed) -> Any:
        first_ms = record.first_appended_ms
        headers = [(self._header, str(first_ms).encode())] if first_ms is not None else []
        return await producer.send(
            record.topic, record.value, key=record.key, partition=record.partition, headers=headers
        )

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id="optin-appender",
                    enable_idempotence=True,
                    max_request_size=REQUEST_BYTES_MAX,
                )
                await producer.start()
                self._producer = producer
        return self._producer

    async def close(self) -> None:
        """End the producer; a worker that ends as a process need not."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
