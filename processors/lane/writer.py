"""Transactions: one producer per partition number, whose epoch at the broker decides who owns it.

Delivery guarantee: what `transact` writes is seen whole or not at all by read_committed readers, and only
while no later claim was made for the partition. It returns when the transaction is marked on all its
partitions; what a broker forgot to mark, the next owner settles (`markers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender

from processors.lane import markers
from processors.lane.leaders import KafkaLeaders
from processors.lane.markers import Place, Sequences, Stamp

REQUEST_TIMEOUT_MS: Final = 30_000
RETRY_BACKOFF_MS: Final = 50
BATCH_BYTES_MAX: Final = 900_000
"""A batch stays below the broker's default limit of 1 MiB."""

# The coordinator ends a transaction a moment after its markers are written; aiokafka then waits this long
# (seconds) before it adds partitions to the next one. Its default of 20 ms would be most of a transaction.
sender.BACKOFF_OVERRIDE = 0.002

Writes = Mapping[str, Sequence[tuple[bytes | None, bytes | None]]]
"""topic -> (key, value) in order; a value of None is a tombstone."""


class TransactionalWriter:
    """Claims partition numbers and writes to them in transactions.

    After `claim` returned, every older owner is fenced and its open transaction is ended: nobody else can
    move the end of the partitions that only owners write to.
    """

    def __init__(self, bootstrap: str, prefix: str, timeout_s: float, outputs: Sequence[str]) -> None:
        """`outputs`: all topics that transactions may write to, beside the changelog of a lane."""
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._outputs = outputs
        self._timeout_ms = int(timeout_s * 1000)
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._sequences: dict[int, Sequences] = {}
        self.transactions = 0
        self.batches = 0

    async def claim(self, partition: int) -> None:
        """Become the owner of a partition number (InitProducerId). Raises KafkaError."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            transactional_id=f"{self._prefix}-{partition}",
            transaction_timeout_ms=self._timeout_ms,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            max_batch_size=BATCH_BYTES_MAX,
            acks="all",
        )
        await producer.start()
        self._producers[partition] = producer
        self._sequences[partition] = Sequences()

    async def settle(self, partition: int, changelog: str) -> dict[Place, bool]:
        """End what a broker left open of a partition number that was just claimed; see `markers.settle`."""
        producer = self._producers[partition]
        leaders = KafkaLeaders(producer, self._bootstrap)
        ours = producer._txn_manager.producer_id
        return await markers.settle(leaders, leaders, (changelog, partition), self._outputs, ours)

    async def release(self, partition: int) -> None:
        """Give up a partition number; no-op when it isn't ours."""
        producer = self._producers.pop(partition, None)
        if producer is not None:
            await producer.stop()

    async def transact(self, partition: int, writes: Writes) -> None:
        """Write all of it to the given partition number of each topic, or nothing; wait for its markers.

        After any exception the producer must not be used again: aiokafka neither repairs the sequence
        number of a failed batch nor fails the transaction for it, and a commit that timed out may still
        succeed. The caller ends the process; the next owner's claim settles what is open.
        """
        producer = self._producers[partition]
        manager = producer._txn_manager
        places = [(topic, partition) for topic in writes]
        counts = {topic: len(items) for topic, items in writes.items() if topic in self._outputs}
        stamp = self._sequences[partition].stamp(manager.producer_id, manager.producer_epoch, counts)
        await producer.begin_transaction()
        for topic in writes:
            # All partitions in one AddPartitionsToTxn round trip, before the first batch needs it.
            manager.maybe_add_partition_to_txn(TopicPartition(topic, partition))
        sends = [self._append(producer, topic, partition, items, stamp) for topic, items in writes.items()]
        # Every batch future is awaited: commit_transaction would commit without a failed batch.
        await asyncio.gather(*sends)
        await producer.commit_transaction()
        leaders = KafkaLeaders(producer, self._bootstrap)
        await markers.marked(leaders, places, stamp.producer, stamp.epoch)
        self.transactions += 1

    async def _append(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        items: Iterable[tuple[bytes | None, bytes | None]],
        stamp: Stamp,
    ) -> None:
        batch = producer.create_batch()
        futures = []
        for key, value in items:
            headers = markers.headers_of(key, stamp)
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                futures.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise ValueError(f"a record for {topic} is larger than {BATCH_BYTES_MAX} bytes")
        if batch.record_count():
            futures.append(await producer.send_batch(batch, topic, partition=partition))
        self.batches += len(futures)
        await asyncio.gather(*futures)
