"""Appends facts to their topics: for app backends in Python, replays, generators and tests.

Delivery guarantee: when `publish` returns, every fact is acknowledged by all in-sync replicas, once
and, for each subject, in the order given. When it raises, an unknown part of the facts is appended;
publishing the same facts again is safe, because readers know a fact by its `event_id`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.codec import encode, topic_of
from connectors.errors import InvariantBroken, Misconfigured, Transient
from connectors.placement import partition_of
from ledger.facts import Fact, key_of

BATCH_BYTES: Final = 256 << 10
IN_FLIGHT_MAX: Final = 64
"""Batches that wait for their acknowledgement: with `BATCH_BYTES`, at most 16 MiB."""
REQUEST_MS: Final = 30_000


class FactPublisher:
    """An idempotent producer of facts (`acks=all`); an async context manager.

    One publisher belongs to one event loop and one task at a time. After an error it must not be used
    again: open a new one.
    """

    def __init__(self, bootstrap: str, *, appended_header: str | None = None) -> None:
        """`appended_header`: names a fact's own time as its first append, in a run over a recorded past."""
        self._appended_header = appended_header
        self.published = 0
        """Facts that are acknowledged so far."""
        self._bootstrap = bootstrap
        self._producer: Any = None
        self._partitions: dict[str, int] = {}
        self._open: dict[tuple[str, int], Any] = {}
        self._waiting: deque[tuple[asyncio.Future[Any], int]] = deque()

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="optin-publisher",
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_MS,
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise Transient(f"Kafka at {self._bootstrap} does not answer: {error!r}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._producer.stop()

    async def publish(self, facts: Iterable[Fact]) -> int:
        """Append the facts, each to its topic, keyed by what it is about; returns how many.

        Takes them one by one, so a generator of any length needs bounded memory. Raises Transient if
        Kafka does not acknowledge, Misconfigured if it refuses or a topic does not exist,
        InvariantBroken for a fact without a key of its own: other rules of placement hold for it.
        """
        before = self.published
        try:
            for fact in facts:
                key = key_of(fact)
                if key is None:
                    raise InvariantBroken(f"{type(fact).__name__} has nothing to be keyed by")
                headers = []
                if self._appended_header is not None:
                    headers = [(self._appended_header, str(fact.occurred_at).encode())]
                await self._append(topic_of(type(fact)), key.encode(), encode(fact), headers)
            await self._flush()
        except KafkaError as error:
            kind = Transient if error.retriable else Misconfigured
            raise kind(f"Kafka at {self._bootstrap} did not take facts: {error!r}") from error
        return self.published - before

    async def _append(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        partitions = self._partitions.get(topic) or await self._look_up(topic)
        place = topic, partition_of(key, partitions)
        batch = self._open.get(place)
        if batch is not None:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is not None:
                return
            await self._send(place, batch)  # it is full
        batch = self._open[place] = self._producer.create_batch()
        first = batch.append(key=key, value=value, timestamp=None, headers=headers)
        assert first is not None  # a batch takes its first record whatever its size

    async def _look_up(self, topic: str) -> int:
        try:
            found = await self._producer.partitions_for(topic)
        except KafkaError as error:
            raise Misconfigured(
                f"Kafka at {self._bootstrap} has no topic {topic} ({error!r}): run `optin topics apply`."
            ) from error
        self._partitions[topic] = len(found)
        return len(found)

    async def _send(self, place: tuple[str, int], batch: Any) -> None:
        """Hand a batch over; waits for the oldest one in flight when there are too many."""
        topic, partition = place
        acknowledged = await self._producer.send_batch(batch, topic, partition=partition)
        self._waiting.append((acknowledged, batch.record_count()))
        while len(self._waiting) >= IN_FLIGHT_MAX:
            await self._settle()
        await asyncio.sleep(0)  # lets the producer's own task send

    async def _settle(self) -> None:
        acknowledged, count = self._waiting.popleft()
        await acknowledged
        self.published += count

    async def _flush(self) -> None:
        for place, batch in self._open.items():
            await self._send(place, batch)
        self._open.clear()
        while self._waiting:
            await self._settle()
