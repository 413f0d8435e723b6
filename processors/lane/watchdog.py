"""Ends a process that has work and does none. A supervisor restarts it; a stuck one helps nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any, Final, NoReturn

from mode import Service

from processors.lane.changelog import Watermarks

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
    async def _watch(self) -> None:
        progress: Any = None
        since = time.monotonic()
        while not self.should_stop:
            await self.sleep(INTERVAL_S)
            consumer = self._app.consumer
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await consumer._thread.check_coordinator()
                    lag = await self._lag(consumer)
            except TimeoutError:
                # The broker does not answer: that is not our stall, and a restart would not mend it.
                log.warning("the broker does not answer")
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

    def _progress(self, consumer: Any) -> Any:
        lanes = self._app.tables.lanes
        return (
            sum(lane.folded for lane in lanes),
            sum(lane.writer.transactions for lane in lanes),
            dict(consumer.following),
            self._app.consumer_generation_id,
            sum(len(p.rows) for lane in lanes for p in lane.table.partitions.values()),
        )

    async def _lag(self, consumer: Any) -> int:
        tps = [(tp.topic, tp.partition) for tp in consumer.assignment()]
        if not tps:
            return 0
        ends = await self._watermarks.ends(tps)
        return sum(max(0, end - consumer.reached(tp)) for tp, end in _by_tp(ends).items())

    def _end(self, reason: str) -> NoReturn:
        log.critical("ending this process: %s", reason)
        logging.shutdown()
        os._exit(EXIT_STALLED)


def _by_tp(ends: dict[tuple[str, int], int]) -> dict[Any, int]:
    from faust.types import TP

    return {TP(topic, partition): end for (topic, partition), end in ends.items()}
