"""Says whether a transaction is marked on its partitions, and decides one whose markers a broker forgot.

An acknowledged commit is a promise of markers. Brokers can break it: after a restart some take a partition
whose leader they don't know yet for a deleted one, and leave its marker out for good. The records there stay
open, hide everything behind them, and share the fate of whatever their producer ends there next. So a lane
begins no transaction before the last one is marked everywhere; then at most one can hang, the last one, and
a claim settles it from what the partitions themselves show, before anything is read or written:

- its position record is there (the changelog is part of each transaction, and takes it last), every output
  that the record's stamp names is there to its last record, and no partition shows that it was aborted (a
  marker of a later epoch): it is committed on every partition where it hangs;
- else it is aborted there. Its owner had not asked for a commit: it does so when all of it is acknowledged.

Both follow from what does not change any more, so that a settlement which is interrupted goes on the same
way under the next claim, and one that comes late (a frozen claimant's) says the same or is fenced.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from processors.lane.position import POSITION_KEY

NOTHING_OPEN: Final = -1
"""The open offset of a producer that has no transaction open on a partition."""

MARKED_POLL_S: Final = 0.002
MARKED_S_MAX: Final = 10.0
"""Markers that leaders answer to be missing for so long are not waited for: the next claim sees to them."""

REMEMBERED_S: Final = 12 * 3600.0
"""Leaders forget a producer that rests for a day (`producer.id.expiration.ms`); half of it is safe."""

STAMP_HEADER: Final = "transaction"
"""Header of position records."""

Place = tuple[str, int]
"""(topic, partition)."""
Headers = Sequence[tuple[str, bytes]]


@dataclasses.dataclass(frozen=True, slots=True)
class Producing:
    """What a partition's leader knows of one producer. `open_at`: where its open transaction begins there."""

    producer: int
    epoch: int
    last_sequence: int
    open_at: int
    coordinator_epoch: int
    last_ms: int


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """Which transaction a position record belongs to, and what of it must be on the output partitions.

    `last`: the sequence number of the last record on each output topic that its producer ever wrote to.
    """

    producer: int
    epoch: int
    last: dict[str, int]


class Unmarked(RuntimeError):  # noqa: N818 - named for what was met
    """A commit was acknowledged and its markers don't come. Ends the process; the next claim settles it."""


class Fenced(RuntimeError):  # noqa: N818 - named for what was met
    """A later claim was made for the partition number."""


class Unsettled(RuntimeError):  # noqa: N818 - named for what was met
    """A transaction hangs, and the partitions don't show what was decided of it.

    Operator action: look at the place that the message names, with kafka-transactions.sh.
    """


class Leaders(Protocol):
    """The leaders of partitions, asked and written to directly."""

    def now_ms(self) -> int:
        """The time, close enough to the leaders' to count hours."""

    async def describe(self, places: Iterable[Place]) -> Mapping[Place, Sequence[Producing]]:
        """All producers that the leaders remember. Waits while a leader does not answer."""

    async def mark(self, place: Place, producing: Producing, epoch: int, *, committed: bool) -> None:
        """Write a marker for what the producer has open on the partition. Raises `Fenced`, `Unsettled`."""


class Changelogs(Protocol):
    """Where position records are looked for."""

    async def last_open(self, place: Place, open_at: int) -> Headers | None:
        """The headers of the last position record from an offset to the end, whatever its transaction."""

    async def last_committed(self, place: Place) -> Headers | None:
        """The headers of the last position record that read_committed readers see."""


_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Stamp)


def headers_of(key: bytes | None, stamp: Stamp) -> list[tuple[str, bytes]]:
    """The headers that a record of a transaction is written with."""
    return [(STAMP_HEADER, _encoder.encode(stamp))] if key == POSITION_KEY else []


