"""The running system that faults are done to: Kafka nodes, ClickHouse, workers of all roles, and load."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from connectors.child import Identity
from connectors.kafka.training import train
from processors.prepare import migrate_tables, publish
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Stack
from tests.chaos.plan import SESSION_S, TRANSACTION_S
from tests.chaos.providers import Providers
from tests.support.cluster import Cluster
from tests.support.disturbed_worker import BUG_ENV, DYNAMIC_ENV, FOLDER_ENV, OPEN_MS_ENV, order_file
from tests.support.load import Load, definitions, passing, racing

WORKERS: Final = 2
PARTITIONS: Final = 6
LEASE_S: Final = 3.0
CALL_S: Final = 2.0
"""How long a push may wait for its provider's answer."""
OPEN_MS: Final = 60
AT_ONCE: Final = 200
"""Persons whom the load is about at a time."""
EACH: Final = 40
"""Facts about one person, about: enough to reach a cap of three."""
SPREAD_S: Final = 5.0
"""Revocations come within so long after the carts whose pushes they race, which wait two seconds."""
REPLICATION_ENV: Final = "OPTIN_REPLICATION"


class System:
    """A context manager: all of it up, its workers under load; `load.stop()` ends the load.

    Every second worker is no static member of its group, so that its death moves partitions.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int,
        seed: int,
        rate: float,
        progress: Callable[[str], None],
        bugs: str = "",
        providers: Providers | None = None,
    ) -> None:
        """`providers`: whom the pushes of a load that races them go to; None: a file, and no race."""
        self.folder = folder
        self.providers = providers
        self.notes = folder / "chaos"
        self.lease_ms = int(LEASE_S * 1e3)
        self._resources = ExitStack()
        self._progress = progress
        self.cluster = Cluster(folder / "kafka", nodes)
        rules = definitions(folder / "definitions")
        self.stack = Stack(
            folder,
            roles={"journeys": WORKERS, "delivery": WORKERS, "metrics": 1},
            env={
                "OPTIN_DEFINITIONS": str(rules),
                "OPTIN_SESSION_TIMEOUT_S": str(SESSION_S),
                "OPTIN_TRANSACTION_TIMEOUT_S": str(TRANSACTION_S),
                "OPTIN_LEASE_S": str(LEASE_S),
                "OPTIN_CLOCK_SKEW_S": "1",
                FOLDER_ENV: str(self.notes),
                OPEN_MS_ENV: str(OPEN_MS),
                DYNAMIC_ENV: "journeys-1,delivery-1",
                BUG_ENV: bugs,
                **(_by_providers(providers) if providers is not None else {}),
            },
            prepare=[migrate_tables, publish(rules)],
            command=lambda role: [sys.executable, "-m", "tests.support.disturbed_worker", role],
            partitions=PARTITIONS,
        )
        spread = int(rate * SPREAD_S)
        facts = passing(seed, AT_ONCE, EACH) if providers is None else racing(seed, spread, providers.address)
        self.load = Load(self.cluster.bootstrap, facts, rate)

    def __enter__(self) -> Self:
        train(self._progress)
        with self._resources:
            self._progress(f"starting {len(self.cluster.nodes)} Kafka node(s)")
            self._resources.enter_context(self.cluster)
            named = {KAFKA_ENV: self.cluster.bootstrap, REPLICATION_ENV: str(self.cluster.replication)}
            self._resources.enter_context(environment(named, without=CLICKHOUSE_ENV))
            self._progress("starting ClickHouse and the workers")
            self._resources.enter_context(self.stack)
            self.stack.start_roles()
            self.load.start()
            self._resources = self._resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def workers(self, role: str = "") -> list[str]:
        """The names of the workers that run now, of one role or all."""
        names = [name for name in self.stack.pids() if "-" in name]
        return sorted(name for name in names if name.startswith(role))

    def signal(self, name: str, kind: signal.Signals) -> int:
        """Send a signal to a part; its pid, 0 if it does not run."""
        pid = self.stack.pids().get(name, 0)
        if pid:
            os.kill(pid, kind)
        return pid

    def order_stop(self, name: str, point: str) -> None:
        """Tell a worker to stop itself at a point; taken back with ''."""
        file = order_file(self.notes, name)
        if not point:
            file.unlink(missing_ok=True)
            return
        draft = file.with_suffix(".new")
        draft.write_text(point)
        draft.replace(file)


def _by_providers(providers: Providers) -> dict[str, str]:
    """Credentials of the load's app, as an environment."""
    return {"OPTIN_PUSH_CREDENTIALS": str(providers.credentials("shop", CALL_S)), "OPTIN_RETRY_S": "1"}


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a killed process is gone, in time."""
    deadline = time.monotonic() + within_s
    while Identity.of(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def environment(named: dict[str, str], without: str) -> Iterator[None]:
    """Our own environment with these variables and without that one, for a while."""
    before = dict(os.environ)
    os.environ.update(named)
    os.environ.pop(without, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
