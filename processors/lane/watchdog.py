"""Ends a process that has work and does none. A supervisor restarts it; a stuck one helps nobody.

Who watches must not need what is stuck. So a thread of the C library's, which needs neither the event loop
nor the interpreter's lock, ends a process whose loop does not turn: it writes where each thread stands to
stderr ("Timeout"), and exits with 1.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import time
from typing import Any, Final, NoReturn

from mode import Service

from processors.lane.changelog import Watermarks
from processors.lane.probe import Look

log = logging.getLogger(__name__)

EXIT_STALLED: Final = 70
INTERVAL_S: Final = 2.0
ANSWER_S_MAX: Final = 10.0


class Watchdog(Service):
    """Checks the group coordinator, and that lag comes with progress."""

    def __init__(self, app: Any, watermarks: Watermarks, stalled_s_max: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._watermarks = watermarks
        self._stalled_s_max = stalled_s_max

    @Service.task
    async def _prove_that_the_loop_turns(self) -> None:
        while not self.should_stop:
            faulthandler.dump_traceback_later(self._stalled_s_max + INTERVAL_S, exit=True)
            await self.sleep(INTERVAL_S)

    async def on_stop(self) -> None:
        """A process that stops has nothing to prove: its own shutdown is bounded."""
        faulthandler.cancel_dump_traceback_later()

    @Service.task
    async def _watch(self) -> None:
        progress: Any = None
        since = time.monotonic()
        while not self.should_stop:
            await self.sleep(INTERVAL_S)
            consumer = self._app.consumer
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    coordinator_known = await consumer._thread.check_coordinator()
                    lags = await self._lags(consumer)
                    lag = sum(lags.values())
            except TimeoutError:
                # The broker does not answer: that is not our stall, and a restart would not mend it.
                log.warning("the broker does not answer")
                self._app.lane_probe.broker_silent()
                since = time.monotonic()
                continue
            except Exception as error:  # noqa: BLE001 - whatever aiokafka parked there is fatal
                if self.should_stop or self._app.should_stop:
                    return
                self._end(f"the group coordinator failed: {error!r}")
            now = self._progress(consumer)
            # An agent that waits for another system works: what bounds its wait is that system's client.
            if self._app.lane_waits_outside() or now != progress or not (lag or self._app.rebalancing):
                progress, since = now, time.monotonic()
            elif time.monotonic() - since > self._stalled_s_max:
                self._end(f"lag {lag}, rebalancing {self._app.rebalancing}, and no progress")
            self._tell(lags, time.monotonic() - since, coordinator_known=coordinator_known)

    def _tell(self, lags: dict[tuple[str, int], int], idle_s: float, *, coordinator_known: bool) -> None:
        owned = {lane.name: lane.table.partitions.values() for lane in self._app.tables.lanes}
        rows = {name: sum(len(p.rows) for p in partitions) for name, partitions in owned.items()}
        timers = {name: sum(len(p.timers) for p in partitions) for name, partitions in owned.items()}
        self._app.lane_probe.looked(Look(lags, idle_s, coordinator_known, rows, timers))

    def _progress(self, consumer: Any) -> Any:
        lanes = self._app.tables.lanes
        return (
            sum(lane.folded for lane in lanes),
            sum(lane.writer.transactions for lane in lanes),
            dict(consumer.following),
            self._app.consumer_generation_id,
            sum(len(p.rows) for lane in lanes for p in lane.table.partitions.values()),
        )

    async def _lags(self, consumer: Any) -> dict[tuple[str, int], int]:
        owned = {(tp.topic, tp.partition): tp for tp in consumer.assignment()}
        ends = await self._watermarks.ends(owned) if owned else {}
        return {place: max(0, end - consumer.reached(owned[place])) for place, end in ends.items()}

    def _end(self, reason: str) -> NoReturn:
        log.critical("ending this process: %s", reason)
        logging.shutdown()
        os._exit(EXIT_STALLED)
