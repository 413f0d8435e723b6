"""Hears what the lane does: measures it, and keeps the worker's health up to date."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from processors.lane.probe import Look, Probe
from processors.telemetry import catalogue as c
from processors.telemetry.health import Health
from processors.telemetry.meters import Meters


class LaneMeter(Probe):
    """The probe of one worker."""

    def __init__(self, meters: Meters, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that only rise."""
        self._meters = meters
        self._health = health
        self._clock = clock
        self._paused_s: float | None = None
        self._lagging: set[str] = set()

    def beat(self) -> None:
        """See `Probe.beat`."""
        self._health.beat()

    def revoked(self) -> None:
        """See `Probe.revoked`."""
        self._health.enter("rebalancing")
        if self._paused_s is None:
            self._paused_s = self._clock()

    def recovering(self) -> None:
        """See `Probe.recovering`."""
        self._health.enter("recovering")

    def settled(self, lane: str, fate: str) -> None:
        """See `Probe.settled`."""
        self._meters.add(c.SETTLED, lane=lane, fate=fate)

    def failed(self, lane: str, step: str) -> None:
        """See `Probe.failed`."""
        self._meters.add(c.FAILED_STEPS, lane=lane, step=step)

    def unsettled(self, lane: str) -> None:
        """See `Probe.unsettled`."""
        self._meters.set(c.UNSETTLED, 1, lane=lane)

    def recovered(self, lane: str, records: int, claim_s: float, read_s: float) -> None:
        """See `Probe.recovered`."""
        self._meters.observe(c.CLAIM, claim_s, lane=lane)
        self._meters.observe(c.RECOVERY, read_s, lane=lane)
        self._meters.add(c.RECOVERED, records, lane=lane)

    def ready(self) -> None:
        """See `Probe.ready`."""
        self._health.enter("ready")
        self._meters.add(c.REBALANCES)
        if self._paused_s is not None:
            self._meters.observe(c.REBALANCE_PAUSE, self._clock() - self._paused_s)
            self._paused_s = None

    def folded(self, lane: str, chunks: Sequence[int], seconds: float) -> None:
        """See `Probe.folded`."""
        for records in chunks:
            self._meters.observe(c.CHUNK, records, lane=lane)
        self._meters.observe(c.FOLD, seconds, lane=lane)

    def committed(self, lane: str, records: int, seconds: float) -> None:
        """See `Probe.committed`."""
        self._meters.add(c.FOLDED, records, lane=lane)
        self._meters.observe(c.TRANSACTION, seconds, lane=lane)

    def looked(self, look: Look) -> None:
        """See `Probe.looked`."""
        self._health.broker(silent=False, coordinator_known=look.coordinator_known)
        self._meters.set(c.SINCE_PROGRESS, round(look.idle_s, 3))
        lags: defaultdict[str, list[int]] = defaultdict(list)
        for (topic, _), lag in look.lag.items():
            lags[topic].append(lag)
        if lags.keys() != self._lagging:
            self._forget_lag()  # of topics whose last partition went elsewhere
            self._lagging = set(lags)
        for topic, of_topic in lags.items():
            self._meters.set(c.LAG, sum(of_topic), topic=topic)
            self._meters.set(c.LAG_MAX, max(of_topic), topic=topic)
        for lane, rows in look.rows.items():
            self._meters.set(c.ROWS, rows, lane=lane)
        for lane, timers in look.timers.items():
            self._meters.set(c.TIMERS, timers, lane=lane)

    def broker_silent(self) -> None:
        """See `Probe.broker_silent`."""
        self._health.broker(silent=True)
        self._meters.set(c.SINCE_PROGRESS, 0)
        self._forget_lag()

    def _forget_lag(self) -> None:
        self._lagging = set()
        self._meters.clear(c.LAG)
        self._meters.clear(c.LAG_MAX)
