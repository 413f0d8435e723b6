"""Several Kafka nodes on this machine as one cluster, each of which can be killed and started again.

Every node is broker and controller. With three of them each partition has three copies, two of which
must have a record before it is acknowledged: one node can go without anybody noticing for long.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from connectors.kafka.embedded import EmbeddedKafka
from connectors.loopback import HOST, free_port
from tests.support.stack import SHORT_LIVED

HEAP_MB: Final = 256
REQUEST_MS: Final = 5_000
CLUSTER_ID: Final = "Kchaos0000000000000000"


class Cluster:
    """`nodes` Kafka nodes in folders of their own; a context manager that starts and ends them."""

    def __init__(self, folder: Path, nodes: int, progress: Callable[[str], None] = lambda _: None) -> None:
        self.nodes = range(1, nodes + 1)
        self.replication = min(nodes, 3)
        ports = distinct_ports(2 * nodes)
        controllers = dict(zip(self.nodes, ports[:nodes], strict=True))
        brokers = dict(zip(self.nodes, ports[nodes:], strict=True))
        self.bootstrap = ",".join(f"{HOST}:{port}" for port in brokers.values())
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in controllers.items())
        self._kafkas = {
            node: EmbeddedKafka(
                folder / f"node-{node}",
                brokers[node],
                controllers[node],
                progress,
                more_settings={
                    "node.id": node,
                    "controller.quorum.voters": voters,
                    **replicated(self.replication),
                },
                cluster_id=CLUSTER_ID,
                jvm_flags=SHORT_LIVED,
                heap_mb=HEAP_MB,
            )
            for node in self.nodes
        }
        # A child ends with the thread that started it: each node has one of its own, for as long as we live.
        self._threads = {node: ThreadPoolExecutor(1, f"node-{node}") for node in self.nodes}

    def __enter__(self) -> Self:
        try:
            for started in [self.start(node) for node in self.nodes]:
                started.result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if self.pid(node) is not None:
                self.thaw(node)
        # Killed, not stopped: a node that stops waits for others to lead its partitions.
        for node in self.nodes:
            self._kafkas[node].kill()
        for node in self.nodes:
            self._threads[node].submit(self._kafkas[node].stop).result()
            self._threads[node].shutdown()

    def start(self, node: int) -> Future[str]:
        """Start a node; it answers when the future is done (not before a majority is there)."""
        return self._threads[node].submit(self._kafkas[node].start)

    def pid(self, node: int) -> int | None:
        """The node's process, None if it does not run."""
        return self._kafkas[node].pid

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self._kafkas[node].kill()

    def freeze(self, node: int) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(node, signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """SIGCONT."""
        self._signal(node, signal.SIGCONT)

    def leader(self, topic: str, partition: int) -> int:
        """The node that leads a partition now. Raises KafkaError, and LookupError if nobody does."""
        told = asyncio.run(self._describe([topic]))
        for part in told[0]["partitions"]:
            if part["partition"] == partition and part["leader"] in self._kafkas:
                return int(part["leader"])
        raise LookupError(f"nobody leads {topic}/{partition}")

    def in_sync(self) -> bool:
        """Whether every partition has a leader and all of its copies; False when nobody answers."""
        if any(self.pid(node) is None for node in self.nodes):
            return False
        try:
            told = asyncio.run(self._describe(None))
        except (KafkaError, OSError, TimeoutError):
            return False
        parts = [part for topic in told for part in topic["partitions"]]
        return bool(parts) and all(
            part["leader"] in self._kafkas and len(part["isr"]) == len(part["replicas"]) for part in parts
        )

    def _signal(self, node: int, kind: signal.Signals) -> None:
        pid = self.pid(node)
        if pid is not None:
            os.kill(pid, kind)

    async def _describe(self, topics: list[str] | None) -> list[dict[str, Any]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=REQUEST_MS)
        try:
            await admin.start()
            told: list[dict[str, Any]] = await admin.describe_topics(topics)
            return told
        finally:
            await admin.close()


def replicated(copies: int) -> dict[str, object]:
    """Broker settings for so many copies of everything, all but one of which must have a record."""
    least = max(1, copies - 1)
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": least,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": least,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": least,
        # A node that lags behind is soon no reason to wait for.
        "replica.lag.time.max.ms": 5_000,
    }


def distinct_ports(count: int) -> list[int]:
    """So many free ports, no two alike."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[free_port()] = None
    return list(found)
