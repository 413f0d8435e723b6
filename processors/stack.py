"""Everything on one machine: embedded Kafka and ClickHouse, and the roles, under one supervisor.

    with Stack(data, roles={"journeys": 2, "delivery": 1}) as stack:  # the servers answer
        stack.start_roles()
        stack.check()

Servers that the environment names (OPTIN_KAFKA_BOOTSTRAP, OPTIN_CLICKHOUSE_URL) are used as they are,
and only the rest is started. The data folder holds everything: `kafka/`, `clickhouse/`, `logs/`, and
`stack.json`, which tells other processes (`optin status`, `optin down`) what runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec

from connectors import child
from connectors.clickhouse.accounts import READERS_ENV, USERS_ENV, Role
from connectors.clickhouse.embedded import EmbeddedClickHouse
from connectors.errors import Misconfigured
from connectors.kafka.embedded import EmbeddedKafka
from connectors.kafka.topics import apply_topics
from connectors.loopback import HOST, choose_port
from processors.disk import Disk
from processors.settings import ENDS_FILE, read_settings
from processors.supervisor import PartStatus, Supervisor, Worker

KAFKA_ENV: Final = "OPTIN_KAFKA_BOOTSTRAP"
CLICKHOUSE_ENV: Final = "OPTIN_CLICKHOUSE_URL"
ENDPOINT_ENV: Final = "OPTIN_METRICS_PORT"
CREDENTIALS_ENV: Final = "OPTIN_PUSH_CREDENTIALS"
WITHOUT_PASSWORDS: Final = {USERS_ENV: "", READERS_ENV: ""}
"""Added to the environment of processes that need no accounts."""
STATE_FILE: Final = "stack.json"
LOCK_FILE: Final = "lock"
DEMO_FILE: Final = "demo-data"
"""A file that says: this folder was made by `optin demo`, which may make it anew."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers are: `host:port` of Kafka and the URL of our ClickHouse database."""

    kafka_bootstrap: str
    clickhouse_url: str


Prepare = Callable[[Servers], object]
"""A step between the servers and the roles, as migrating the tables or publishing definitions."""


class StackState(msgspec.Struct, frozen=True):
    """What `stack.json` holds. `ready`: all parts were started; times are ms since 1970.

    `endpoints`: by the worker's name, the URL under which it answers `/metrics`, `/healthz` and `/readyz`.

    Passwords are left out: a named ClickHouse's is in the environment, an embedded one's in its folder.
    """

    supervisor: child.Identity
    kafka_bootstrap: str
    clickhouse_url: str
    started_at: int
    ready: bool
    parts: tuple[PartStatus, ...]
    endpoints: dict[str, str] = {}
    push_credentials: str = ""
    """The file of the providers' credentials; empty: no push leaves this machine."""


def worker_command(role: str) -> list[str]:
    """The command of one worker of a role."""
    return child.python_module("processors.cli", "worker", role)


def refuse_running(data: Path) -> None:
    """Raise `Misconfigured` if a stack runs over the folder; for whoever is about to delete in it."""
    try:
        lock = (data / LOCK_FILE).open("r+")
    except OSError:
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _already_running(data) from None


def refuse_bounded_run(data: Path) -> None:
    """Raise `Misconfigured` if a run by the event clock made the folder: `up` can't go on with it."""
    if (data / ENDS_FILE).exists() or (data / DEMO_FILE).exists():
        raise Misconfigured(
            f"{data} holds the data of `optin demo` or `optin replay`, which go by the clock of their facts;"
            " `optin up` goes by the wall clock and can't go on from there. Choose another folder with"
            f" --data; `optin explain`, `optin sql` and `optin verify` still read this one (--data {data})."
        )


def _already_running(data: Path) -> Misconfigured:
    running = read_state(data)
    whose = f" (process {running.supervisor.pid})" if running else ""
    return Misconfigured(
        f"a stack already runs over {data}{whose}: stop it with `optin down`, or choose another folder with"
        " --data."
    )


