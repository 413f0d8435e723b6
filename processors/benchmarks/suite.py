"""The table of measurements, how a run goes through them, and the goals that its ratios are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.errors import Misconfigured
from processors.benchmarks import (
    campaign,
    contest,
    journeys,
    latency,
    machine,
    metrics,
    recovery,
    revocation,
    state,
    timers,
    watchers,
)
from processors.benchmarks.arena import Arena
from processors.benchmarks.sizes import Sizes

Figures = dict[str, Any]
Results = dict[str, Any]
"""Figures by the name of the measurement, as `optin bench --json` prints them."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured under a name: its meaning in words, and how; `gives` names the results of one call."""

    meaning: str
    run: Callable[[Arena, Sizes], Results]
    gives: tuple[str, ...]


def _stock(arena: Arena, sizes: Sizes) -> Results:
    tried = [contest.stock_faust(arena, sizes, name) for name in ("defaults", "tuned")]
    best, other = sorted(tried, key=lambda figures: -figures["events_s"])
    return {"stock_faust": {**best, "other": other}}


CONTEST: Final[dict[str, Measurement]] = {
    "consent": Measurement(
        "our `journeys` role over consent facts, one worker",
        lambda arena, sizes: {"consent": contest.consent(arena, sizes)},
        ("consent",),
    ),
    "stock_faust": Measurement(
        "stock Faust with a table, the same fold, its better one of two configurations",
        _stock,
        ("stock_faust",),
    ),
    "raw_c": Measurement(
        "a plain loop on librdkafka: the same decode, admission, fold, encode; batched, at least once",
        lambda arena, sizes: {"raw_c": contest.raw_c(arena, sizes)},
        ("raw_c",),
    ),
    "raw_c_unchecked": Measurement(
        "the plain loop without the ledger's admission of facts",
        lambda arena, sizes: {"raw_c_unchecked": contest.raw_c(arena, sizes, checked=False)},
        ("raw_c_unchecked",),
    ),
    "journeys": Measurement(
        "our `journeys` role over activity, all shipped journeys on, one worker",
        lambda arena, sizes: {"journeys": journeys.measure(arena, sizes)},
        ("journeys",),
    ),
}
"""Held in turn, `rounds` times; the median round of each counts."""

ALONE: Final[dict[str, Measurement]] = {
    "recovery": Measurement(
        "a whole worker: join, claim, read the changelog back, ready",
        lambda arena, sizes: {"recovery": recovery.measure(arena, sizes)},
        ("recovery",),
    ),
    "metrics": Measurement(
        "the `metrics` role into ClickHouse, and a raw columnar insert of the same columns",
        metrics.measure,
        ("metrics", "raw_insert"),
    ),
    "subjects_10k": Measurement(
        "the consent role with few people, once each has a row",
        lambda arena, sizes: {"subjects_10k": state.measure(arena, sizes, sizes.few_subjects)},
        ("subjects_10k",),
    ),
    "subjects_1m": Measurement(
        "the consent role with many people, once each has a row",
        lambda arena, sizes: {"subjects_1m": state.measure(arena, sizes, sizes.many_subjects)},
        ("subjects_1m",),
    ),
    "latency": Measurement(
        "one event at low load: acknowledged to readable row",
        lambda arena, sizes: {"latency": latency.measure(arena, sizes)},
        ("latency",),
    ),
    "timers": Measurement(
        "pending timers: bytes, arming, firing, rebuilding",
        lambda arena, sizes: {"timers": timers.measure(arena, sizes)},
        ("timers",),
    ),
    "revocation": Measurement(
        "revocations under load: acknowledged to durable in both roles, in quiet and during kills",
        lambda arena, sizes: {"revocation": revocation.measure(arena, sizes)},
        ("revocation",),
    ),
    "watchers": Measurement(
        "one item's lower price to all of its watchers, and how long other people's facts wait meanwhile",
        lambda arena, sizes: {"watchers": watchers.measure(arena, sizes)},
        ("watchers",),
    ),
    "campaign": Measurement(
        "a campaign over many subjects: a dry run, a launch with a pause in it, and one with a killed worker",
        lambda arena, sizes: {"campaign": campaign.measure(arena, sizes)},
        ("campaign",),
    ),
}
"""Held once each."""

