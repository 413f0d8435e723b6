"""Holds the registry's schemas that values name by their ids, and looks new ones up before values are read.

Reading is synchronous and on the hot path; a registry is neither. So whoever reads records awaits `prepare`
for them first; after that `resolve` answers from memory. An id never changes its meaning, so a schema is
asked for once. A refusal is believed for `REFUSED_S` and then asked for anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from connectors.codec import CONFLUENT_HEADER_BYTES, CONFLUENT_MARKER, Written
from connectors.errors import InvariantBroken, Poison, Transient
from connectors.schema_registry.foreign_schema import written_with
from schemas import FactSchema, by_fingerprint

log = logging.getLogger(__name__)

REFUSED_S: Final = 60.0
REFUSED_MAX: Final = 50_000
"""Refused ids that are remembered, the latest: several times what all chunks in hand can name."""
KNOWN_MAX: Final = 2_000
"""Schemas that are held, a few for each fact and version; one more is refused."""
LOOKING_S_MAX: Final = 15.0
"""After so long `prepare` returns, whatever is left, so that its caller can see whether it should go on."""
PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 5.0
SAID_EVERY_S: Final = 10.0
ID_MAX: Final = 2**31 - 1


class Registry(Protocol):
    """Where schemas are looked up."""

    async def schema_text(self, schema_id: int) -> str:
        """The Avro schema with this id. Raises `Poison` for good, `Transient` for now."""


class WriterSchemas:
    """The writer's schema of each header in Confluent framing (0 and the id, 4 bytes, big-endian)."""

    def __init__(self, registry: Registry, ours: Mapping[bytes, FactSchema] = by_fingerprint) -> None:
        """`ours`: every version of our facts by fingerprint."""
        self._registry = registry
        self._ours = ours
        self._known: dict[bytes, Written] = {}
        self._refused: dict[bytes, tuple[str, float]] = {}
        self._waiting = 0
        self._pause = PAUSE_S
        self._said = float("-inf")

    @property
    def waits(self) -> bool:
        """Whether somebody is waiting for the registry right now."""
        return self._waiting > 0

    def resolve(self, header: bytes) -> Written:
        """The schema that wrote values with this header; it must have been prepared.

        Poison `unknown_schema` when the registry has none for it that we could read with.
        """
        known = self._known.get(header)
        if known is not None:
            return known
        refused = self._refused.get(header)
        if refused is None:
            raise InvariantBroken(f"schema {_id(header)} was not looked up before its value was read")
        raise Poison("unknown_schema", refused[0])

    async def prepare(self, records: Iterable[Any]) -> bool:
        """Look up what reading these records takes; True when all is there.

        False when the registry does not answer, or not in time: call again. It paused already, and said in
        the log what waits. Costs a look at each value's first byte while nothing is new.
        """
        headers = self._unknown(records)
        if not headers:
            return True
        self._waiting += 1
        try:
            async with asyncio.timeout(LOOKING_S_MAX):
                await self._look_up(headers)
        except Transient as error:
            self._say(error, len(headers))
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, PAUSE_S_MAX)
            return False
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        if self._pause > PAUSE_S:
            log.info("the schema registry answers again")
        self._pause, self._said = PAUSE_S, float("-inf")
        return True

    async def look_up(self, records: Iterable[Any]) -> None:
        """Look up what reading these records takes, once. Raises `Transient`."""
        await self._look_up(self._unknown(records))

    def _unknown(self, records: Iterable[Any]) -> list[bytes]:
        headers = {
            value[:CONFLUENT_HEADER_BYTES]
            for record in records
            if (value := record.value)
            and value[0] == CONFLUENT_MARKER
            and len(value) >= CONFLUENT_HEADER_BYTES
        }
        if not headers:
            return []
        now = time.monotonic()
        return sorted(
            header
            for header in headers - self._known.keys()
            if header not in self._refused or self._refused[header][1] <= now
        )

    async def _look_up(self, headers: Iterable[bytes]) -> None:
        for header in headers:
            try:
                self._known[header] = await self._asked(_id(header))
            except Poison as poison:
                self._refused.pop(header, None)
                self._refused[header] = (poison.detail, time.monotonic() + REFUSED_S)
                if len(self._refused) > REFUSED_MAX:
                    del self._refused[next(iter(self._refused))]
            else:
                self._refused.pop(header, None)

    async def _asked(self, schema_id: int) -> Written:
        if schema_id > ID_MAX:
            raise Poison("unknown_schema", "no registry gives out an id like this")
        if len(self._known) >= KNOWN_MAX:
            raise Poison("unknown_schema", f"{KNOWN_MAX} schemas of the registry are in use already")
        return written_with(await self._registry.schema_text(schema_id), self._ours)

    def _say(self, error: Transient, ids: int) -> None:
        now = time.monotonic()
        if now - self._said >= SAID_EVERY_S:
            self._said = now
            log.warning(
                "records in registry framing wait for %d unknown schema ids, and all behind them on their"
                " partitions wait with them: %s",
                ids,
                error,
            )


def _id(header: bytes) -> int:
    return int.from_bytes(header[1:], "big")