class Sequences:
    """Counts what one producer wrote to each output topic, as its sequence numbers do."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def stamp(self, producer: int, epoch: int, counts: Mapping[str, int]) -> Stamp:
        """The stamp of a transaction that appends so many records to each output topic."""
        for topic, count in counts.items():
            if count:
                self._last[topic] = self._last.get(topic, -1) + count
        return Stamp(producer, epoch, dict(self._last))


async def marked(leaders: Leaders, places: Sequence[Place], producer: int, epoch: int) -> None:
    """Wait until the producer has nothing open on these partitions. Raises `Unmarked`, `Fenced`."""
    deadline = None
    while True:
        described = await leaders.describe(places)
        open_on = []
        for place, producers in described.items():
            mine = next((one for one in producers if one.producer == producer), None)
            if mine is not None and mine.epoch > epoch:
                raise Fenced(f"{_name(place)} knows of a later owner")
            if mine is None or mine.open_at != NOTHING_OPEN:
                open_on.append(place)
        if not open_on:
            return
        now_s = asyncio.get_running_loop().time()
        deadline = deadline or now_s + MARKED_S_MAX
        if now_s > deadline:
            where = ", ".join(map(_name, open_on))
            raise Unmarked(
                f"the broker acknowledged a commit {MARKED_S_MAX:.0f} s ago and has not marked it on {where}"
            )
        await asyncio.sleep(MARKED_POLL_S)


async def settle(
    leaders: Leaders, changelogs: Changelogs, changelog: Place, outputs: Iterable[str], producer: int
) -> dict[Place, bool]:
    """End what hangs of a partition number that was just claimed; returns where, and whether as committed.

    Only after the claim: then the coordinator has done all it is going to do. Raises `Unsettled`, `Fenced`.
    """
    places = [changelog, *((topic, changelog[1]) for topic in outputs)]
    described = await leaders.describe(places)
    # Nobody but this lane ever writes to its changelog, by this producer id or, rarely, an older one.
    lane_s = {producer, *(one.producer for one in described[changelog])}
    hanging = [
        (place, one)
        for place, producers in described.items()
        for one in producers
        if one.producer in lane_s and one.open_at != NOTHING_OPEN
    ]
    if not hanging:
        return {}
    where = ", ".join(f"{_name(place)} from offset {one.open_at}" for place, one in hanging)
    transactions = {(one.producer, one.epoch) for _, one in hanging}
    if len(transactions) > 1:
        raise Unsettled(f"transactions of several owners hang: {where}")
    ((hung_producer, epoch),) = transactions
    opened = dict(hanging)
    committed = False
    if changelog in opened:
        stamp = _stamp(await changelogs.last_open(changelog, opened[changelog].open_at), where)
        rests_ms = leaders.now_ms() - min(one.last_ms for _, one in hanging)
        if stamp is not None and (stamp.producer, stamp.epoch) == (hung_producer, epoch):
            committed = _complete(stamp, described, rests_ms, where)
    else:
        stamp = _stamp(await changelogs.last_committed(changelog), where)
        committed = (
            stamp is not None
            and (stamp.producer, stamp.epoch) == (hung_producer, epoch)
            and all(stamp.last.get(topic) == one.last_sequence for (topic, _), one in hanging)
        )
    for place, one in hanging:
        # The epoch of a marker tells a commit, which its owner asked for, from an abort by those after it.
        await leaders.mark(place, one, epoch if committed else epoch + 1, committed=committed)
    return dict.fromkeys(opened, committed)


def _complete(
    stamp: Stamp, described: Mapping[Place, Sequence[Producing]], rests_ms: int, where: str
) -> bool:
    """Whether all that the stamp names is there, and nothing shows that it was aborted."""
    by_topic = {topic: producers for (topic, _), producers in described.items()}
    for topic, last in stamp.last.items():
        if topic not in by_topic:
            raise Unsettled(f"{where}; it has records on {topic}, which this version does not write to")
        one = next((p for p in by_topic[topic] if p.producer == stamp.producer), None)
        if one is None and rests_ms > REMEMBERED_S * 1000:
            raise Unsettled(f"{where}, for so long that nobody remembers whether {topic} has its part")
        if one is None or (one.epoch, one.last_sequence) != (stamp.epoch, last):
            return False
    return True


def _stamp(headers: Headers | None, where: str) -> Stamp | None:
    """The stamp in a position record's headers; None where there is no position."""
    if headers is None:
        return None
    raw: Any = dict(headers).get(STAMP_HEADER)
    if raw is None:
        raise Unsettled(f"a transaction of an older version of optin, which stamps none, hangs: {where}")
    return _decoder.decode(raw)


def _name(place: Place) -> str:
    return f"{place[0]}/{place[1]}"
