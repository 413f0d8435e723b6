"""Published definitions: bodies by content hash on `optin.definitions`, so that decisions stay derivable."""

from __future__ import annotations

from pathlib import Path

from aiokafka import AIOKafkaProducer

from connectors.kafka.read import read_topic
from ledger import definitions as core
from processors.definitions.loader import load, shipped
from processors.topic_names import DEFINITIONS

Archive = dict[str, core.Body]


async def read_archive(bootstrap: str) -> Archive:
    """All bodies that were ever published, by their version."""
    archive: Archive = {}
    async for records in read_topic(bootstrap, DEFINITIONS):
        for record in records:
            archive[record.key.decode()] = core.parse(record.value)
    return archive


async def definitions_in_force(bootstrap: str, folder: Path | None) -> core.Definitions:
    """The folder's definitions (the shipped ones without a folder) beside all published bodies."""
    return _with_archive(await read_archive(bootstrap), folder)


async def publish_definitions(bootstrap: str, folder: Path | None) -> core.Definitions:
    """Publish what is not published yet, awaited; the definitions in force. Idempotent."""
    archive = await read_archive(bootstrap)
    definitions = _with_archive(archive, folder)
    missing = {v: body for v, body in definitions.bodies.items() if v not in archive}
    if missing:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for version, body in missing.items():
                await producer.send_and_wait(DEFINITIONS, core.canonical(body), key=version.encode())
        finally:
            await producer.stop()
    return definitions


def _with_archive(archive: Archive, folder: Path | None) -> core.Definitions:
    return shipped(archive) if folder is None else load(folder, archive)
