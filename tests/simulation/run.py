"""Runs a scenario and says what was wrong: the judge's objections, and what no run may do."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.simulation.evidence import read_plainly
from tests.simulation.judge import judge
from tests.simulation.scenario import Scenario
from tests.simulation.world import World

COMPARED: Final = ("optin.decisions", "optin.dead-letters")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a run gave. `counts`: how much happened, to see that a run of many seeds meant something."""

    objections: list[str]
    counts: Counter[str]
    deaths: list[str]


def run(scenario: Scenario) -> Result:
    """Run a scenario once, or twice by the event clock: then without faults, which must give the same."""
    with quietly():
        return _run(scenario)


@contextmanager
def quietly() -> Iterator[None]:
    """Without log lines: what a dying worker says is told by `deaths`."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)


def _run(scenario: Scenario) -> Result:
    world = World(scenario)
    try:
        world.run()
        found = judge(world)
        if scenario.by_events and not found:
            found += _differences(world, scenario)
    except Exception as error:  # noqa: BLE001 - a simulation that can't end, or a topic that can't be judged
        found = [f"{type(error).__name__}: {error}"]
    finally:
        world.close()
    return Result(found, _counts(world), world.deaths)


def _differences(world: World, scenario: Scenario) -> list[str]:
    calm = World(dataclasses.replace(scenario, faults=(), workers=1, clocks_s=(0.0,), provider=(0.0,) * 4))
    try:
        calm.run()
        return [
            f"{topic} depends on faults or workers"
            for topic in COMPARED
            if _values(world, topic) != _values(calm, topic)
        ]
    finally:
        calm.close()


def _values(world: World, topic: str) -> list[Any]:
    return [(record.partition, record.key, record.value) for record in world.broker.committed(topic)]


def _is_passed_on(record: Any) -> bool:
    _, fields = read_plainly(record) or ("", {})
    return bool(fields.get("next_installation"))


def _counts(world: World) -> Counter[str]:
    counts = Counter(
        {
            "facts": len(world.scenario.publications),
            "hand-overs": len(world.hand_overs),
            "deaths": len(world.deaths),
            "transactions aborted": world.broker.aborted,
            "producers fenced": world.broker.fenced,
            "broker restarts": world.broker.restarts,
            "markers forgotten": world.broker.forgotten,
            "markers settled": world.broker.settled_by_hand,
            "rebalances": sum(group.rebalances for group in world.groups.values()),
            "by the event clock": world.scenario.by_events,
            "passed on": sum(map(_is_passed_on, world.broker.committed("optin.deliveries"))),
        }
    )
    for strikes in world.strikes.values():
        for fault, call in strikes.struck:
            counts[f"{fault.kind}"] += 1
            counts[f"at {call}"] += 1
    for publication in world.scenario.publications:
        for word in ("misplaced", "again", "poison", "held open", "clock"):
            counts[f"facts: {word}"] += word in publication.note
    return counts
