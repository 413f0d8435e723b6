"""Kills workers at crash points, one after the other in each role, over one Kafka and ClickHouse under load.

A worker with a fault is started; when it has died of it, the next one takes over what it left, with the next
fault. `settle` gives every role a plain worker and asks the oracle.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
from aiokafka import AIOKafkaProducer

from connectors import child
from connectors.kafka.append import Appender
from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.agents import intake
from processors.agents.item_watcher import watch_records
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers, worker_command
from processors.wall_clock import wall_ms
from tests.support.crash_plan import SITUATIONS, Strike
from tests.support.faulty_worker import FAULT_ENV, HITS_ENV
from tests.support.given import fact
from tests.support.measured import unmeasured
from tests.support.oracle import objections
from tests.support.steady_load import SteadyLoad

ROLES: Final = ("journeys", "delivery", "metrics")
PARTITIONS: Final = 8
LOOK_S: Final = 0.05
STRUCK_S_MAX: Final = 90.0
"""How long a worker may take to get to its point."""
TRIES_MAX: Final = 3
"""A worker may end otherwise before it gets there (fenced in a rebalance): then once more."""
SETTLE_S_MAX: Final = 120.0
JOINED_S: Final = 1.5
LETTER_BYTES: Final = 500_000
"""Two of them are more than a batch takes, and less than a fetch brings."""
LETTERS: Final = 3
WATCHERS: Final = 20
MISPLACED: Final = 4

Steps = Generator[None, None, None]
"""Does something bit by bit; each `yield` lets the other roles go on."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike that happened, and how long it took from the start of the worker (s)."""

    strike: Strike
    took_s: float


