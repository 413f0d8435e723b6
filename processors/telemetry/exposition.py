"""The catalogue in a registry of Prometheus' own library, for one role; nothing else knows that library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Final

import prometheus_client as prometheus
from prometheus_client.registry import CollectorRegistry

from processors.telemetry.meters import Meters
from processors.telemetry.metric import Counter, Gauge, Histogram, Metric

CONTENT_TYPE: Final = prometheus.CONTENT_TYPE_PLAIN_0_0_4

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Exposition(Meters):
    """The metrics of one role, and of this process (CPU, memory, files, garbage collection)."""

    def __init__(self, role: str, catalogue: Iterable[Metric]) -> None:
        self._role = role
        self._registry = CollectorRegistry()
        self._families: dict[Metric, Any] = {}
        self._series: dict[tuple[Any, ...], Any] = {}
        prometheus.ProcessCollector(registry=self._registry)
        prometheus.GCCollector(registry=self._registry)
        for metric in catalogue:
            if role in metric.roles:
                self._families[metric] = self._family(metric)
                if isinstance(metric, Counter) and metric.from_zero:
                    for values in product(*metric.labels.values()):
                        self._one(metric, dict(zip(metric.labels, values, strict=True)))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it (`CONTENT_TYPE`)."""
        return prometheus.generate_latest(self._registry)

    def add(self, metric: Counter, amount: float = 1, **labels: str) -> None:
        """See `Meters.add`."""
        self._one(metric, labels).inc(amount)

    def set(self, metric: Gauge, value: float, **labels: str) -> None:
        """See `Meters.set`."""
        self._one(metric, labels).set(value)

    def clear(self, metric: Gauge) -> None:
        """See `Meters.clear`."""
        self._families[metric].clear()
        self._series = {key: one for key, one in self._series.items() if key[0] is not metric}

    def ask(self, metric: Gauge, value: Callable[[], float], **labels: str) -> None:
        """See `Meters.ask`."""
        self._one(metric, labels).set_function(value)

    def observe(self, metric: Histogram, value: float, **labels: str) -> None:
        """See `Meters.observe`."""
        self._one(metric, labels).observe(value)

    def _family(self, metric: Metric) -> Any:
        names = ("role", *metric.labels)
        match metric:
            case Counter():
                return prometheus.Counter(metric.name, metric.meaning, names, registry=self._registry)
            case Gauge():
                return prometheus.Gauge(metric.name, metric.meaning, names, registry=self._registry)
            case Histogram():
                return prometheus.Histogram(
                    metric.name, metric.meaning, names, registry=self._registry, buckets=metric.buckets
                )
            case _:
                raise ValueError(f"{metric.name} is of no kind that can be measured")

    def _one(self, metric: Metric, labels: dict[str, str]) -> Any:
        key = (metric, *labels.items())
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = self._family_of(metric, labels).labels(role=self._role, **labels)
        return found

    def _family_of(self, metric: Metric, labels: dict[str, str]) -> Any:
        family = self._families.get(metric)
        if family is None:
            raise ValueError(f"{metric.name} is not in the catalogue, or not a metric of {self._role}")
        if labels.keys() != metric.labels.keys():
            raise ValueError(f"{metric.name} has the labels {list(metric.labels)}, not {list(labels)}")
        for label, value in labels.items():
            if value not in metric.labels[label]:
                raise ValueError(f"{value!r} is no {label} of {metric.name}: add it to the catalogue")
        return family
