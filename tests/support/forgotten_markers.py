"""A measurement of whether a released Kafka forgets the markers of acknowledged commits when it restarts.

`python -m tests.support.forgotten_markers VERSION [ROUNDS]`, from the root of the repository. Brokers talk to
each other over a listener behind a gate. It is shut when all records are flushed, then every transaction is
committed, and acknowledged; the only node is killed and started again with the gate open. Whoever keeps
markers writes all of them now.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from unittest import mock

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.kafka import jars
from connectors.kafka.embedded import EmbeddedKafka
from connectors.loopback import HOST
from tests.support.cluster import distinct_ports

TOPICS: Final = ("a", "b")
TRANSACTIONS: Final = 12
ANSWER_S: Final = 60.0
VISIBLE_S: Final = 20.0
"""What readers do not see so long after the restart is called lost; kept markers come in seconds."""
SKIPPED: Final = "likely deleted already and hence can be skipped"
"""What the coordinator logs, once a transaction, about partitions that it takes for deleted."""


@dataclass(frozen=True, slots=True)
class Round:
    """What became of one round's transactions, none of which was aborted and no topic deleted."""

    acknowledged: int
    skipped: int
    """How often the coordinator said that it leaves out markers."""
    lost: int
    """Acknowledged transactions that read_committed readers do not see whole."""


class Gate:
    """A way to a port of the loopback that can be shut; connections through a shut one end."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._listener = socket.create_server((HOST, port))

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.shut()
        for thread in self._threads[1:]:
            thread.join()
        for one in (self._listener, *self._connections):
            one.close()

    def shut(self) -> None:
        """Nothing passes any more."""
        self._open.clear()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """New connections pass."""
        self._open.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = self._connect() if self._open.is_set() else None
                if far is None:
                    near.close()
                    continue
                self._connections += [near, far]
                for source, sink in ((near, far), (far, near)):
                    passing = threading.Thread(target=self._pass_on, args=(source, sink), daemon=True)
                    passing.start()
                    self._threads.append(passing)

    def _connect(self) -> socket.socket | None:
        with contextlib.suppress(OSError):
            return socket.create_connection((HOST, self._target), 2)
        return None

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65_536)) and self._open.is_set():
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def one_round(folder: Path, transactions: int = TRANSACTIONS) -> Round:
    """Acknowledge commits whose markers are held back, kill the only node, start it, and read."""
    clients, controller, inside, gated = distinct_ports(4)
    kafka = EmbeddedKafka(
        folder,
        port=clients,
        controller_port=controller,
        jvm_flags=["-Dorg.slf4j.simpleLogger.defaultLogLevel=info"],
        more_settings={
            "listeners": f"PLAINTEXT://{HOST}:{clients},CONTROLLER://{HOST}:{controller},INSIDE://{HOST}:{inside}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{clients},INSIDE://{HOST}:{gated}",
            "inter.broker.listener.name": "INSIDE",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT",
        },
    )
    with Gate(gated, inside) as gate, kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        created = admin.create_topics([NewTopic(topic, transactions, 1) for topic in TOPICS])
        for topic in created.values():
            topic.result(ANSWER_S)
        with ThreadPoolExecutor(transactions) as threads:
            open_ = list(threads.map(lambda number: begun(kafka.bootstrap, number), range(transactions)))
            gate.shut()
            list(threads.map(lambda producer: producer.commit_transaction(ANSWER_S), open_))
        kafka.kill()
        gate.open()
        kafka.start()
        seen = visible(kafka.bootstrap, transactions)
        skipped = kafka.log.read_text(errors="replace").count(SKIPPED)
    whole = sum(all((topic, number) in seen for topic in TOPICS) for number in range(transactions))
    return Round(transactions, skipped, transactions - whole)


def begun(bootstrap: str, number: int) -> Producer:
    """A producer with an open transaction of one record on partition `number` of each topic, all flushed."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"t{number}",
            "transaction.timeout.ms": 60_000,
            "log_level": 0,
        }
    )
    producer.init_transactions(ANSWER_S)
    producer.begin_transaction()
    for topic in TOPICS:
        producer.produce(topic, b"%d" % number, partition=number)
    if producer.flush(ANSWER_S):
        raise TimeoutError("records were not acknowledged")
    return producer


def visible(bootstrap: str, partitions: int) -> set[tuple[str, int]]:
    """The partitions that show a record to a read_committed reader, when all do, or after `VISIBLE_S`."""
    reader = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "r", "isolation.level": "read_committed", "log_level": 0}
    )
    reader.assign([TopicPartition(topic, number, 0) for topic in TOPICS for number in range(partitions)])
    seen: set[tuple[str, int]] = set()
    deadline = time.monotonic() + VISIBLE_S
    try:
        while len(seen) < len(TOPICS) * partitions and time.monotonic() < deadline:
            record = reader.poll(0.3)
            if record is not None and record.error() is None:
                seen.add((str(record.topic()), int(record.partition() or 0)))
    finally:
        reader.close()
    return seen


@contextlib.contextmanager
def version(number: str) -> Iterator[None]:
    """Brokers that are started meanwhile are of this version."""
    with mock.patch.object(jars, "VERSION", number):
        yield


def main() -> None:
    """Print a line for each round."""
    number, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with version(number):
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                print(number, one_round(Path(folder)), flush=True)


if __name__ == "__main__":
    main()
