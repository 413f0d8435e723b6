"""Appends single records to a named partition: facts that stood on a wrong one, and what operators decide.

Delivery guarantee: when `append` returns, the record is acknowledged by all in-sync replicas. A caller that
crashes before it remembers that appends once more; readers know a fact by its `event_id`.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.errors import Transient

REQUEST_BYTES_MAX: Final = 2 << 20
"""A dead letter's record may be as large as its topic takes."""


class Appender:
    """A producer of its own, outside every transaction, started when first needed."""

    def __init__(self, bootstrap: str, first_appended_header: str) -> None:
        self._bootstrap = bootstrap
        self._header = first_appended_header
        self._producer: Any = None

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
        headers = [(self._header, str(first_appended_ms).encode())] if first_appended_ms is not None else []
        try:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id="optin-appender",
                    enable_idempotence=True,
                    max_request_size=REQUEST_BYTES_MAX,
                )
                await producer.start()
                self._producer = producer
            await self._producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers)
        except (KafkaError, OSError) as error:
            raise Transient(f"{topic}/{partition} did not take a record: {error!r}") from error

    async def close(self) -> None:
        """End the producer; a worker that ends as a process need not."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
