"""What goes on beside a lane: each result is taken once, a failure is told of, and there is an end to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processors.lane import beside
from processors.lane.beside import Beside


async def work(results: list[Any], over: asyncio.Event) -> list[Any]:
    """Give the results once it is over."""
    await over.wait()
    return results


def test_each_result_is_taken_once() -> None:
    """Also what was taken while other work was still going on."""

    async def taken() -> list[list[Any]]:
        wake, first, second = asyncio.Event(), asyncio.Event(), asyncio.Event()
        going = Beside(wake)
        going.begin("a", 1, work([1], first))
        going.begin("b", 1, work([2], second))
        found = []
        for over in (first, second):
            over.set()
            await wake.wait()
            wake.clear()
            assert going.busy
            found.append(going.take())
        assert not going.busy
        return [*found, going.take()]

    assert asyncio.run(taken()) == [[1], [2], []]


def test_it_is_full_by_kind() -> None:
    """Many of different kinds may be on their way, of one kind only so many."""

    async def full() -> list[bool]:
        wake, over = asyncio.Event(), asyncio.Event()
        going = Beside(wake)
        found = [going.full]
        for kind in ("a", "b"):
            going.begin(kind, beside.IN_FLIGHT_MAX - 1, work([], over))
            found.append(going.full)
        going.begin("a", 1, work([], over))
        found.append(going.full)
        over.set()
        await wake.wait()
        await asyncio.sleep(0)
        return [*found, going.full, going.busy]

    assert asyncio.run(full()) == [False, False, False, True, False, False]


def test_what_a_work_raises_is_raised_to_the_lane() -> None:
    """It stays raised: the lane ends its process for it."""

    async def failing() -> list[Any]:
        raise ValueError("fenced")

    async def run() -> None:
        wake = asyncio.Event()
        going = Beside(wake)
        going.begin("a", 1, failing())
        await wake.wait()
        for _ in range(2):
            assert going.busy
            with pytest.raises(ValueError, match="fenced"):
                going.take()

    asyncio.run(run())
