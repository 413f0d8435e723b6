"""Kafka as far as the lane leans on it: partitions, transactions, fencing, and what a reader may see.

A record's `timestamp` is LogAppendTime in ms; `instant` is the same moment on the simulation's own clock (s).
A transaction's records lie in the log from when they were produced; its end is decided at one moment and
marked in each partition a little later, by a control record that takes an offset. A read_committed reader
sees nothing from the first record on whose transaction has no marker yet, and never what was aborted.
A restart may forget markers that were not written yet: the transaction counts as over, and its records on
that partition stay open until something else ends what their producer has open there.
Nothing here knows of opt-in.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from processors.lane.markers import NOTHING_OPEN, Producing
from tests.simulation.loop import VirtualLoop

MARKER_S_MAX: Final = 0.02
"""How long after the decision a partition's marker may be written."""
TRANSACTION_S_MAX: Final = 15.0
"""An open transaction whose producer says nothing more is aborted after this."""

FORGOTTEN: Final = 0.5
"""The chance of a marker that a restart finds unwritten to be left out for good."""

Place = tuple[str, int]
"""(topic, partition)."""
Headers = Iterable[tuple[str, bytes]]


class Fenced(Exception):  # noqa: N818 - named for what was met
    """A later claim was made for the producer's transactional id."""


@dataclasses.dataclass(slots=True, eq=False)
class Ending:
    """A transaction: `state` is what was decided of it, `marked` where the marker is written.

    `owner`: the transactional id that it belongs to; None: a producer's own, which is never forgotten.
    """

    state: str = "open"
    owner: str | None = None
    epoch: int = 0
    places: set[Place] = dataclasses.field(default_factory=set)
    """The partitions that it was registered for or has written to."""
    marked: set[Place] = dataclasses.field(default_factory=set)
    forgotten: set[Place] = dataclasses.field(default_factory=set)
    """Where a restart left the marker out."""
    decided_at: float = 0.0

    def over(self) -> bool:
        """Decided, and marked everywhere, as far as the coordinator knows."""
        return self.state != "open" and len(self.marked) + len(self.forgotten) == len(self.places)


@dataclasses.dataclass(slots=True, eq=False)
class Stretch:
    """What a producer has open on one partition; the next marker there gives all of it one `fate`."""

    first: int
    fate: str = "open"
    marked_at: float = float("inf")


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
    stretch: Stretch | None = None
    timestamp_type: int = 1

    @property
    def committed(self) -> bool:
        """Written outside transactions, or marked as committed."""
        return self.stretch is None or self.stretch.fate == "committed"


class _Log:
    """One partition: records and None for control records."""

    def __init__(self) -> None:
        self.entries: list[Record | None] = []
        self.open: dict[Hashable, Stretch] = {}
        """What has no marker here, by transactional id or by the producer's own transaction."""
        self.states: dict[str, tuple[int, int]] = {}
        """Transactional id -> (epoch, last sequence number) of what came last, markers included."""

    @property
    def stable(self) -> int:
        return min((stretch.first for stretch in self.open.values()), default=len(self.entries))


