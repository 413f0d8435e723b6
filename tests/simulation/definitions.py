"""The policy and journeys of a simulation: a reminder of a cart, and a confirmation that is transactional."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ledger import definitions as d
from ledger import journey as j
from ledger import policy as p
from tests.simulation.scenario import Scenario
from tests.simulation.stories import TOPIC
from tests.support.given import DAY, RECEIPT, journey, policy

CAPS: Final = {"rolling_day": 2, "rolling_week": 5}
QUIET: Final = p.QuietHours(start_minute=22 * 60, end_minute=8 * 60)
LATENESS_MS: Final = 10 * DAY
"""Longer than any clock is wrong: every cart begins a journey."""
TRANSACTIONAL_MS: Final = DAY


def definitions_of(scenario: Scenario) -> d.Definitions:
    """What is in force in this scenario."""
    return _definitions(scenario.wait_s, scenario.quiet, int(scenario.send_within_s * 1000))


@lru_cache(64)
def _definitions(wait_s: float, quiet: bool, within_ms: int) -> d.Definitions:
    rules = policy(
        caps=tuple(p.Cap(max_pushes=most, window=window) for window, most in CAPS.items()),
        quiet_hours=QUIET if quiet else None,
        zones_otherwise=("UTC",),
        topics_on=(TOPIC,),
        lateness_max_ms=LATENESS_MS,
        send_within_ms=within_ms,
        transactional_within_ms=max(within_ms, TRANSACTIONAL_MS),
    )
    wait_ms = int(wait_s * 1000)
    saved = journey(
        name="saved",
        triggers=(j.Match(fact="ItemSaved", items="item"),),
        exits=(),
        wait_ms=wait_ms // 2,
        said=RECEIPT,
    )
    cart = journey(wait_ms=wait_ms, holdout=j.Holdout(salt="simulation", percent=5))
    return d.in_force(rules, (cart, saved), {})
