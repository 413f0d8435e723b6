"""The servers of one run, fresh topics for each measurement, and processes on their core.

Everything of ours that a measurement leaves on the broker is deleted before the next one, so that each
begins with empty topics on a broker that is warm. Servers that the environment names are refused for that
reason.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from connectors import child
from connectors.clickhouse.embedded import EmbeddedClickHouse
from connectors.errors import InvariantBroken, Misconfigured, Transient
from connectors.kafka.embedded import EmbeddedKafka
from connectors.kafka.publish import FactPublisher
from connectors.kafka.topics import apply_topics, delete_topics
from ledger.facts import Fact
from processors.benchmarks import machine
from processors.benchmarks.machine import Cores
from processors.prepare import publish
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers, worker_command

PARTITIONS: Final = 8
PUBLISH_BATCH: Final = 20_000
LOOK_S: Final = 0.005
"""How often a process is looked at: the error of a time that is read from outside."""
WAIT_S_MAX: Final = 600.0
"""Longer than any step of a measurement."""
LAST_LINES: Final = 15

Progress = Callable[[str], None]
Command = Callable[[str], Sequence[str]]
"""The command of a role's worker; a test plants another one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A process at an instant: the monotonic clock (s), and its CPU time so far (s)."""

    at_s: float
    cpu_s: float


class Running:
    """A process of the arena with its log."""

    def __init__(self, name: str, process: child.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self._process = process

    def now(self) -> Moment:
        """Clock and CPU time; raises InvariantBroken, with its last words, if the process has ended."""
        self.check()
        return Moment(time.monotonic(), machine.cpu_s(self.pid))

    def check(self) -> None:
        """Raise InvariantBroken, with its last words, if the process has ended."""
        if self._process.poll() is not None:
            words = child.last_lines(self.log, LAST_LINES)
            raise InvariantBroken(f"{self.name} ended in mid-measurement. Its last words:\n{words}")

    def wait_for(self, words: str, within_s: float = WAIT_S_MAX) -> tuple[Moment, str]:
        """Wait until a line of the log holds `words`: that line, and the last moment before it was seen.

        Raises Transient after `within_s`, InvariantBroken if the process ends first.
        """
        deadline = time.monotonic() + within_s
        with self.log.open() as lines:
            begun = ""
            while True:
                before = self.now()
                for piece in lines:
                    line = begun + piece
                    begun = "" if line.endswith("\n") else line
                    if not begun and words in line:
                        return before, line.strip()
                if time.monotonic() > deadline:
                    told = child.last_lines(self.log, LAST_LINES)
                    raise Transient(f"{self.name} did not say {words!r} in {within_s:.0f} s:\n{told}")
                time.sleep(LOOK_S)

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL. Idempotent."""
        child.stop(self._process)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(child.KILL_S)


class Arena:
    """One embedded Kafka (and ClickHouse, if asked for) over a folder; a context manager.

    This process keeps to the servers' cores meanwhile, and what it starts inherits that.
    """

    def __init__(self, folder: Path, progress: Progress, command: Command = worker_command) -> None:
        self.progress = progress
        self.folder = folder
        self.cores = Cores.here()
        self._command = command
        self._kafka = EmbeddedKafka(folder / "kafka", progress=progress)
        self._clickhouse: EmbeddedClickHouse | None = None
        self._resources = ExitStack()
        self._started = 0

    def __enter__(self) -> Self:
        named = [name for name in (KAFKA_ENV, CLICKHOUSE_ENV) if os.environ.get(name)]
        if named:
            raise Misconfigured(f"a benchmark deletes topics and tables; unset {', '.join(named)} first")
        with ExitStack() as starting:
            starting.callback(os.sched_setaffinity, 0, self.cores.all)
            os.sched_setaffinity(0, self.cores.servers)
            self.progress("Starting Kafka")
            starting.enter_context(self._kafka)
            self._resources = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @property
    def kafka(self) -> str:
        """`host:port` of Kafka."""
        return self._kafka.bootstrap

    def clickhouse(self) -> str:
        """The URL of ClickHouse, which is started when first asked for."""
        if self._clickhouse is None:
            self.progress("Starting ClickHouse")
            self._clickhouse = EmbeddedClickHouse(self.folder / "clickhouse")
            self._resources.enter_context(self._clickhouse)
        return self._clickhouse.url

    def empty(self) -> None:
        """Delete every topic of ours and create those of the contract anew, definitions published."""
        asyncio.run(delete_topics(self.kafka))
        asyncio.run(apply_topics(self.kafka, PARTITIONS, 1))
        publish(None)(Servers(self.kafka, ""))

    def publish(self, facts: Iterable[Fact], what: str) -> None:
        """Append facts to their topics, acknowledged."""

        async def run() -> None:
            async with FactPublisher(self.kafka) as publisher:
                batch: list[Fact] = []
                for fact in facts:
                    batch.append(fact)
                    if len(batch) == PUBLISH_BATCH:
                        await publisher.publish(batch)
                        self.progress(f"Publishing {what}: {publisher.published:,} facts")
                        batch = []
                await publisher.publish(batch)

        self.progress(f"Publishing {what}")
        asyncio.run(run())

    def worker(
        self, role: str, number: int = 0, env: Mapping[str, str] | None = None, *, free: bool = False
    ) -> Running:
        """Start one worker of a role on the worker's core; `free`: on all cores.

        A worker of the same role and number takes the former one's place in the group.
        """
        name = f"{role}-{number}"
        return self._spawn(name, self._command(role), {"OPTIN_INSTANCE": name, **(env or {})}, free=free)

    def program(self, name: str, module: str, *arguments: str) -> Running:
        """Start a program of ours on the worker's core."""
        return self._spawn(name, child.python_module(module, *arguments), {}, free=False)

    def _spawn(self, name: str, command: Sequence[str], env: Mapping[str, str], *, free: bool) -> Running:
        self._started += 1
        log = self.folder / "logs" / f"{self._started}-{name}.log"
        cores = self.cores.all if free else self.cores.worker
        pinned = child.python_module("processors.benchmarks.pinned", ",".join(map(str, sorted(cores))))
        process = child.spawn(
            [*pinned, *command],
            log=log,
            env={
                **child.import_path(),
                "OPTIN_CLOCK": "wall",
                KAFKA_ENV: self.kafka,
                CLICKHOUSE_ENV: self._clickhouse.url if self._clickhouse else "",
                "OPTIN_DATA": str(self.folder / "data"),
                "PYTHONUNBUFFERED": "1",
                **env,
            },
        )
        running = Running(name, process, log)
        self._resources.callback(running.stop)
        return running
