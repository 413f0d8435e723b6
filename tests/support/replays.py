"""Runs `optin replay` as users do, in a process of its own, and kills its workers on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from connectors.clickhouse.query import ask
from connectors.errors import OptinError
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers, read_state
from tests.support.load import ONE_PUSH
from tests.support.plain_reader import read
from tests.support.recompute import TAOBAO, Shop, recompute

RUN_S_MAX: Final = 1_200
SMALL_STEPS: Final = {
    "OPTIN_CHUNK_RECORDS": "100",
    "OPTIN_MERGE_RECORDS": "50",
    "OPTIN_METRICS_ROWS_MAX": "300",
    "OPTIN_METRICS_WAIT_S": "0.1",
}
"""Makes a replay slow enough for a kill to come in the middle, and many transactions to come upon."""


def replay(
    log: Path,
    data: Path,
    servers: Servers,
    *options: str,
    env: Mapping[str, str] | None = None,
    dataset: str = "taobao",
    shipped: bool = False,
) -> bytes:
    """What `optin replay DATASET LOG --summary json` prints on stdout; fails with its stderr.

    By the journey of docs/reference/journey-rule.md, or by all that are shipped.
    """
    command = [sys.executable, "-m", "processors.cli", "replay", dataset, str(log), "--data", str(data)]
    command += [] if shipped else ["--definitions", str(ONE_PUSH)]
    return printed([*command, "--summary", "json", *options], servers, env)


def demo(data: Path, servers: Servers, subjects: int) -> bytes:
    """What `optin demo` prints on stdout; fails with its stderr."""
    command = [sys.executable, "-m", "processors.cli", "demo", "--data", str(data)]
    return printed([*command, "--subjects", str(subjects)], servers)


def printed(command: Sequence[str], servers: Servers, env: Mapping[str, str] | None = None) -> bytes:
    """What a command prints on stdout; fails with its stderr."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment(servers), **(env or {})},
        capture_output=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def environment(servers: Servers) -> dict[str, str]:
    """What names the servers to a command."""
    return {KAFKA_ENV: servers.kafka_bootstrap, CLICKHOUSE_ENV: servers.clickhouse_url}


def expected(log: Path, amplify: int = 1, shop: Shop = TAOBAO) -> dict[str, Any]:
    """The summary that a replay of the log must print, computed by other means."""
    other = recompute(log, 3600, amplify, shop=shop)
    journeys = {name: other["journeys"][name] for name in ("started", "converted", "candidates", "open")}
    decisions = {name: other["decisions"][name] for name in ("send", "hold_out", "withhold")}
    return {
        "facts": sum(other["facts"].values()),
        "journeys": {"cart_abandonment": journeys},
        "decisions": decisions,
        "deliveries": other["deliveries"],
    }


def as_printed(summary: dict[str, Any]) -> bytes:
    """The bytes of a summary on stdout."""
    return json.dumps(summary).encode() + b"\n"


class Killer(threading.Thread):
    """Kills a worker (SIGKILL) once, at the first moment at which `ripe` is true."""

    def __init__(self, data: Path, part: str, ripe: Callable[[], bool]) -> None:
        super().__init__(name=f"killer of {part}", daemon=True)
        self.killed: int | None = None
        self._data = data
        self._part = part
        self._ripe = ripe
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        """Look again and again; whatever is not there yet is not ripe."""
        while not self._end.wait(0.05):
            state = read_state(self._data)
            pids = {part.name: part.pid for part in state.parts} if state else {}
            pid = pids.get(self._part)
            try:
                if pid is None or not self._ripe():
                    continue
            except OptinError:
                continue
            os.kill(pid, signal.SIGKILL)
            self.killed = pid
            return


def on_topic(servers: Servers, topic: str, least: int) -> Callable[[], bool]:
    """Whether a topic holds so many committed records."""
    return lambda: len(asyncio.run(read(servers.kafka_bootstrap, topic))) >= least


def in_table(servers: Servers, table: str, least: int) -> Callable[[], bool]:
    """Whether a ClickHouse table holds so many rows."""
    return lambda: ask(servers.clickhouse_url, f"SELECT count() FROM {table}").rows[0][0] >= least


def wait_until(true: Callable[[], bool], within_s: float) -> bool:
    """Whether `true()` came true in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
