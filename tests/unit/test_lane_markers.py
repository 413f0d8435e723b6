"""A hanging transaction is committed if it is whole and shows no abort, else aborted, or left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import pytest

from processors.lane import markers
from processors.lane.markers import (
    NOTHING_OPEN,
    REMEMBERED_S,
    Fenced,
    Headers,
    Place,
    Producing,
    Sequences,
    Stamp,
    Unmarked,
    Unsettled,
)
from processors.lane.position import POSITION_KEY

LOG: Place = ("log", 3)
OUT: Place = ("out", 3)
OTHER: Place = ("other", 3)
US = 7
EPOCH = 4
STAMP = Stamp(US, EPOCH, {"out": 9})
EARLIER = Stamp(US, EPOCH, {"out": 8})


def producing(
    last: int, *, open_at: int = NOTHING_OPEN, epoch: int = EPOCH, producer: int = US, at_ms: int = 0
) -> Producing:
    """What a leader knows of a producer."""
    return Producing(producer, epoch, last, open_at, 0, at_ms)


def headers(stamp: Stamp | None) -> Headers | None:
    """Of a position record with this stamp; None: there is no record."""
    return None if stamp is None else markers.headers_of(POSITION_KEY, stamp)


class Kafka:
    """Leaders and changelogs as a test wants them."""

    def __init__(
        self,
        described: Mapping[Place, Sequence[Producing]],
        *,
        last_open: Headers | None = None,
        last_committed: Headers | None = None,
        now_ms: int = 0,
    ) -> None:
        self.described = {LOG: [], OUT: [], OTHER: [], **described}
        self.marked: dict[Place, tuple[int, bool]] = {}
        self.asked = 0
        self.asked_thrice = asyncio.Event()
        self._headers = last_open, last_committed
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """As given."""
        return self._now_ms

    async def describe(self, places: Iterable[Place]) -> dict[Place, Sequence[Producing]]:
        """As given."""
        self.asked += 1
        if self.asked == 3:
            self.asked_thrice.set()
        return {place: self.described[place] for place in places}

    async def mark(self, place: Place, producing: Producing, epoch: int, *, committed: bool) -> None:
        """Note it."""
        assert producing.open_at != NOTHING_OPEN
        self.marked[place] = epoch, committed

    async def last_open(self, place: Place, open_at: int) -> Headers | None:
        """As given."""
        assert (place, open_at >= 0) == (LOG, True)
        return self._headers[0]

    async def last_committed(self, place: Place) -> Headers | None:
        """As given."""
        assert place == LOG
        return self._headers[1]

    def settle(self) -> dict[Place, bool]:
        """Settle a partition number that was claimed at the next epoch."""
        return asyncio.run(markers.settle(self, self, LOG, ("out", "other"), US))


OPEN_LOG = producing(20, open_at=30)
OPEN_OUT = producing(9, open_at=12)
COMMITTED = (EPOCH, True)
ABORTED = (EPOCH + 1, False)


def test_nothing_hangs_nothing_is_read_or_marked() -> None:
    """One question settles a sound partition, whatever other lanes have open on its outputs."""
    kafka = Kafka({LOG: [producing(20)], OUT: [producing(9), producing(5, producer=99, open_at=3)]})

    assert kafka.settle() == {}
    assert (kafka.asked, kafka.marked) == (1, {})


@pytest.mark.parametrize(
    ("described", "last_open", "last_committed", "wanted"),
    [
        pytest.param(
            {LOG: [OPEN_LOG], OUT: [OPEN_OUT]},
            STAMP,
            EARLIER,
            {LOG: COMMITTED, OUT: COMMITTED},
            id="all hang",
        ),
        pytest.param(
            {LOG: [OPEN_LOG], OUT: [producing(9)]}, STAMP, EARLIER, {LOG: COMMITTED}, id="log hangs"
        ),
        pytest.param(
            {LOG: [producing(20)], OUT: [OPEN_OUT]}, None, STAMP, {OUT: COMMITTED}, id="output hangs"
        ),
        pytest.param(
            {LOG: [OPEN_LOG], OUT: [producing(-1, epoch=EPOCH + 1)]},
            STAMP,
            EARLIER,
            {LOG: ABORTED},
            id="aborted on the output",
        ),
        pytest.param(
            {LOG: [producing(-1, epoch=EPOCH + 1)], OUT: [OPEN_OUT]},
            None,
            EARLIER,
            {OUT: ABORTED},
            id="aborted on the log",
        ),
        pytest.param(
            {LOG: [OPEN_LOG], OUT: [producing(8)]}, STAMP, EARLIER, {LOG: ABORTED}, id="an output is missing"
        ),
        pytest.param({LOG: [OPEN_LOG]}, STAMP, EARLIER, {LOG: ABORTED}, id="its first output is missing"),
        pytest.param(
            {LOG: [OPEN_LOG], OUT: [OPEN_OUT]},
            None,
            EARLIER,
            {LOG: ABORTED, OUT: ABORTED},
            id="its position is missing",
        ),
        pytest.param(
            {LOG: [producing(20)], OUT: [OPEN_OUT]},
            None,
            EARLIER,
            {OUT: ABORTED},
            id="the log has none of it",
        ),
        pytest.param({OUT: [OPEN_OUT]}, None, None, {OUT: ABORTED}, id="the first transaction of all"),
        pytest.param(
            {LOG: [producing(20)], OUT: [OPEN_OUT]},
            None,
            Stamp(US, EPOCH - 1, {"out": 9}),
            {OUT: ABORTED},
            id="the log's last is an older owner's",
        ),
        pytest.param(
            {LOG: [producing(20, open_at=30, producer=6)], OUT: [producing(9, open_at=12, producer=6)]},
            Stamp(6, EPOCH, {"out": 9}),
            None,
            {LOG: COMMITTED, OUT: COMMITTED},
            id="of an older producer id of the lane",
        ),
    ],
)
def test_what_hangs_gets_one_fate(
    described: dict[Place, list[Producing]],
    last_open: Stamp | None,
    last_committed: Stamp | None,
    wanted: dict[Place, tuple[int, bool]],
) -> None:
    """The one that the other partitions have seen or will see; markers tell it to whoever settles next."""
    kafka = Kafka(described, last_open=headers(last_open), last_committed=headers(last_committed))

    settled = kafka.settle()

    assert kafka.marked == wanted
    assert settled == {place: committed for place, (_, committed) in wanted.items()}


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        (Kafka({LOG: [OPEN_LOG]}, last_open=()), "older version.*log/3 from offset 30"),
        (Kafka({OUT: [OPEN_OUT]}, last_committed=()), "older version.*out/3 from offset 12"),
        (
            Kafka({LOG: [OPEN_LOG], OUT: [producing(9, epoch=EPOCH - 1, open_at=12)]}),
            "several owners hang: log/3 from offset 30, out/3 from offset 12",
        ),
        (
            Kafka({LOG: [OPEN_LOG]}, last_open=headers(STAMP), now_ms=int(REMEMBERED_S * 1000) + 1),
            "nobody remembers whether out has its part",
        ),
        (
            Kafka({LOG: [OPEN_LOG]}, last_open=headers(Stamp(US, EPOCH, {"gone": 1}))),
            "records on gone, which this version does not write to",
        ),
    ],
)
def test_what_nothing_shows_is_left_alone(kafka: Kafka, said: str) -> None:
    """Nothing is marked, and the place is named."""
    with pytest.raises(Unsettled, match=said):
        kafka.settle()
    assert kafka.marked == {}


def test_a_commit_is_waited_for_until_it_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaders are asked until nothing of ours is open; what others have open does not matter."""
    kafka = Kafka({LOG: [OPEN_LOG, producing(1, producer=99, open_at=2)], OUT: [producing(9)]})
    monkeypatch.setattr(markers, "MARKED_POLL_S", 0.0)

    async def course() -> None:
        waiting = asyncio.create_task(markers.marked(kafka, [LOG, OUT], US, EPOCH))
        await kafka.asked_thrice.wait()
        assert not waiting.done()
        kafka.described[LOG] = [producing(20), producing(1, producer=99, open_at=2)]
        await waiting

    asyncio.run(course())


