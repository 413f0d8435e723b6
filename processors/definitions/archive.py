"""Published definitions: bodies by content hash on `optin.definitions`, so that decisions stay derivable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer

from connectors.kafka.read import read_topic
from ledger import definitions as core
from ledger.policy import Policy
from processors.definitions.loader import examine, load, shipped, shipped_folder
from processors.readable import Strangers
from processors.topic_names import DEFINITIONS

UNPUBLISHED_MAX: Final = 10_000
"""So many versions that nobody published are remembered."""


class Archive:
    """All bodies that this process has read so far, by version."""

    def __init__(self, bootstrap: str, bodies: Mapping[str, core.Body]) -> None:
        self._bootstrap = bootstrap
        self.bodies: dict[str, core.Body] = dict(bodies)
        self._read_for: int | None = None
        self._reading = asyncio.Lock()
        self._unpublished: set[str] = set()

    async def read_for(self, generation: int) -> None:
        """Read the topic again, once for each assignment of partitions. Raises `Transient`.

        What a partition brings may cite what was published after we began, by a worker with another folder.
        """
        async with self._reading:
            if self._read_for != generation:
                self.bodies.update(await read_archive(self._bootstrap))
                self._unpublished.clear()
                self._read_for = generation

    async def look_for(self, versions: Iterable[str]) -> None:
        """Read the topic once more if one of these bodies is not here. Raises `Transient`.

        Who cites a body publishes it first: what is not here then was never published. That is remembered,
        so that a flood of records that cite nothing is not a flood of reads.
        """
        missing = {version for version in versions if version not in self.bodies}
        if missing <= self._unpublished:
            return
        self.bodies.update(await read_archive(self._bootstrap))
        self._unpublished |= missing - self.bodies.keys()
        if len(self._unpublished) > UNPUBLISHED_MAX:
            self._unpublished.clear()

    def policy(self, version: str) -> Policy | None:
        """The policy of a version, if it is known."""
        body = self.bodies.get(version)
        return body if isinstance(body, Policy) else None


async def read_archive(bootstrap: str) -> dict[str, core.Body]:
    """All bodies that were ever published, by their version.

    A record whose key is not the hash of its value is nobody's body and is stepped over: versions vouch for
    content. It stays on the topic, and the log names its place.
    """
    archive: dict[str, core.Body] = {}
    strangers = Strangers()
    async for records in read_topic(bootstrap, DEFINITIONS):
        for record in records:
            body = _body(record)
            if body is None:
                strangers.note(record)
            else:
                archive[record.key.decode()] = body
    strangers.tell()
    return archive


def _body(record: Any) -> core.Body | None:
    if not core.is_version(record.key, record.value):
        return None
    try:
        return core.parse(record.value)
    except msgspec.DecodeError:
        return None


async def definitions_in_force(bootstrap: str, folder: Path | None) -> core.Definitions:
    """The folder's definitions (the shipped ones without a folder) beside all published bodies."""
    return _with_archive(await read_archive(bootstrap), folder)


async def publish_definitions(bootstrap: str, folder: Path | None) -> core.Definitions:
    """Publish what is not published yet, awaited; the definitions of the folder. Idempotent.

    Raises `Misconfigured`, before anything is published, if something is wrong with the folder.
    """
    archive = await read_archive(bootstrap)
    definitions = _with_archive(archive, folder)
    campaigns = _campaigns(folder)
    bodies = {**definitions.bodies, **{core.version_of(body): body for body in campaigns}}
    missing = {version: body for version, body in bodies.items() if version not in archive}
    if missing:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for version, body in missing.items():
                await producer.send_and_wait(DEFINITIONS, core.canonical(body), key=version.encode())
        finally:
            await producer.stop()
    return definitions


def _campaigns(folder: Path | None) -> tuple[core.Campaign, ...]:
    if folder is not None:
        return examine(folder).bodies
    with shipped_folder() as found:
        return examine(found).bodies


def _with_archive(archive: Mapping[str, core.Body], folder: Path | None) -> core.Definitions:
    return shipped(archive) if folder is None else load(folder, archive)
