"""Ends a process over state that it can't read, and names the record: topic, partition and offset."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final, NoReturn

from processors.lane.changelog import read_back

if TYPE_CHECKING:
    from processors.lane.lane import Lane
    from processors.lane.table import UnreadableState

log = logging.getLogger(__name__)

EXIT_UNREADABLE_STATE: Final = 78
"""Exit code of a process that found state which it can't read: a newer binary's, or nobody's (EX_CONFIG)."""

SEARCH_S_MAX: Final = 60.0


async def end_unreadable(lane: Lane, error: UnreadableState) -> NoReturn:
    """Say where the record stands and end. Nothing was written: another start would end the same way."""
    log.critical("lane %s: %s%s", lane.name, error, await _where(lane, error))
    logging.shutdown()
    os._exit(EXIT_UNREADABLE_STATE)


async def _where(lane: Lane, error: UnreadableState) -> str:
    if error.partition is None:
        return ""
    topic, partition, offset = lane.table.changelog, error.partition, error.offset
    if offset is None:
        try:
            async with asyncio.timeout(SEARCH_S_MAX):
                offset = await _last_offset(lane.bootstrap, topic, partition, error.key)
        except Exception as failure:  # noqa: BLE001 - the process ends anyway, with what is known
            log.warning("the record's offset could not be looked up: %s", type(failure).__name__)
            return ""
    if offset is None:
        return ""
    return (
        f"; it is the record at offset {offset} of {topic}/{partition}."
        " docs/how-to/mend-failed-steps.md says how to step over it"
    )


async def _last_offset(bootstrap: str, topic: str, partition: int, key: bytes | None) -> int | None:
    found: int | None = None

    def look(_: int, records: list[Any]) -> None:
        nonlocal found
        for record in records:
            if record.key == key:
                found = record.offset

    await read_back(bootstrap, topic, [partition], look)
    return found