MEASUREMENTS: Final = {**CONTEST, **ALONE}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure or a ratio of one run should be. `at_most`: smaller is better."""

    meaning: str
    goal: float
    value: Callable[[Results], float]
    at_most: bool = False

    def of(self, results: Results) -> float | None:
        """The value, or None if the run did not measure what it takes."""
        try:
            return self.value(results)
        except KeyError:
            return None

    def met(self, value: float) -> bool:
        """Whether a value is as good as the goal."""
        return value <= self.goal if self.at_most else value >= self.goal


GOALS: Final = (
    Goal(
        "consent role / stock Faust, events/s",
        15,
        lambda r: r["consent"]["events_s"] / r["stock_faust"]["events_s"],
    ),
    Goal(
        "consent role / plain loop, events per CPU second",
        0.8,
        lambda r: r["raw_c"]["cpu_s_per_million"] / r["consent"]["cpu_s_per_million"],
    ),
    Goal(
        "activity with all shipped journeys / consent role, events per CPU second",
        0.6,
        lambda r: r["consent"]["cpu_s_per_million"] / r["journeys"]["cpu_s_per_million"],
    ),
    Goal("consent role, events/s", 55_000, lambda r: r["consent"]["events_s"]),
    Goal(
        "consent role, CPU s per million events",
        18,
        lambda r: r["consent"]["cpu_s_per_million"],
        at_most=True,
    ),
    Goal(
        "many people / few people, events/s",
        0.65,
        lambda r: r["subjects_1m"]["events_s"] / r["subjects_10k"]["events_s"],
    ),
    Goal("recovery of a whole worker, records/s", 250_000, lambda r: r["recovery"]["records_s"]),
    Goal(
        "metrics role / raw columnar insert, rows/s",
        0.3,
        lambda r: r["metrics"]["rows_s"] / r["raw_insert"]["rows_s"],
    ),
)
"""Ratios decide; absolute figures hang on the machine and its load."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The measurements to make, in the order of the table; all without names. Raises Misconfigured."""
    given_by = {result: name for name, one in MEASUREMENTS.items() for result in one.gives}
    unknown = [name for name in names if name not in given_by]
    if unknown:
        known = ", ".join(given_by)
        raise Misconfigured(f"there is no measurement {', '.join(unknown)}; there are {known}")
    wanted = {given_by[name] for name in names} or set(MEASUREMENTS)
    return tuple(name for name in MEASUREMENTS if name in wanted)


def run(arena: Arena, sizes: Sizes, names: Sequence[str]) -> Results:
    """Measure what is named, one after the other. A wrong final state raises `Void`: no result."""
    results: Results = {}
    held: dict[str, list[Figures]] = {name: [] for name in names if name in CONTEST}
    for _ in range(sizes.rounds if held else 0):
        for name, rounds in held.items():
            rounds.append(CONTEST[name].run(arena, sizes)[name])
    for name, rounds in held.items():
        results[name] = median(rounds)
    for name in names:
        if name in ALONE:
            results.update(ALONE[name].run(arena, sizes))
    return results


def median(rounds: Sequence[Figures]) -> Figures:
    """The round with the median rate (the lower one of two), and the rates of all."""
    ordered = sorted(rounds, key=lambda figures: figures["events_s"])
    return {**ordered[(len(ordered) - 1) // 2], "rounds": [figures["events_s"] for figures in rounds]}


def circumstances(command: str) -> Results:
    """The machine, the commit and the command; to be asked for before the run, which brings load."""
    return {"machine": machine.describe(), "commit": machine.commit(), "command": command}
