"""Makes the cache that lets the embedded broker start in about 1 s: `python -m connectors.kafka.training`.

Starts a broker in a temporary folder, uses it a little, and lets the JVM write down the classes that
it loaded and linked. Takes about 15 s of one core, once for each machine; worth it where brokers are
started often, as in the tests.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from connectors.errors import Transient
from connectors.kafka import fast_start, jars
from connectors.kafka.embedded import EmbeddedKafka

TOPIC: Final = "training"
RECORDS: Final = 200
STOP_S: Final = 120.0
"""The JVM writes the cache while it stops."""


def train(progress: Callable[[str], None]) -> Path:
    """Make the cache unless it is there; returns its file. Raises Transient if the JVM made none."""
    runtime = jars.runtime(progress)
    made = fast_start.cache_file(runtime)
    with (runtime.cache / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            return made
        progress("Making Kafka's start faster (once for this machine, about 15 s)")
        draft = made.with_name(f"{made.name}.{os.getpid()}.new")
        with tempfile.TemporaryDirectory(prefix="optin-training-") as folder:
            kafka = EmbeddedKafka(Path(folder), jvm_flags=[f"-XX:AOTCacheOutput={draft}"])
            try:
                asyncio.run(_use(kafka.start()))
            finally:
                kafka.stop(STOP_S)
        if not draft.exists():
            raise Transient("the JVM wrote no class cache; Kafka works without it, only slower.")
        draft.replace(made)
    return made


async def _use(bootstrap: str) -> None:
    """Create a topic, write to it in a transaction and read it in a group, so that it is all loaded."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=TOPIC)
    async with producer, producer.transaction():
        for number in range(RECORDS):
            await producer.send(TOPIC, b"%d" % number, key=b"k")
    reader = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=bootstrap, group_id=TOPIC, auto_offset_reset="earliest"
    )
    async with reader:
        await reader.getmany(timeout_ms=5_000)
        await reader.commit()


if __name__ == "__main__":
    print(train(print))  # noqa: T201 - a program, this is its output
