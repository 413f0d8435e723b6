"""Kafka as far as the lane leans on it: partitions, transactions, fencing, and what a reader may see.

A record's `timestamp` is LogAppendTime in ms; `instant` is the same moment on the simulation's own clock (s).
A transaction's records lie in the log from when they were produced; its end is decided at one moment and
marked in each partition a little later, by a control record that takes an offset. A read_committed reader
sees nothing from the first record on whose transaction has no marker yet, and never what was aborted.
Nothing here knows of opt-in.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from tests.simulation.loop import VirtualLoop

MARKER_S_MAX: Final = 0.02
"""How long after the decision a partition's marker may be written."""
TRANSACTION_S_MAX: Final = 15.0
"""An open transaction whose producer says nothing more is aborted after this."""

Place = tuple[str, int]
"""(topic, partition)."""


class Fenced(Exception):  # noqa: N818 - named for what was met
    """A later claim was made for the producer's transactional id."""


@dataclasses.dataclass(slots=True)
class Ending:
    """A transaction: `state` is what was decided of it, `marked` where the marker is written."""

    state: str = "open"
    places: dict[Place, int] = dataclasses.field(default_factory=dict)
    """Where it wrote, with the offset of its first record there."""
    marked: set[Place] = dataclasses.field(default_factory=set)
    decided_at: float = 0.0

    def over(self) -> bool:
        """Decided, and marked everywhere."""
        return self.state != "open" and len(self.marked) == len(self.places)


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record, with aiokafka's names."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    instant: float
    ending: Ending | None = None
    timestamp_type: int = 1

    @property
    def committed(self) -> bool:
        """Written outside transactions, or in one that was committed."""
        return self.ending is None or self.ending.state == "committed"


class _Log:
    """One partition: records and None for control records."""

    def __init__(self) -> None:
        self.entries: list[Record | None] = []
        self.open: dict[int, Ending] = {}
        """First offset -> transaction without a marker here."""

    @property
    def stable(self) -> int:
        return min(self.open, default=len(self.entries))


class _Producer:
    """What the broker knows of a transactional id."""

    def __init__(self) -> None:
        self.epoch = -1
        self.ending: Ending | None = None


