"""A sender that asks its provider no faster than it bears, and leaves it alone while it fails."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from connectors.push.pace import Pace
from connectors.push.port import LEASE_OVER, Outcome, Push, PushSender

log = logging.getLogger(__name__)

SET_MAX: Final = 64
"""Pushes that are handed over together: their answers are heard of together."""
WAIT_S: Final = 0.02

Told = Callable[[Sequence[Outcome], float], None]
"""Outcomes of pushes that were handed over together, and how long their answers took (s)."""


def unheard(outcomes: Sequence[Outcome], took_s: float) -> None:
    """Hear of nothing."""


class PacedSender:
    """Passes pushes on as `pace` allows; what it does not pass on was surely not taken. Raises nothing."""

    def __init__(self, sender: PushSender, pace: Pace, told: Told = unheard) -> None:
        """`told`: hears what came of pushes that were passed on."""
        self.pace = pace
        self._sender = sender
        self._told = told

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """See `PushSender.send`."""
        outcomes: list[Outcome] = [LEASE_OVER] * len(pushes)
        places = deque(range(len(pushes)))
        running: set[asyncio.Task[None]] = set()
        try:
            while places and (now_s := time.monotonic()) < until_s:
                if paused_s := self.pace.paused_s(now_s):
                    paused = Outcome("rejected", "transient", "paused", retry_after_s=paused_s)
                    while places:
                        outcomes[places.popleft()] = paused
                    break
                room = min(self.pace.room(now_s), len(places), SET_MAX)
                if room:
                    self.pace.started(room, now_s)
                    some = [places.popleft() for _ in range(room)]
                    task = asyncio.create_task(self._pass_on(pushes, some, outcomes, until_s))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    await asyncio.sleep(0)
                else:
                    await _a_moment(running)
            if running:
                await asyncio.gather(*running)
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            raise
        return outcomes

    async def _pass_on(
        self, pushes: Sequence[Push], places: list[int], outcomes: list[Outcome], until_s: float
    ) -> None:
        found: list[Outcome] = [Outcome("unknown", error="cancelled")] * len(places)
        began_s = time.monotonic()
        try:
            found = await self._sender.send([pushes[place] for place in places], until_s=until_s)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows what arrived
            name, provider = type(error).__name__, pushes[places[0]].provider
            log.warning("%d pushes to %s have no outcome: %s", len(places), provider, name)
            found = [Outcome("unknown", error=name)] * len(places)
        finally:
            now_s = time.monotonic()
            settled = [
                self.pace.ended(outcome, now_s, pushes[place].token)
                for place, outcome in zip(places, found, strict=True)
            ]
            for place, outcome in zip(places, settled, strict=True):
                outcomes[place] = outcome
            self._told(settled, now_s - began_s)


async def _a_moment(running: set[asyncio.Task[None]]) -> None:
    """Until one of them is through, or for a short while: others may be, and tokens come with time."""
    if running:
        await asyncio.wait(running, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(WAIT_S)
