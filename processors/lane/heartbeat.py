"""Tells the probe that the event loop turns, from the start of the app on; the watchdog begins later."""

from __future__ import annotations

from typing import Any, Final

from mode import Service

from processors.lane.probe import Probe

BEAT_S: Final = 1.0


class Heartbeat(Service):
    """Beats once in `BEAT_S` while the loop is not blocked."""

    def __init__(self, probe: Probe, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._probe = probe

    @Service.task
    async def _beat(self) -> None:
        while not self.should_stop:
            self._probe.beat()
            await self.sleep(BEAT_S)