class Broker:
    """All partitions. Methods happen at once: latency is what callers put around them."""

    fencing = True
    """False plants a bug: a claim neither ends the old owner's transaction nor locks it out."""

    def __init__(self, loop: VirtualLoop, draw: random.Random, start_ms: int) -> None:
        self._loop = loop
        self._draw = draw
        self._start_ms = start_ms
        self._logs: defaultdict[Place, _Log] = defaultdict(_Log)
        self._producers: defaultdict[str, _Producer] = defaultdict(_Producer)
        self._watchers: dict[Place, list[Callable[[], None]]] = {}
        self.aborted = 0
        self.fenced = 0

    def now_ms(self) -> int:
        """The broker's clock."""
        return self._start_ms + int(self._loop.time() * 1000)

    # Outside transactions.

    def append(
        self,
        place: Place,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]] = (),
        ending: Ending | None = None,
    ) -> Record:
        """Append one record."""
        log = self._logs[place]
        record = Record(
            *place, len(log.entries), self.now_ms(), key, value, tuple(headers), self._loop.time(), ending
        )
        if ending is not None and place not in ending.places:
            ending.places[place] = record.offset
            log.open[record.offset] = ending
        log.entries.append(record)
        if ending is None:
            self._grown(place)
        return record

    # Transactions.

    def claim(self, transactional_id: str) -> int:
        """InitProducerId: end what the older owner left open, and lock it out. The new epoch."""
        producer = self._producers[transactional_id]
        producer.epoch += 1
        if self.fencing:
            if producer.ending is not None and producer.ending.state == "open":
                self.end(producer.ending, "aborted")
        else:
            producer.ending = None
        return producer.epoch

    def begun(self, transactional_id: str, epoch: int) -> bool:
        """Begin a transaction; False while the markers of the one before are not written."""
        producer = self._owned(transactional_id, epoch)
        if producer.ending is not None and not producer.ending.over():
            return False
        ending = producer.ending = Ending()
        self._loop.later(TRANSACTION_S_MAX, self._expire, producer, ending)
        return True

    def settled(self, transactional_id: str) -> bool:
        """Whether all markers of the id's last transaction are written."""
        ending = self._producers[transactional_id].ending
        return ending is None or ending.over()

    def produce(
        self,
        transactional_id: str,
        epoch: int,
        place: Place,
        items: Iterable[tuple[bytes | None, bytes | None]],
    ) -> None:
        """Append records of the open transaction. Raises `Fenced`."""
        ending = self._owned(transactional_id, epoch).ending
        if ending is None or ending.state != "open":
            raise Fenced(f"{transactional_id} has no transaction open")
        for key, value in items:
            self.append(place, key, value, ending=ending)

    def commit(self, transactional_id: str, epoch: int) -> None:
        """Decide to commit the open transaction. Raises `Fenced`."""
        ending = self._owned(transactional_id, epoch).ending
        if ending is None or ending.state != "open":
            raise Fenced(f"{transactional_id} has no transaction open")
        self.end(ending, "committed")

    def end(self, ending: Ending, state: str) -> None:
        """Decide a transaction; its markers follow."""
        ending.state = state
        ending.decided_at = self._loop.time()
        self.aborted += state == "aborted"
        for place in ending.places:
            self._loop.later(MARKER_S_MAX * self._draw.random(), self._mark, ending, place)

    def _owned(self, transactional_id: str, epoch: int) -> _Producer:
        producer = self._producers[transactional_id]
        if producer.epoch != epoch and self.fencing:
            self.fenced += 1
            raise Fenced(f"{transactional_id}: epoch {epoch}, owner {producer.epoch}")
        return producer

    def _expire(self, producer: _Producer, ending: Ending) -> None:
        if ending.state == "open":
            self.end(ending, "aborted")
            if producer.ending is ending:
                producer.epoch += 1  # the coordinator fences a producer whose transaction it aborted

    def _mark(self, ending: Ending, place: Place) -> None:
        log = self._logs[place]
        log.entries.append(None)
        del log.open[ending.places[place]]
        ending.marked.add(place)
        self._grown(place)

    # Reading.

    def end_offset(self, place: Place) -> int:
        """The high watermark."""
        return len(self._logs[place].entries)

    def stable_offset(self, place: Place) -> int:
        """Where a read_committed reader has to stop now."""
        return self._logs[place].stable

    def fetch(self, place: Place, offset: int, limit: int) -> tuple[list[Record], int]:
        """At most `limit` committed records from `offset` on, and where to read on: past what holds none."""
        log = self._logs[place]
        stable = log.stable
        found: list[Record] = []
        while offset < stable:
            entry = log.entries[offset]
            if entry is not None and entry.committed:
                if len(found) == limit:
                    break
                found.append(entry)
            offset += 1
        return found, offset

    def committed(self, topic: str) -> list[Record]:
        """Everything that a read_committed reader of the topic sees, partition by partition."""
        places = sorted(place for place in self._logs if place[0] == topic)
        return [
            entry
            for place in places
            for entry in self._logs[place].entries[: self._logs[place].stable]
            if entry is not None and entry.committed
        ]

    def last_offset(self, place: Place) -> int:
        """The offset after the last committed record."""
        entries = self._logs[place].entries
        return max((e.offset + 1 for e in entries if e is not None and e.committed), default=0)

    def watch(self, place: Place, grown: Callable[[], None]) -> None:
        """Call `grown` whenever there may be more to read."""
        self._watchers.setdefault(place, []).append(grown)

    def unwatch(self, place: Place, grown: Callable[[], None]) -> None:
        """The opposite of `watch`."""
        self._watchers[place].remove(grown)

    def _grown(self, place: Place) -> None:
        for grown in self._watchers.get(place, ()):
            grown()
