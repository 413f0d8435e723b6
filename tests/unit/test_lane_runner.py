"""What comes first when a partition was taken over."""

from __future__ import annotations

from dataclasses import dataclass

from faust.types import TP

from processors.lane.runner import Runner


@dataclass(frozen=True)
class Chunk:
    """A chunk, as far as the queue looks at it. Chunks of equal content are different ones."""

    topic: str
    offset: int


def test_chunks_of_a_topic_that_leads_come_before_all_others_until_it_is_folded() -> None:
    """Others keep their places."""
    runner = Runner()
    runner.chunks.extend([Chunk("facts", 0), Chunk("told", 0), Chunk("facts", 1), Chunk("told", 1)])
    runner.leading = {("told", 3): 2}

    assert not runner.led(lambda tp: 1 if tp == TP("told", 3) else 0)
    assert runner.take(1) == [Chunk("told", 0)]
    assert runner.take(4) == [Chunk("told", 1)]
    assert runner.take(4) == []
    assert runner.led(lambda _: 2)
    assert runner.take(4) == [Chunk("facts", 0), Chunk("facts", 1)]


def test_without_anything_that_leads_chunks_come_as_they_are() -> None:
    """At most so many at a time."""
    runner = Runner()
    runner.chunks.extend([Chunk("facts", 0), Chunk("told", 0), Chunk("facts", 1)])

    assert runner.led(lambda _: 0)
    assert runner.take(2) == [Chunk("facts", 0), Chunk("told", 0)]
    assert runner.take(2) == [Chunk("facts", 1)]
