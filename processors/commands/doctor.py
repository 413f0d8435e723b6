"""`optin doctor`: look for what commonly goes wrong on a machine, and say what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

import connectors
import schemas
from connectors.errors import OptinError, Poison
from connectors.extras import require
from connectors.kafka import jars
from connectors.kafka.topics import list_topics
from connectors.loopback import free_port
from connectors.schema_registry.client import RegistryClient
from connectors.schema_registry.writer_schemas import ID_MAX
from processors import report
from processors.settings import known_names, read_settings
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV

OURS: Final = ("schemas", "ledger", "connectors", "processors")
FREE_BYTES_MIN: Final = 2 << 30
MEMORY_BYTES_MIN: Final = 2 << 30
"""Kafka, ClickHouse and three workers together take some 1.5 GB."""


class Problem(Exception):  # noqa: N818 - a finding, not a failure of ours
    """What is wrong, and what to do."""


def doctor() -> None:
    """Check this machine and the named servers; exit with 1 if something is wrong.

    Checks the installation, disk, memory, what the embedded stack needs, and, where OPTIN_KAFKA_BOOTSTRAP or
    OPTIN_CLICKHOUSE_URL name servers, whether they answer and hold our topics and tables. Changes nothing.
    """
    problems = 0
    rows = []
    for name, check in CHECKS.items():
        try:
            rows.append(("ok", name, check()))
        except (Problem, OptinError) as problem:
            problems += 1
            rows.append(("PROBLEM", name, str(problem)))
    report.out.print(report.table("", ("", "check", "found"), rows))
    if problems:
        raise typer.Exit(1)


def _python() -> str:
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _names() -> str:
    home = Path(connectors.__file__).parents[1]
    for name in OURS:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).parents[1] if spec and spec.origin else None
        if found != home:
            raise Problem(f"`import {name}` finds {found}, not {home}: remove the other package or rename it")
    owners = importlib.metadata.packages_distributions()
    strangers = {owner for name in OURS for owner in owners.get(name, ())} - {"optin-ledger"}
    if strangers:
        raise Problem(f"{', '.join(sorted(strangers))} install packages of our names: uninstall them")
    return f"{', '.join(OURS)} are ours, from {home}"


def _settings() -> str:
    read_settings()
    count = sum(name in os.environ for name in known_names())
    return f"{count} set in the environment, the rest are defaults"


def _disk() -> str:
    folder = read_settings().data.resolve()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES_MIN:
        raise Problem(f"{free >> 20} MB free for {folder}; make room for at least {FREE_BYTES_MIN >> 20} MB")
    return f"{free >> 30} GB free for {folder}"


def _memory() -> str:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total < MEMORY_BYTES_MIN:
        raise Problem(f"{total >> 20} MB of memory; the embedded stack needs {MEMORY_BYTES_MIN >> 20} MB")
    return f"{total >> 20} MB, {available >> 20} MB of it unused"


def _zones() -> str:
    count = len(zoneinfo.available_timezones())
    if not count:
        raise Problem("no time zones: install the package tzdata")
    return f"{count} time zones, tzdata {importlib.metadata.version('tzdata')}"


def _embedded() -> str:
    if os.environ.get(KAFKA_ENV) and os.environ.get(CLICKHOUSE_ENV):
        return "not needed: both servers are named"
    require("local")
    free_port()
    cached = jars.resolved(jars.cache_folder()) is not None
    kafka = "is there" if cached else "will be fetched at the first start (45 MB from Maven Central)"
    return f"the JRE and the ClickHouse engine are there; Kafka {jars.VERSION} {kafka}"


def _kafka() -> str:
    if not os.environ.get(KAFKA_ENV):
        return f"not named ({KAFKA_ENV} is unset): the embedded one is used"
    found = {
        state.name: state.partitions for state in asyncio.run(list_topics(read_settings().kafka_bootstrap))
    }
    missing = [topic.name for topic in schemas.topics() if topic.name not in found]
    if missing:
        raise Problem(f"it answers, but lacks {', '.join(missing)}: run `optin topics apply`")
    return (
        f"it answers and has our {len(found)} topics (a broker does not say its version: one of 4.3.0 to"
        " 4.4.0 may forget commits when it restarts, docs/how-to/end-a-hanging-transaction.md)"
    )


def _clickhouse() -> str:
    from connectors.clickhouse.query import ask

    if not os.environ.get(CLICKHOUSE_ENV):
        return f"not named ({CLICKHOUSE_ENV} is unset): the embedded one is used"
    ((version, last),) = ask(
        os.environ[CLICKHOUSE_ENV], "SELECT version(), max(number) FROM schema_migrations"
    ).rows
    return f"ClickHouse {version}, tables at migration {last}"


def _schema_registry() -> str:
    url = read_settings().schema_registry_url
    if url is None:
        return "not named (OPTIN_SCHEMA_REGISTRY_URL is unset): its framing is refused"
    client = RegistryClient(url.get_secret_value())
    with suppress(Poison):  # that it has no such schema is an answer
        asyncio.run(client.schema_text(ID_MAX))
    return f"{client.address} answers"


CHECKS: Final[dict[str, Callable[[], str]]] = {
    "Python": _python,
    "import names": _names,
    "settings": _settings,
    "disk": _disk,
    "memory": _memory,
    "time zones": _zones,
    "embedded servers": _embedded,
    "Kafka": _kafka,
    "ClickHouse": _clickhouse,
    "schema registry": _schema_registry,
}
"""Each returns what it found, or raises `Problem` or one of our errors."""
