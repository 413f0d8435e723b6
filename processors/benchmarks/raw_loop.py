"""The same fold in a plain loop on librdkafka: what the job costs without any framework.

`python -m processors.benchmarks.raw_loop CHANGELOG EVENTS [unchecked]`: consume a batch, decode, check,
fold, encode each changed row once, produce rows and a position for each partition, wait for all
acknowledgements, commit. At least once, and not safe: nothing fences a second owner, nothing watches,
nothing recovers. `unchecked` leaves out the ledger's admission, which a real consumer can't.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Final

import msgspec

from connectors import codec
from connectors.errors import InvariantBroken
from ledger import subject
from ledger.admission import rejection
from ledger.consent_fold import take_in
from ledger.facts import SubjectFact
from ledger.subject import NEW, Subject
from processors.benchmarks.clock_line import BEGUN, DONE, say
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.stack import KAFKA_ENV
from processors.topic_names import PERMISSIONS

BATCH: Final = 10_000
WAIT_S: Final = 0.5
FLUSH_S: Final = 60.0
GROUP: Final = "optin.bench-raw"

CONSUMER: Final = {
    "group.id": GROUP,
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "check.crcs": False,
    "fetch.wait.max.ms": 100,
}
PRODUCER: Final = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "batch.size": 900_000,
    "queue.buffering.max.messages": 1_000_000,
}


class Loop:
    """State and clients of the loop."""

    def __init__(self, bootstrap: str, changelog: str, *, checked: bool) -> None:
        from confluent_kafka import Consumer, Producer

        self._changelog = changelog
        self._checked = checked
        self._rows: dict[bytes, Subject] = {}
        self._following: dict[int, int] = {}
        self._consumer: Any = Consumer({"bootstrap.servers": bootstrap, **CONSUMER})
        self._producer: Any = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
        self._failed: list[object] = []

    def start(self) -> None:
        """Join the group; says so when partitions are assigned, before the first fetch."""
        begun = threading.Event()

        def assigned(consumer: Any, partitions: Any) -> None:  # noqa: ARG001 - librdkafka's signature
            if partitions and not begun.is_set():
                begun.set()
                say(BEGUN)

        self._consumer.subscribe([PERMISSIONS], on_assign=assigned)

    def step(self) -> int:
        """Take one batch through; how many records it had."""
        messages = self._consumer.consume(BATCH, WAIT_S)
        changed: dict[int, dict[bytes, Subject]] = {}
        rows = self._rows
        for message in messages:
            if message.error() is not None:
                raise InvariantBroken(f"the broker refused a fetch: {message.error()}")
            key, partition = message.key(), message.partition()
            self._following[partition] = message.offset() + 1
            fact = codec.decode(message.value())
            appended_ms = message.timestamp()[1]
            assert isinstance(fact, SubjectFact)
            if self._checked and rejection(fact, key, appended_ms) is not None:
                continue
            row = rows.get(key, NEW)
            consent = take_in(row.consent, fact, appended_ms, message.offset())
            if consent is not row.consent:
                row = rows[key] = msgspec.structs.replace(row, consent=consent)
                changed.setdefault(partition, {})[key] = row
        if messages:
            self._write(changed)
        return len(messages)

    def _write(self, changed: dict[int, dict[bytes, Subject]]) -> None:
        for partition, rows in changed.items():
            records = [{"key": key, "value": subject.encode(row)} for key, row in rows.items()]
            place = positions.encode(Position(next={PERMISSIONS: self._following[partition]}))
            records.append({"key": POSITION_KEY, "value": place})
            queued = self._producer.produce_batch(self._changelog, records, partition)
            if queued != len(records):
                raise InvariantBroken(f"only {queued} of {len(records)} records were taken")
        if self._producer.flush(FLUSH_S):
            raise InvariantBroken("the broker did not acknowledge in time")
        self._consumer.commit(asynchronous=True)


def main(argv: list[str]) -> None:
    """Fold `EVENTS` facts, say so, and wait for the signal to stop (memory is looked at meanwhile)."""
    changelog, events, *flags = argv
    loop = Loop(os.environ[KAFKA_ENV], changelog, checked="unchecked" not in flags)
    loop.start()
    folded = 0
    while folded < int(events):
        folded += loop.step()
    say(DONE)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
