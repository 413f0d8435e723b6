"""Everything that one worker tells about itself, put together."""

from __future__ import annotations

from functools import partial

from connectors.errors import Misconfigured
from processors.lane.probe import UNMEASURED, Probe
from processors.settings import Settings
from processors.telemetry import catalogue as c
from processors.telemetry.endpoint import Endpoint
from processors.telemetry.exposition import Exposition
from processors.telemetry.health import REASONS, Health, Reason
from processors.telemetry.lane_meter import LaneMeter
from processors.telemetry.meters import FORGETFUL, Meters


class Telemetry:
    """What a role measures with: `meters` for agents, `probe` for the lane, `health` for who knows more.

    Measures, and answers over HTTP from now on, only where OPTIN_METRICS_PORT is set: else all of it is free.
    """

    def __init__(self, role: str, settings: Settings) -> None:
        """Raises `Misconfigured` for a port that can't be had."""
        self.health = Health()
        self.meters: Meters = FORGETFUL
        self.probe: Probe = UNMEASURED
        if not settings.metrics_port:
            return
        if role not in c.ROLES:
            raise Misconfigured(f"{role} has no metrics: add it to ROLES of the catalogue")
        exposition = Exposition(role, c.CATALOGUE)
        self.meters, self.probe = exposition, LaneMeter(exposition, self.health)
        self._show_health(exposition)
        Endpoint(settings.metrics_host, settings.metrics_port, role, self.health, exposition.text)

    def _show_health(self, meters: Meters) -> None:
        health = self.health
        meters.ask(c.READY, lambda: float(not health.reasons()))
        meters.ask(c.LOOP_SILENT, health.silent_s)
        for reason in REASONS:
            meters.ask(c.UNREADY, partial(_holds, health, reason), reason=reason)


def _holds(health: Health, reason: Reason) -> float:
    return float(reason in health.reasons())