class _Producer:
    """What the coordinator knows of a transactional id."""

    def __init__(self, number: int) -> None:
        self.number = number
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
        self._producers: dict[str, _Producer] = {}
        self._watchers: dict[Place, list[Callable[[], None]]] = {}
        self._unmarked: set[tuple[Ending, Place]] = set()
        self._holds_markers = False
        self.down_until = 0.0
        """Until then nobody gets an answer."""
        self.restarts = 0
        self.forgotten = 0
        self.settled_by_hand = 0
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
        headers: Headers = (),
        ending: Ending | None = None,
    ) -> Record:
        """Append one record."""
        log, stretch = self._logs[place], None
        if ending is not None:
            ending.places.add(place)
            # What hangs there of an older transaction of the same producer goes on.
            stretch = log.open.setdefault(ending.owner or ending, Stretch(len(log.entries)))
            if ending.owner is not None:
                epoch, last = log.states.get(ending.owner, (-1, -1))
                log.states[ending.owner] = ending.epoch, (last if epoch == ending.epoch else -1) + 1
        at, now_s = len(log.entries), self._loop.time()
        record = Record(*place, at, self.now_ms(), key, value, tuple(headers), now_s, ending, stretch)
        log.entries.append(record)
        if ending is None:
            self._grown(place)
        return record

    # Transactions.

    def claim(self, transactional_id: str) -> tuple[int, int]:
        """InitProducerId: end what the older owner left open, and lock it out. (Producer id, new epoch)."""
        producer = self._producer(transactional_id)
        producer.epoch += 1
        if self.fencing:
            if producer.ending is not None and producer.ending.state == "open":
                self.end(producer.ending, "aborted")
        else:
            producer.ending = None
        return producer.number, producer.epoch

    def begun(self, transactional_id: str, epoch: int, places: Iterable[Place]) -> bool:
        """Begin a transaction on these partitions; False while the one before is not over."""
        producer = self._owned(transactional_id, epoch)
        if producer.ending is not None and not producer.ending.over():
            return False
        ending = producer.ending = Ending(owner=transactional_id, epoch=epoch, places=set(places))
        self._loop.later(TRANSACTION_S_MAX, self._expire, producer, ending)
        return True

    def settled(self, transactional_id: str) -> bool:
        """Whether the id's last transaction is over, as far as the coordinator knows."""
        ending = self._producer(transactional_id).ending
        return ending is None or ending.over()

    def produce(
        self,
        transactional_id: str,
        epoch: int,
        place: Place,
        items: Iterable[tuple[bytes | None, bytes | None, Headers]],
    ) -> None:
        """Append records of the open transaction. Raises `Fenced`."""
        ending = self._owned(transactional_id, epoch).ending
        if ending is None or ending.state != "open":
            raise Fenced(f"{transactional_id} has no transaction open")
        for key, value, headers in items:
            self.append(place, key, value, headers, ending=ending)

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
        for place in sorted(ending.places):
            self._unmarked.add((ending, place))
            self._loop.later(MARKER_S_MAX * self._draw.random(), self._mark, ending, place)

    # Restarts.

    def hold_markers(self) -> None:
        """Write no marker of a transactional id until the next restart."""
        self._holds_markers = True

    def restart(self, down_s: float) -> None:
        """Come back after `down_s`; any of the markers that are not written yet may never be."""
        self.restarts += 1
        self._holds_markers = False
        self.down_until = self._loop.time() + down_s
        for ending, place in sorted(self._unmarked, key=lambda one: (one[0].owner or "", one[1])):
            if ending.owner is None:
                continue
            if self._draw.random() < FORGOTTEN:
                self._unmarked.discard((ending, place))
                ending.forgotten.add(place)
                self.forgotten += 1
            else:
                self._loop.later(down_s + MARKER_S_MAX * self._draw.random(), self._mark, ending, place)

    # What a partition's leader knows, and what it can be asked to do.

    def describe(self, place: Place) -> list[Producing]:
        """DescribeProducers."""
        log = self._logs[place]
        found = []
        for owner, (epoch, last) in log.states.items():
            stretch = log.open.get(owner)
            opened = NOTHING_OPEN if stretch is None else stretch.first
            found.append(Producing(self._producer(owner).number, epoch, last, opened, 0, self.now_ms()))
        return found

    def mark(self, place: Place, number: int, epoch: int, *, committed: bool) -> None:
        """WriteTxnMarkers from outside. Raises `Fenced` where a later epoch was seen."""
        owner = next(name for name, one in self._producers.items() if one.number == number)
        if self._logs[place].states[owner][0] > epoch:
            raise Fenced(f"{owner}: a marker of epoch {epoch}")
        self.settled_by_hand += 1
        self._write_marker(place, owner, owner, epoch, "committed" if committed else "aborted")

    def _producer(self, transactional_id: str) -> _Producer:
        return self._producers.setdefault(transactional_id, _Producer(len(self._producers)))

    def _owned(self, transactional_id: str, epoch: int) -> _Producer:
        producer = self._producer(transactional_id)
        if producer.epoch != epoch and self.fencing:
            self.fenced += 1
            raise Fenced(f"{transactional_id}: epoch {epoch}, owner {producer.epoch}")
        return producer

    def _expire(self, producer: _Producer, ending: Ending) -> None:
        if ending.state == "open":
            if producer.ending is ending:
                producer.epoch += 1  # the coordinator fences a producer whose transaction it aborts
            self.end(ending, "aborted")

    def _mark(self, ending: Ending, place: Place) -> None:
        if (ending, place) not in self._unmarked:
            return
        if ending.owner is not None:
            if self._holds_markers:
                return
            if self._loop.time() < self.down_until:
                self._loop.later(self.down_until - self._loop.time(), self._mark, ending, place)
                return
        self._unmarked.discard((ending, place))
        ending.marked.add(place)
        epoch = ending.epoch
        if ending.owner is not None and ending.state == "aborted":
            epoch = max(epoch, self._producer(ending.owner).epoch)  # the one that ended it
        self._write_marker(place, ending.owner or ending, ending.owner, epoch, ending.state)

    def _write_marker(self, place: Place, key: Hashable, owner: str | None, epoch: int, fate: str) -> None:
        log = self._logs[place]
        log.entries.append(None)
        stretch = log.open.pop(key, None)
        if stretch is not None:
            stretch.fate, stretch.marked_at = fate, self._loop.time()
        if owner is not None:
            known, last = log.states.get(owner, (-1, -1))
            log.states[owner] = (epoch, last if known == epoch else -1)
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

    def tail(self, place: Place, offset: int) -> list[Record]:
        """What a read_uncommitted reader sees from `offset` on."""
        return [entry for entry in self._logs[place].entries[offset:] if entry is not None]

    def committed(self, topic: str) -> list[Record]:
        """Everything that a read_committed reader of the topic sees, partition by partition."""
        places = sorted(place for place in self._logs if place[0] == topic)
        return [
            entry
            for place in places
            for entry in self._logs[place].entries[: self._logs[place].stable]
            if entry is not None and entry.committed
        ]

    def unmarked(self) -> list[Place]:
        """Where something of a transactional id has no marker yet."""
        return [place for place, log in self._logs.items() if any(isinstance(key, str) for key in log.open)]

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
