"""A real Kafka and a real ClickHouse for tests, from wherever there is one.

Named in the environment (OPTIN_KAFKA_BOOTSTRAP and OPTIN_CLICKHOUSE_URL), or containers where a Docker
engine answers, or the embedded parts in a temporary folder. OPTIN_TEST_STACK=named|containers|embedded
forces one; a forced one that can't be had skips the tests with the reason.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from connectors.clickhouse.embedded import DATABASE, EmbeddedClickHouse
from connectors.kafka.embedded import EmbeddedKafka
from connectors.kafka.topics import apply_topics, delete_topics
from connectors.kafka.training import train
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers

FORCE_ENV: Final = "OPTIN_TEST_STACK"
PARTITIONS: Final = 8
SHORT_LIVED: Final = ("-XX:TieredStopAtLevel=1",)
"""For a JVM that lives for a test: to optimise its code takes more than it gives, of cores that we share."""
PROBE_S: Final = 3.0
"""How long Docker may take to say that it is there."""
KAFKA_IMAGE: Final = "confluentinc/cp-kafka:7.9.0"
CLICKHOUSE_IMAGE: Final = "clickhouse/clickhouse-server:25.8"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which servers the tests use, and why; `missing` says why a forced kind can't be had."""

    kind: str
    why: str
    missing: str | None = None


def choose(environ: Mapping[str, str]) -> Choice:
    """Decide which servers to use; starts nothing."""
    named = environ.get(KAFKA_ENV) and environ.get(CLICKHOUSE_ENV)
    forced = environ.get(FORCE_ENV)
    if forced == "named":
        missing = None if named else f"{FORCE_ENV}=named needs {KAFKA_ENV} and {CLICKHOUSE_ENV}"
        return Choice("named", "forced", missing)
    if forced == "containers":
        return Choice("containers", "forced", None if docker_answers() else "no Docker engine answers")
    if forced == "embedded":
        return Choice("embedded", "forced")
    if forced:
        return Choice(forced, "forced", f"{FORCE_ENV}={forced}: use named, containers or embedded")
    if named:
        return Choice("named", f"{KAFKA_ENV} and {CLICKHOUSE_ENV} are set")
    if docker_answers():
        return Choice("containers", "a Docker engine answers")
    return Choice("embedded", "no servers are named and no Docker engine answers")


def docker_answers() -> bool:
    """Whether a Docker engine answers on its usual socket or on DOCKER_HOST, within `PROBE_S`."""
    host = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if host.scheme == "ssh":
        return False  # too slow to find out at every start of the tests
    try:
        if host.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(PROBE_S)
                probe.connect(host.path)
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200" in probe.recv(64)
        socket.create_connection((host.hostname or "", host.port or 2375), PROBE_S).close()
    except OSError:
        return False
    return True


class TestServers(ABC):
    """The servers of one session of tests, and a way to fresh ones."""

    __test__ = False

    @abstractmethod
    def shared(self) -> Servers:
        """Servers for all tests; our topics exist, other tests' records may be on them."""

    @abstractmethod
    @contextmanager
    def fresh(self, folder: Path) -> Iterator[Servers]:
        """Servers for one test: our topics exist and are empty, our ClickHouse database is not there."""


class Embedded(TestServers):
    """The embedded parts: one of each for all tests, and for a fresh stack a Kafka of its own.

    A Kafka is started on a copy of a folder in which our topics exist already and are empty: to prepare the
    folder and to create them takes longer than to start.
    """

    def __init__(self, folder: Path, resources: ExitStack, progress: Callable[[str], None]) -> None:
        self._folder = folder
        self._resources = resources
        self._progress = progress
        self._kafka: EmbeddedKafka | None = None
        self._clickhouse: EmbeddedClickHouse | None = None

    def shared(self) -> Servers:
        if self._kafka is None:
            self._kafka = self._with_topics(self._folder / "kafka")
            self._resources.enter_context(self._kafka)
        return Servers(self._kafka.bootstrap, self._shared_clickhouse())

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[Servers]:
        drop_database(self._shared_clickhouse())
        with self._with_topics(folder / "kafka") as kafka:
            yield Servers(kafka.bootstrap, self._shared_clickhouse())
            kafka.kill()  # nobody will read what a clean stop would write

    def _with_topics(self, folder: Path) -> EmbeddedKafka:
        """A Kafka that is not started yet, over a folder with our topics in it."""
        model = self._folder / "kafka-with-topics"
        if not model.exists():
            train(self._progress)  # pays for itself within a dozen starts
            draft = EmbeddedKafka(model.with_suffix(".new"), progress=self._progress, jvm_flags=SHORT_LIVED)
            with draft:
                create_topics(draft.bootstrap)
            (draft.data / "ports.json").unlink()  # each copy chooses its own
            draft.data.rename(model)
        shutil.copytree(model, folder)
        return EmbeddedKafka(folder, progress=self._progress, jvm_flags=SHORT_LIVED)

    def _shared_clickhouse(self) -> str:
        if self._clickhouse is None:
            self._clickhouse = EmbeddedClickHouse(self._folder / "clickhouse")
            self._resources.enter_context(self._clickhouse)
        return self._clickhouse.url


class Existing(TestServers):
    """Servers that somebody else runs; a fresh stack deletes and recreates what is ours on them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def shared(self) -> Servers:
        create_topics(self._servers.kafka_bootstrap)
        return self._servers

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[Servers]:
        del folder
        asyncio.run(delete_topics(self._servers.kafka_bootstrap))
        drop_database(self._servers.clickhouse_url)
        create_topics(self._servers.kafka_bootstrap)
        yield self._servers


def test_servers(
    choice: Choice, folder: Path, resources: ExitStack, progress: Callable[[str], None]
) -> TestServers:
    """The servers of the choice; containers are started now, embedded parts when first used."""
    if choice.missing:
        pytest.skip(choice.missing)
    if choice.kind == "named":
        return Existing(Servers(os.environ[KAFKA_ENV], os.environ[CLICKHOUSE_ENV]))
    if choice.kind == "containers":
        return Existing(_containers(resources))
    return Embedded(folder, resources, progress)


test_servers.__test__ = False  # type: ignore[attr-defined] # pytest: a function of ours, not a test


def create_topics(bootstrap: str) -> None:
    """Create our topics where they are missing."""
    asyncio.run(apply_topics(bootstrap, int(os.environ.get("OPTIN_PARTITIONS", PARTITIONS)), 1))


def drop_database(url: str) -> None:
    """Drop our ClickHouse database, if it is there."""
    from connectors.clickhouse.client import connect

    with connect(url, create=True) as client:
        client.command(f"DROP DATABASE {client.database} SYNC")


def _containers(resources: ExitStack) -> Servers:
    from testcontainers.community.clickhouse import ClickHouseContainer
    from testcontainers.community.kafka import KafkaContainer

    kafka: Any = KafkaContainer(KAFKA_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "3000",
    }.items():
        kafka.with_env(name, value)
    clickhouse: Any = ClickHouseContainer(
        CLICKHOUSE_IMAGE, username="optin", password="optin", dbname=DATABASE
    )
    resources.enter_context(kafka)
    resources.enter_context(clickhouse)
    address = f"{clickhouse.get_container_host_ip()}:{clickhouse.get_exposed_port(8123)}"
    return Servers(kafka.get_bootstrap_server(), f"http://optin:optin@{address}/{DATABASE}")
