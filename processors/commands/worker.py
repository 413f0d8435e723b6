"""`optin worker ROLE`: run one worker of a role until it is told to stop."""

from __future__ import annotations

import gc
import logging
from typing import Annotated, Final

import typer

from connectors.errors import Misconfigured
from processors.logs import set_up

log = logging.getLogger(__name__)

LEVELS: Final = ("debug", "info", "warning", "error")

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A chunk makes thousands of records that live until its commit, and none is in a cycle."""


def worker(
    role: Annotated[str, typer.Argument(help="journeys, delivery or metrics.")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run one worker of a role in the foreground.

    Everything it needs comes from the environment (OPTIN_KAFKA_BOOTSTRAP, OPTIN_CLICKHOUSE_URL, ...;
    docs/reference/settings.md lists all). Workers of one role share its partitions; start as many as you
    like, up to the number of partitions. SIGTERM ends it cleanly; kill -9 loses nothing.
    """
    import faust

    from processors.settings import read_settings
    from processors.wiring import ROLES, build

    if role not in ROLES:
        raise Misconfigured(f"{role} is no role; the roles are {', '.join(ROLES)}")
    if log_level not in LEVELS:
        raise Misconfigured(f"--log-level is one of {', '.join(LEVELS)}, not {log_level}")
    set_up(log_level)
    app = build(role, read_settings())
    log.info("starting a worker of %s", role)
    _look_for_cycles_seldom()
    faust.Worker(
        app, loglevel=None, redirect_stdouts=False, quiet=True, override_logging=False
    ).execute_from_commandline()


def _look_for_cycles_seldom() -> None:
    """Keep Python's cycle collector from walking rows and modules again and again (docs/benchmarks.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
