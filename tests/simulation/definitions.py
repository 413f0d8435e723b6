"""The policy and journeys of a simulation: a reminder of a cart, and a confirmation that is transactional."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ledger import definitions as d
from tests.simulation.scenario import Scenario
from tests.simulation.stories import TOPIC
from tests.support.given import DAY, journey, policy

CAPS: Final = {"rolling_day": 2, "rolling_week": 5}
QUIET: Final = d.QuietHours(start_minute=22 * 60, end_minute=8 * 60)
LATENESS_MS: Final = 10 * DAY
"""Longer than any clock is wrong: every cart begins a journey."""


def definitions_of(scenario: Scenario) -> d.Definitions:
    """What is in force in this scenario."""
    return _definitions(scenario.wait_s, scenario.quiet)


@lru_cache(64)
def _definitions(wait_s: float, quiet: bool) -> d.Definitions:
    rules = policy(
        caps=tuple(d.Cap(max_pushes=most, window=window) for window, most in CAPS.items()),
        quiet_hours=QUIET if quiet else None,
        zones_otherwise=("UTC",),
        topics_on=(TOPIC,),
        lateness_max_ms=LATENESS_MS,
    )
    wait_ms = int(wait_s * 1000)
    saved = journey(
        name="saved",
        trigger=d.Match(fact="ItemSaved", items="item"),
        removals=(),
        wait_ms=wait_ms // 2,
        push=d.Push(step="confirmation", category="transactional", topic="service", title="T", body="B"),
    )
    cart = journey(wait_ms=wait_ms, holdout=d.Holdout(salt="simulation", percent=5))
    return d.in_force(rules, (cart, saved), {})