def redacted(url: str) -> str:
    """A URL without the password in it, for files and for people."""
    scheme, separator, rest = url.partition("://")
    account, at, where = rest.rpartition("@")  # the last one: a password may hold any sign
    if not at or ":" not in account:
        return url
    return f"{scheme}{separator}{account.partition(':')[0]}:***@{where}"


def read_state(data: Path) -> StackState | None:
    """What runs over the data folder, None if nothing does (an old file of a dead stack is nothing)."""
    try:
        state = msgspec.json.decode((data / STATE_FILE).read_bytes(), type=StackState)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if state.supervisor.alive() else None


class Stack:
    """The parts of one data folder; a context manager that starts the servers and ends everything.

    `roles`: how many workers each role gets. `env`: added to the workers' environment. `prepare`: run
    in order once the servers answer. `progress` hears a sentence before each step that takes time.
    `partitions`: of topics that are created now; OPTIN_PARTITIONS without.
    """

    def __init__(
        self,
        data: Path,
        *,
        roles: Mapping[str, int],
        env: Mapping[str, str] | None = None,
        prepare: Sequence[Prepare] = (),
        progress: Callable[[str], None] = lambda _: None,
        partitions: int | None = None,
        kafka_port: int = 0,
        clickhouse_port: int = 0,
        command: Callable[[str], Sequence[str]] = worker_command,
    ) -> None:
        self.data = data.resolve()
        self._roles = dict(roles)
        self._env = dict(env or {})
        self._prepare = tuple(prepare)
        self._progress = progress
        self._command = command
        self._partitions = partitions
        self._ports = kafka_port, clickhouse_port
        self._endpoint_ports: dict[str, int] = {}
        self._servers: Servers | None = None
        self._clickhouse: EmbeddedClickHouse | None = None
        self._supervisor: Supervisor | None = None
        self._lock: IO[Any] | None = None
        self._started_at = int(time.time() * 1e3)
        self._ready = False
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self.start_servers()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def servers(self) -> Servers:
        """Where the servers are; after `start_servers`."""
        if self._servers is None:
            raise RuntimeError("start the servers first")
        return self._servers

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port` of Kafka; after `start_servers`."""
        return self.servers.kafka_bootstrap

    @property
    def clickhouse_url(self) -> str:
        """The URL of our ClickHouse database, as who may change it; after `start_servers`."""
        return self.servers.clickhouse_url

    @property
    def embeds_clickhouse(self) -> bool:
        """Whether ClickHouse is a part of this stack, not a named server."""
        return self._clickhouse is not None

    def clickhouse_url_of(self, account: Role) -> str:
        """The same as another account; a named ClickHouse has the one account that its URL names."""
        return self._clickhouse.url_of(account) if self._clickhouse else self.clickhouse_url

    def start_servers(self) -> Servers:
        """Start Kafka, create the topics, start ClickHouse, and run `prepare`, in this order.

        Raises Misconfigured if another stack has the data folder, and what the steps raise; then
        everything that was started is ended.
        """
        self._claim_folder()
        try:
            self._supervisor = Supervisor(self._write_state, Disk(self.data))
            kafka = os.environ.get(KAFKA_ENV) or self._start_kafka()
            settings = read_settings()
            if self._roles:  # who only reads changes nothing
                self._progress("Looking after the topics")
                partitions = self._partitions or settings.partitions
                asyncio.run(apply_topics(kafka, partitions, settings.replication))
            clickhouse = os.environ.get(CLICKHOUSE_ENV) or self._start_clickhouse()
            self._servers = Servers(kafka, clickhouse)
            for step in self._prepare:
                step(self._servers)
            self._write_state()
        except BaseException:
            self.stop()
            raise
        return self._servers

    def start_roles(self) -> None:
        """Start the workers of all roles, `<role>-<n>` each; they come up by themselves."""
        assert self._supervisor is not None
        for role, count in self._roles.items():
            for number in range(count):
                name = f"{role}-{number}"
                self._progress(f"Starting {name}")
                self._supervisor.start(name, self._worker(role, name))
        self._ready = True
        self._write_state()

    def stop(self) -> None:
        """End the roles, then ClickHouse, then Kafka, each within its bound. Idempotent."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._lock is not None:
            (self.data / STATE_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Raise PartFailed, with its last log lines, if a part ended again and again."""
        assert self._supervisor is not None
        self._supervisor.check()

    def statuses(self) -> tuple[PartStatus, ...]:
        """How the parts do, in the order in which they were started."""
        return self._supervisor.statuses() if self._supervisor else ()

    def pids(self) -> dict[str, int]:
        """The processes that run now, by the name of the part (`kafka`, `journeys-0`)."""
        return {status.name: status.pid for status in self.statuses() if status.pid is not None}

    def endpoints(self) -> dict[str, str]:
        """Where workers tell about themselves; a worker that is started again may have moved."""
        return {name: f"http://{HOST}:{port}" for name, port in tuple(self._endpoint_ports.items())}

    def log_of(self, part: str) -> Path:
        """Where a part's output goes."""
        return self.data / "logs" / f"{part}.log"

    def _claim_folder(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.chmod(0o700)  # a folder of an older version, too
        lock = (self.data / LOCK_FILE).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise _already_running(self.data) from None
        self._lock = lock

    def _start_kafka(self) -> str:
        assert self._supervisor is not None
        kafka = EmbeddedKafka(
            self.data / "kafka", self._ports[0], progress=self._progress, log=self.log_of("kafka")
        )
        self._progress("Starting Kafka")
        self._supervisor.start("kafka", kafka)
        return kafka.bootstrap

    def _start_clickhouse(self) -> str:
        assert self._supervisor is not None
        clickhouse = EmbeddedClickHouse(
            self.data / "clickhouse", self._ports[1], log=self.log_of("clickhouse")
        )
        self._progress("Starting ClickHouse")
        self._supervisor.start("clickhouse", clickhouse)
        self._clickhouse = clickhouse
        return clickhouse.url

    def _worker(self, role: str, name: str) -> Worker:
        env = {
            **child.import_path(),
            "OPTIN_CLOCK": "wall",
            **self._env,
            KAFKA_ENV: self.kafka_bootstrap,
            CLICKHOUSE_ENV: self.clickhouse_url_of("metrics"),
            **WITHOUT_PASSWORDS,
            "OPTIN_DATA": str(self.data),
            "OPTIN_INSTANCE": name,
        }
        pid_file = self.data / "workers" / f"{name}.json"
        return Worker(self._command(role), env, self.log_of(name), pid_file, partial(self._endpoint, name))

    def _endpoint(self, name: str) -> dict[str, str]:
        before = self._endpoint_ports.pop(name, None)
        port = choose_port(0, before, tuple(self._endpoint_ports.values()))
        self._endpoint_ports[name] = port
        return {ENDPOINT_ENV: str(port)}

    def _push_credentials(self) -> str:
        by_events = self._env.get("OPTIN_CLOCK") == "event"
        return "" if by_events else os.environ.get(CREDENTIALS_ENV, "")

    def _clickhouse_for_others(self) -> str:
        if self._servers is None:
            return ""
        return self._clickhouse.address if self._clickhouse else redacted(self._servers.clickhouse_url)

    def _write_state(self, statuses: Sequence[PartStatus] | None = None) -> None:
        identity = child.Identity.of(os.getpid())
        assert identity is not None
        with self._writing:  # the supervisor's thread writes too
            state = StackState(
                supervisor=identity,
                kafka_bootstrap=self._servers.kafka_bootstrap if self._servers else "",
                clickhouse_url=self._clickhouse_for_others(),
                started_at=self._started_at,
                ready=self._ready,
                parts=tuple(self.statuses() if statuses is None else statuses),
                endpoints=self.endpoints(),
                push_credentials=self._push_credentials(),
            )
            child.write_atomically(self.data / STATE_FILE, msgspec.json.encode(state))
