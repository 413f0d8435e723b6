"""A lane that goes by the wall clock does not go on with what a run by the event clock concluded."""

from __future__ import annotations

from typing import Any

import pytest

from processors.agents import subject_rows
from processors.lane.position import Position
from processors.lane.recovery import _refuse_bounded_run
from processors.lane.table import LaneTable, Partition, UnreadableState


class StubLane:
    """A lane's clock and table."""

    def __init__(self, *, by_events: bool, done: bool) -> None:
        self.by_events = by_events
        self.table = LaneTable("changelog", subject_rows.ROWS)
        self.table.partitions[3] = Partition()
        self.table.partitions[3].position = Position(done=done)


def refuse(*, by_events: bool, done: bool) -> None:
    """Ask the recovery of a lane that owns partition 3."""
    lane: Any = StubLane(by_events=by_events, done=done)
    _refuse_bounded_run(lane, {3})


def test_a_concluded_run_is_refused_by_the_wall_clock() -> None:
    """The place and the remedy are named."""
    with pytest.raises(
        UnreadableState, match=r"changelog/3 was written by a run by the event clock.*another"
    ):
        refuse(by_events=False, done=True)


@pytest.mark.parametrize(("by_events", "done"), [(True, True), (False, False)])
def test_other_state_is_taken(*, by_events: bool, done: bool) -> None:
    """A replay that is started again, and what the wall clock wrote itself."""
    refuse(by_events=by_events, done=done)