@pytest.mark.parametrize(
    ("described", "error", "said"),
    [
        ({LOG: [OPEN_LOG], OUT: [producing(9)]}, Unmarked, "not marked it on log/3$"),
        ({LOG: [producing(20)]}, Unmarked, "not marked it on out/3$"),
        (
            {LOG: [producing(-1, epoch=EPOCH + 1)], OUT: [producing(9)]},
            Fenced,
            "log/3 knows of a later owner",
        ),
    ],
)
def test_a_commit_that_is_never_marked_is_none(
    described: dict[Place, list[Producing]],
    error: type[Exception],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process ends; nothing was done that follows from it."""
    monkeypatch.setattr(markers, "MARKED_S_MAX", 0.0)

    with pytest.raises(error, match=said):
        asyncio.run(markers.marked(Kafka(described), [LOG, OUT], US, EPOCH))


def test_a_stamp_counts_as_sequence_numbers_do() -> None:
    """From 0 on, topic by topic; a transaction that leaves an output out still says where that one is."""
    sequences = Sequences()

    assert sequences.stamp(US, EPOCH, {"out": 3}).last == {"out": 2}
    assert sequences.stamp(US, EPOCH, {"other": 1, "out": 0}).last == {"out": 2, "other": 0}
    assert sequences.stamp(US, EPOCH, {"out": 2}).last == {"out": 4, "other": 0}


def test_only_position_records_are_stamped() -> None:
    """Rows and outputs are written as they are."""
    assert markers.headers_of(b"row", STAMP) == markers.headers_of(None, STAMP) == []
    assert [name for name, _ in markers.headers_of(POSITION_KEY, STAMP)] == ["transaction"]
