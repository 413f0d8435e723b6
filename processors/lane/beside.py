"""What goes on beside a partition's folds: effects on their way, whose results queue for the lane."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Hashable
from typing import Any, Final

IN_FLIGHT_MAX: Final = 500
"""While so many effects of one kind are on their way, their partition begins no others."""


class Beside:
    """The work beside one partition number. `wake` is set whenever there is something for its lane."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._in_flight: Counter[Hashable] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[Any] = []
        self._failure: Exception | None = None

    @property
    def full(self) -> bool:
        """Whether nothing may be begun."""
        return any(count >= IN_FLIGHT_MAX for count in self._in_flight.values())

    @property
    def busy(self) -> bool:
        """Whether there is, or will be, something to take."""
        return bool(self._in_flight or self._results or self._failure)

    def begin(self, kind: Hashable, count: int, work: Coroutine[Any, Any, list[Any]]) -> None:
        """Have `work` go on beside, for `count` effects of a kind."""
        self._in_flight[kind] += count
        task = asyncio.create_task(self._through(kind, count, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take(self) -> list[Any]:
        """All results so far; raises what a work raised."""
        if self._failure is not None:
            raise self._failure
        results, self._results = self._results, []
        return results

    async def _through(self, kind: Hashable, count: int, work: Coroutine[Any, Any, list[Any]]) -> None:
        try:
            results = await work  # a statement of its own: `+=` would read the list before it waits
            self._results += results
        except Exception as error:  # noqa: BLE001 - the lane ends the process for it
            self._failure = error
        self._in_flight[kind] -= count
        if not self._in_flight[kind]:
            del self._in_flight[kind]
        self._wake.set()
