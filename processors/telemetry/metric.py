"""The kinds of metric, and what each has to say about itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

NAME: Final = re.compile(r"optin_[a-z][a-z0-9_]*")
SERIES_MAX: Final = 200
"""So many label combinations a metric may have: each costs memory in every process and in Prometheus."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One row of the catalogue.

    `labels`: each label with all values that it may take; besides, every metric carries `role`. `roles`:
    whose workers measure it. `rises`: what it says when it rises, and what to do then. Raises ValueError
    for a row that breaks a rule.
    """

    name: str
    meaning: str
    rises: str
    roles: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ValueError(f"{self.name}: {fault}")

    def series(self) -> int:
        """How many combinations of labels there are."""
        count = 1
        for values in self.labels.values():
            count *= len(values)
        return count


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counter(Metric):
    """Only rises. Its name ends in `_total`.

    `from_zero`: each series is there from the start of the process, because a first step out of nothing is
    never seen by a rule. Without, a series begins with its first count.
    """

    from_zero: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gauge(Metric):
    """Goes up and down."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram(Metric):
    """Counts observations up to each of `buckets`, which are in the unit of the name and rise."""

    buckets: tuple[float, ...]


def _fault(metric: Metric) -> str | None:
    if not NAME.fullmatch(metric.name):
        return "a metric is called optin_<lower_case_words>"
    if isinstance(metric, Counter) != metric.name.endswith("_total"):
        return "the name of a counter, and of nothing else, ends in _total"
    if not metric.roles or not metric.meaning or not metric.rises:
        return "say whose it is, what it means and what to do when it rises"
    if metric.series() > SERIES_MAX:
        return f"{metric.series()} combinations of labels, at most {SERIES_MAX}"
    if isinstance(metric, Histogram) and (
        not metric.buckets or list(metric.buckets) != sorted(set(metric.buckets))
    ):
        return "its buckets must rise"
    return None
