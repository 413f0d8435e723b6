"""What is queued for one partition number, and what of it comes first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from faust.types import TP

from processors.lane.beside import Beside
from processors.lane.merge import Merge


class Runner:
    """The queue of one partition number, from its assignment until it is taken away."""

    def __init__(self) -> None:
        self.chunks: deque[Any] = deque()
        self.undone: deque[Any] = deque()
        self.wake = asyncio.Event()
        self.leading: dict[tuple[str, int], int] | None = None
        """Ends that must be folded before anything else; None: not asked for yet."""
        self.barrier: tuple[int, dict[tuple[str, int], int]] | None = None
        self.merge: Merge | None = None
        self.beside = Beside(self.wake)
        self.in_turn = False
        self.task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something of it runs, or waits to be concluded."""
        return self.in_turn or self.beside.busy

    def led(self, reached: Callable[[TP], int]) -> bool:
        """Whether all that leads is folded."""
        self.leading = {tp: end for tp, end in (self.leading or {}).items() if reached(TP(*tp)) < end}
        return not self.leading

    def take(self, most: int) -> list[Any]:
        """The next chunks: of topics that lead, as long as some of what they held is to come."""
        first = {topic for topic, _ in self.leading or ()}
        if not first:
            return [self.chunks.popleft() for _ in range(min(len(self.chunks), most))]
        taken: list[Any] = []
        left: deque[Any] = deque()
        for chunk in self.chunks:
            (taken if chunk.topic in first and len(taken) < most else left).append(chunk)
        self.chunks = left
        return taken
