"""Measures push providers: what they answer, how long it takes, and whether they are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from connectors.push.paced import Told
from connectors.push.port import LEASE_OVER, Outcome
from connectors.push.routes import Routes
from processors.telemetry import catalogue as c
from processors.telemetry.meters import Meters


def hearer(meters: Meters, provider: str) -> Told:
    """Counts the answers of a provider."""

    def told(outcomes: Sequence[Outcome], took_s: float) -> None:
        for answer, count in _answers(outcomes).items():
            meters.add(c.PROVIDER_ANSWERS, count, provider=provider, answer=answer)
        meters.observe(c.PROVIDER_ANSWER, took_s, provider=provider)

    return told


def probe_hearer(meters: Meters) -> Told:
    """Counts the answers to probes, which are no pushes."""

    def told(outcomes: Sequence[Outcome], _: float) -> None:
        for answer, count in _answers(outcomes).items():
            meters.add(c.PROBES, count, answer=answer)

    return told


def _answers(outcomes: Sequence[Outcome]) -> Counter[str]:
    """How often a provider said what; what it was not asked is left out."""
    return Counter(one.error_class or one.kind for one in outcomes if one is not LEASE_OVER)


def watch_pauses(meters: Meters, routes: Routes) -> None:
    """Tell whenever somebody looks for how long each provider is left alone."""
    for provider in c.PROVIDERS:
        meters.ask(c.PROVIDER_PAUSE, partial(routes.paused_s, provider), provider=provider)
