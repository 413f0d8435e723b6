"""Whether a worker lives, and whether it does its work: plain values that any thread may read.

Healthy means that a restart would not help: the event loop turns. Ready means that facts are being folded. A
worker that waits for Kafka is healthy and not ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, get_args

Reason = Literal[
    "starting",
    "rebalancing",
    "recovering",
    "broker_silent",
    "coordinator_unknown",
    "event_loop_blocked",
    "clickhouse_refuses",
    "stopping",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why a worker is not ready, all that there are."""

Stage = Literal["starting", "rebalancing", "recovering", "ready", "stopping"]

SILENT_S_MAX: Final = 30.0
"""A loop that did not turn for so long is blocked. Decoding a large table's rows takes some seconds."""
STARTING_S_MAX: Final = 180.0
"""How long a process may take until its loop turns: it reads definitions, and waits for Kafka, before."""


class Health:
    """Told by the event loop, asked by the endpoint's threads; each value is written whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that only rise."""
        self._clock = clock
        self._started_s = clock()
        self._beat_s: float | None = None
        self._stage: Stage = "starting"
        self._broker_silent = False
        self._coordinator_known = True
        self._conditions: list[tuple[Reason, Callable[[], bool]]] = []

    def beat(self) -> None:
        """The event loop turns."""
        self._beat_s = self._clock()

    def enter(self, stage: Stage) -> None:
        """What the worker does now. Nothing follows on `stopping`."""
        if self._stage != "stopping":
            self._stage = stage

    def broker(self, *, silent: bool, coordinator_known: bool = True) -> None:
        """What the last question to the broker gave."""
        self._broker_silent = silent
        self._coordinator_known = coordinator_known

    def unready_while(self, reason: Reason, holds: Callable[[], bool]) -> None:
        """Another reason; `holds` is called from any thread and must not raise."""
        self._conditions.append((reason, holds))

    def silent_s(self) -> float:
        """How long ago the event loop turned last; since the start of the process while it never did."""
        return self._clock() - (self._started_s if self._beat_s is None else self._beat_s)

    def healthy(self) -> bool:
        """Whether a restart would not help."""
        return self.silent_s() <= (STARTING_S_MAX if self._beat_s is None else SILENT_S_MAX)

    def reasons(self) -> tuple[Reason, ...]:
        """Why the worker is not ready; none: it is."""
        found: list[Reason] = [] if self._stage == "ready" else [self._stage]
        if self._broker_silent:
            found.append("broker_silent")
        elif not self._coordinator_known:
            found.append("coordinator_unknown")
        if not self.healthy():
            found.append("event_loop_blocked")
        return (*found, *(reason for reason, holds in self._conditions if holds()))
