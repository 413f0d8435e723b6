"""A real Apache Kafka broker on this machine, without Docker and without an installed Java.

One node (KRaft: broker and controller in one process) that listens on the loopback address only and
keeps everything in one data folder. Survives `kill -9`: the next start on the same folder finds all
acknowledged records. Not for production: one node has no replica.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import msgspec

from connectors import child
from connectors.errors import Misconfigured, Transient
from connectors.kafka import fast_start, jars
from connectors.loopback import HOST, answers, choose_port

START_S: Final = 60.0
"""How long a start may take; a first start on a busy machine takes about 5 s."""
FORMAT_S: Final = 60.0
ANSWER_S: Final = 5.0
"""How long one metadata answer may take."""
STOP_S: Final = 15.0
"""How long a clean stop may take before SIGKILL; usually below 1 s."""
PORT_ATTEMPTS: Final = 3
HEAP_MB: Final = 512
POLL_S: Final = 0.02
LOG_LINES: Final = 15

SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log_dir}

# Topics come from schemas/topics.yaml only.
auto.create.topics.enable=false

# One node: one replica of everything, and few partitions of the broker's own topics, to start fast.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Workers come and go while one looks on: notice it soon.
group.initial.rebalance.delay.ms=500
group.min.session.timeout.ms=3000
# After a kill -9 the broker registers anew as soon as its old session has ended.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# Small machine: less memory for compaction, fewer threads.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=4
"""


UNNOTED: Final = "4.3.1"
"""The version that ran on folders which note none."""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class _Ports(msgspec.Struct, frozen=True):
    broker: int
    controller: int


