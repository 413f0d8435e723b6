"""Takes measurements of catalogued metrics. This one forgets them: it is for processes that nobody asks."""

from __future__ import annotations

from collections.abc import Callable

from processors.telemetry.metric import Counter, Gauge, Histogram


class Meters:
    """The port of all measuring code. May be called from any thread.

    `labels` name every label of the metric but `role`. A metric that is not in the catalogue or not of this
    role, and a label outside its set, are bugs: they raise ValueError where anything is measured at all.
    """

    def add(self, metric: Counter, amount: float = 1, **labels: str) -> None:
        """Count `amount` more."""

    def set(self, metric: Gauge, value: float, **labels: str) -> None:
        """What it is now."""

    def clear(self, metric: Gauge) -> None:
        """Nobody knows what it is now: all its series are gone until the next `set`."""

    def ask(self, metric: Gauge, value: Callable[[], float], **labels: str) -> None:
        """Have `value` called, from any thread, whenever somebody looks."""

    def observe(self, metric: Histogram, value: float, **labels: str) -> None:
        """Note one value, in the unit of the metric's name."""


FORGETFUL = Meters()
