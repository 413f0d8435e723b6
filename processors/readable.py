"""Facts of topics that only this system writes; what else stands there is stepped over, and its place said.

Nothing on such a topic may end a command or a role: anybody who can write to the broker could put it there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

from connectors import codec
from connectors.errors import Poison
from ledger.facts import Fact

log = logging.getLogger(__name__)

PLACES_SAID_MAX: Final = 3


class Strangers:
    """Records that are nothing of ours: the first few are named, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._places: list[str] = []

    def note(self, record: Any) -> None:
        """Count one."""
        self.count += 1
        if len(self._places) < PLACES_SAID_MAX:
            self._places.append(f"{record.topic}/{record.partition} offset {record.offset}")

    def tell(self) -> None:
        """Log what was noted, in one line, and begin anew; nothing if there was nothing."""
        if self.count:
            more = self.count - len(self._places)
            others = f" and {more:,} more" if more else ""
            log.warning("stepped over what nobody of ours wrote: %s%s", ", ".join(self._places), others)
        self.count, self._places = 0, []


def facts_of(records: Iterable[Any]) -> Iterator[tuple[Any, Fact]]:
    """(record, fact) of all records that hold a fact; what else there is, is logged in one line."""
    strangers = Strangers()
    for record in records:
        try:
            fact = codec.decode(record.value)
        except Poison:
            strangers.note(record)
            continue
        yield record, fact
    strangers.tell()