class EmbeddedKafka:
    """A broker in the folder `data`; `start` and `stop` may be called again and again.

    `port` and `controller_port` 0: chosen free and remembered in the folder, so that a restart is
    found at the same address; once started, an object keeps to its ports. Usable as a context manager.
    `more_settings` count before `SETTINGS`: with them, and one `cluster_id` for all, it is one of several
    nodes. The broker is killed when the thread that called `start` ends (see `connectors.leash`).
    """

    def __init__(
        self,
        data: Path,
        port: int = 0,
        controller_port: int = 0,
        progress: Callable[[str], None] = lambda _: None,
        log: Path | None = None,
        jvm_flags: Sequence[str] = (),
        more_settings: Mapping[str, object] | None = None,
        cluster_id: str = "",
        heap_mb: int = HEAP_MB,
    ) -> None:
        self.data = data.resolve()
        self.log = log or self.data / "kafka.log"
        self._jvm_flags = tuple(jvm_flags)
        self._more_settings = dict(more_settings or {})
        self._cluster_id = cluster_id
        self._heap_mb = heap_mb
        self._asked = _Ports(port, controller_port)  # 0: any
        self._ports: _Ports | None = None
        self._progress = progress
        self._process: child.Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients; after `start`."""
        if self._ports is None:
            raise RuntimeError("start the broker first")
        return f"{HOST}:{self._ports.broker}"

    @property
    def pid(self) -> int | None:
        """The broker's process, None if it is not running."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> str:
        """Start the broker and wait until it answers; returns `host:port`. Idempotent.

        Raises Misconfigured if another owner's broker runs on this folder, if a named port is taken
        or the archives can't be fetched, and Transient, with the broker's last words, if it ends or
        does not answer within `START_S`.
        """
        if self.pid is not None:
            return self.bootstrap
        self.data.mkdir(parents=True, exist_ok=True)
        child.claim(self.data / "pid.json", "Kafka")
        runtime = jars.runtime(self._progress, self._version())
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._configure()
            self._format(runtime)
            self._process = child.spawn(
                [
                    runtime.java,
                    *fast_start.flags(runtime, self._heap_mb),
                    *self._jvm_flags,
                    *("-cp", runtime.classpath, "kafka.Kafka", str(self._settings_file)),
                ],
                log=self.log,
                pid_file=self.data / "pid.json",
            )
            if self._ready():
                assert self._ports is not None
                self._asked = self._ports  # clients know them by now
                break
            last_words = child.last_lines(self.log, LOG_LINES)
            self.stop()
            if "Address already in use" not in last_words or attempt == PORT_ATTEMPTS:
                raise Transient(f"Kafka did not start. Its last words ({self.log}):\n{last_words}")
        return self.bootstrap

    def stop(self, stop_s: float = STOP_S) -> None:
        """End the broker cleanly, within `stop_s` and a kill. Idempotent."""
        if self._process is not None:
            child.stop(self._process, stop_s)
            self._process = None
            (self.data / "pid.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone; for tests of crashes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(child.KILL_S)

    @property
    def _settings_file(self) -> Path:
        return self.data / "server.properties"

    def _version(self) -> str:
        """The version to run, noted in the folder before it writes anything there.

        Kafka reads what an older version wrote, never what a newer one did: a folder stays with the newest
        version that ran on it.
        """
        file = self.data / "version"
        noted = jars.VERSION
        if file.exists():
            noted = file.read_text().strip()
        elif (self.data / "log" / "meta.properties").exists():
            noted = UNNOTED
        version = max(noted, jars.VERSION, key=_number)
        if version != jars.VERSION:
            self._progress(
                f"Kafka {version} wrote this folder, which {jars.VERSION} can't read: running {version}. It"
                " may forget markers of transactions at a restart, which workers settle; new folders are"
                f" written by {jars.VERSION}"
            )
        child.write_atomically(file, version.encode())
        return version

    def _configure(self) -> None:
        """Choose the ports, remember them, and write the broker's settings for them."""
        file = self.data / "ports.json"
        try:
            before = msgspec.json.decode(file.read_bytes(), type=_Ports)
        except (OSError, msgspec.MsgspecError):
            before = _Ports(0, 0)
        broker = choose_port(self._asked.broker, before.broker)
        controller = choose_port(self._asked.controller, before.controller, (broker,))
        self._ports = _Ports(broker, controller)
        child.write_atomically(file, msgspec.json.encode(self._ports))
        settings = SETTINGS.format(
            host=HOST, port=broker, controller_port=controller, log_dir=self.data / "log"
        ) + "".join(f"{name}={value}\n" for name, value in self._more_settings.items())
        child.write_atomically(self._settings_file, settings.encode())

    def _format(self, runtime: jars.Runtime) -> None:
        """Give an empty log folder its cluster id; Kafka refuses to start without."""
        if (self.data / "log" / "meta.properties").exists():
            return
        # The leading letter keeps the id from looking like an option.
        made = "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]
        done = subprocess.run(  # noqa: S603 - our own JRE, no shell
            [
                *(runtime.java, *fast_start.flags(runtime, self._heap_mb), "-cp", runtime.classpath),
                *("kafka.tools.StorageTool", "format", "--cluster-id", self._cluster_id or made),
                *("--config", str(self._settings_file), "--ignore-formatted"),
            ],
            capture_output=True,
            text=True,
            timeout=FORMAT_S,
            check=False,
        )
        if done.returncode:
            raise Misconfigured(
                f"Kafka could not prepare its folder {self.data / 'log'}; is it writable?\n"
                f"{done.stdout[-1000:]}{done.stderr[-1000:]}"
            )

    def _ready(self) -> bool:
        """Wait for a real metadata answer; False if the process ends or `START_S` has passed."""
        assert self._ports is not None
        deadline = time.monotonic() + START_S
        with ThreadPoolExecutor(1) as thread:  # the caller may already run an event loop
            while self.pid is not None and time.monotonic() < deadline:
                if answers(self._ports.broker):
                    asked = thread.submit(asyncio.run, answers_metadata(self.bootstrap))
                    if asked.result():
                        return True
                time.sleep(POLL_S)
        return False


async def answers_metadata(bootstrap: str, timeout_s: float = ANSWER_S) -> bool:
    """Whether a broker at `bootstrap` tells of at least one broker that takes clients."""
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaClient(
        bootstrap_servers=bootstrap, client_id="optin-ready", request_timeout_ms=int(timeout_s * 1e3)
    )
    try:
        await asyncio.wait_for(client.bootstrap(), timeout_s)
        return bool(client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