class CrashRun:
    """One run over a folder. Processes are ended when the block is left."""

    def __init__(
        self,
        folder: Path,
        servers: Servers,
        definitions: Path,
        load: SteadyLoad,
        *,
        bugs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`bugs`: which planted bug the workers of a role have; `env`: added to that of all workers."""
        self.folder = folder
        self.struck: list[Struck] = []
        self.missed: list[str] = []
        self.other_ends: Counter[str] = Counter()
        self.violations: list[str] = []
        self._servers = servers
        self._load = load
        self._bugs = dict(bugs or {})
        self._count = 0
        self._running: dict[child.Process, None] = {}
        self._env = {
            **child.import_path(),
            KAFKA_ENV: servers.kafka_bootstrap,
            CLICKHOUSE_ENV: servers.clickhouse_url,
            "OPTIN_DEFINITIONS": str(definitions),
            "OPTIN_DATA": str(folder),
            "OPTIN_SESSION_TIMEOUT_S": "6",
            "OPTIN_LEASE_S": "3",
            "OPTIN_CLOCK_SKEW_S": "1",
            "OPTIN_METRICS_WAIT_S": "0.3",
            "OPTIN_BAD_SHARE_MAX": "1",
            **(env or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in tuple(self._running):
            self._end(process)

    @property
    def hits(self) -> Counter[str]:
        """How many workers passed each side of a point (`point@side`)."""
        lines = (path.read_text().splitlines() for path in self.folder.glob("hits/*"))
        return Counter(line for file in lines for line in file)

    def strike(self, strikes: Sequence[Strike]) -> None:
        """Let all strikes happen, the roles side by side."""
        busy = set(ROLES)
        tracks = [self._track(role, [one for one in strikes if one.role == role], busy) for role in ROLES]
        while busy:
            time.sleep(LOOK_S)
            self._load.check()
            for track in tracks:
                next(track, None)
        for track in tracks:
            track.close()

    def settle(self, enough: Callable[[list[str]], bool], within_s: float = SETTLE_S_MAX) -> list[str]:
        """What is wrong once the load rests and plain workers have done all there is, or after `within_s`."""
        acknowledged = self._load.rest()
        workers = {role: self._start(role) for role in ROLES}
        deadline = time.monotonic() + within_s
        while True:
            found = asyncio.run(objections(self._servers.kafka_bootstrap, acknowledged))
            found += unmeasured(self._servers)
            found += printed_twice(self.folder)
            if enough(found) or time.monotonic() > deadline:
                break
            time.sleep(1)
        for role, (process, log) in workers.items():
            if process.poll() is not None:
                self.other_ends[f"{role} {process.returncode}"] += 1
                found.append(f"a plain worker of {role} ended: {child.last_lines(log, 3)}")
            self._end(process)
        return found

    def go_on(self) -> None:
        """Let the load go on after `settle`."""
        self._load.go_on()

    def _track(self, role: str, strikes: Sequence[Strike], busy: set[str]) -> Steps:
        """One role's strikes; then a plain worker, for as long as other roles need what it does."""
        for strike in strikes:
            for _ in range(TRIES_MAX):
                ended = yield from self._one(strike)
                if ended is None:
                    break
                self.other_ends[f"{role} {ended}"] += 1
                tell(f"      {role} ended otherwise: {ended}")
            else:
                self.missed.append(f"{strike.fault} in {role} ({strike.situation})")
        busy.discard(role)
        plain, _ = self._start(role)
        try:
            while True:
                yield
        finally:
            self._end(plain)

    def _one(self, strike: Strike) -> Generator[None, None, str | None]:
        """Start a worker and wait for its death; None if it died where it should."""
        situation = SITUATIONS[strike.situation]
        self._count += 1
        hits = self.folder / "hits" / f"{strike.role}-{self._count}"
        hits.parent.mkdir(exist_ok=True)
        fault = f"{situation.slow};{strike.fault}"
        env = {**situation.env, FAULT_ENV: fault, HITS_ENV: str(hits)}
        if situation.by == "misplaced":
            self._load.misplace(MISPLACED, PARTITIONS)
        elif situation.by == "letters":
            asyncio.run(append_letters(self._servers.kafka_bootstrap))
        elif situation.by == "item news":
            asyncio.run(append_item_news(self._servers.kafka_bootstrap, self._count))
        started = time.monotonic()
        process, log = self._start(strike.role, env)
        doing = self._doing(strike, process, log)
        try:
            while process.poll() is None and time.monotonic() - started < STRUCK_S_MAX:
                next(doing, None)
                yield
        finally:
            doing.close()
        took_s = time.monotonic() - started
        self._end(process)
        noted = hits.read_text() if hits.exists() else ""
        if process.returncode != -signal.SIGKILL or f"strike {strike.fault}" not in noted:
            return f"{strike.fault}: {process.returncode} after {took_s:.0f} s"
        self.struck.append(Struck(strike, took_s))
        tell(f"{len(self.struck):4}  {strike.fault} in {strike.role} after {took_s:.1f} s")
        return None

    def _start(
        self, role: str, env: Mapping[str, str] | None = None, *, instance: bool = True
    ) -> tuple[child.Process, Path]:
        """Start a worker, with a fault if `env` has one; `instance`: as the one that was there before."""
        if role in self._bugs:
            command = child.python_module("tests.support.planted_lane", self._bugs[role], role)
        elif env:
            command = child.python_module("tests.support.faulty_worker", role)
        else:
            command = worker_command(role)
        self._count += 1
        log = self.folder / "logs" / f"{role}-{self._count}.log"
        name = {"OPTIN_INSTANCE": f"{role}-0"} if instance else {}
        process = child.spawn(command, log=log, env={**self._env, **name, **(env or {})})
        self._running[process] = None
        return process, log

    def _end(self, process: child.Process) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(child.KILL_S)
        self._running.pop(process, None)

    # What situations do to a worker while it runs.

    def _doing(self, strike: Strike, process: child.Process, log: Path) -> Steps:
        match SITUATIONS[strike.situation].by:
            case "joiner":
                return self._join(strike.role, log)
            case "sigterm":
                return self._stop(process, log)
            case _:
                return _seconds(0)

    def _join(self, role: str, log: Path) -> Steps:
        """Another worker joins, leaves, joins, ..."""
        yield from _ready(log)
        while True:
            joiner, its_log = self._start(role, instance=False)
            try:
                yield from _ready(its_log)
                yield from _seconds(JOINED_S)
                joiner.terminate()
                while joiner.poll() is None:
                    yield
            finally:
                self._end(joiner)

    def _stop(self, process: child.Process, log: Path) -> Steps:
        yield from _ready(log)
        yield from _seconds(JOINED_S)
        process.terminate()
        yield


def _ready(log: Path) -> Steps:
    """Until a worker folds."""
    while not log.exists() or "ready: generation" not in log.read_text():
        yield


def _seconds(count: float) -> Steps:
    end = time.monotonic() + count
    while time.monotonic() < end:
        yield


async def append_letters(bootstrap: str) -> None:
    """Append unreadable records; no two of their letters fit into one batch."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=1 << 20) as producer:
        for _ in range(LETTERS):
            await producer.send("optin.activity", os.urandom(LETTER_BYTES), key=b"letters", partition=0)


async def append_item_news(bootstrap: str, number: int) -> None:
    """Let people watch an item, and let it cost less, and less again."""
    item, now = f"news-{number}", wall_ms()
    people = [f"watcher-{one}" for one in range(WATCHERS)]
    saved = [fact(f.ItemSaved, now - 1_000, subject=name, item=item) for name in people]
    appender = Appender(bootstrap, intake.FIRST_APPENDED_HEADER)
    await appender.append_all(watch_records(saved, PARTITIONS))
    await appender.close()
    envelope = {"app": "shop", "source": "server", "item": item, "currency": "EUR"}
    async with FactPublisher(bootstrap) as publisher:
        for price in (9_900, 7_900, 5_900):
            told = {"event_id": f"{item}-{price}", "occurred_at": wall_ms(), "price_minor": price}
            await publisher.publish([msgspec.convert({**envelope, **told}, f.ItemPriceChanged)])


def printed_twice(folder: Path) -> list[str]:
    """Pushes that reached the phone more than once."""
    with suppress(FileNotFoundError):
        lines = (folder / "pushes.jsonl").read_text().splitlines()
        shown = Counter(line.split('"push_id": "')[1][:36] for line in lines)
        return [f"push {push} was printed {count} times" for push, count in shown.items() if count > 1]
    return []


class Evidence:
    """Whether each of these words is in an objection: a planted bug was seen, however long that took."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def __call__(self, found: list[str]) -> bool:
        """Look at the objections of now."""
        return all(any(words in objection for objection in found) for words in self._words)


def nothing(found: list[str]) -> bool:
    """There is no objection."""
    return not found


def tell(line: str) -> None:
    """A line for whoever watches a long run."""
    print(line, file=sys.stderr, flush=True)
