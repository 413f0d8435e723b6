"""The same fold on stock Faust: its own transport, its own table, one event at a time.

`python -m processors.benchmarks.stock_app CONFIGURATION TOPIC EVENTS`. As good as we know to make it
without touching Faust: keys and values are raw bytes, and rows are read and written by the core's own
codec, which costs little beside Faust's own work for an event.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, Final

import faust
import msgspec

from connectors import codec
from ledger import subject
from ledger.admission import rejection
from ledger.consent_fold import take_in
from ledger.facts import SubjectFact
from ledger.subject import NEW
from processors.benchmarks.arena import PARTITIONS
from processors.benchmarks.clock_line import BEGUN, DONE, say
from processors.stack import KAFKA_ENV

CONFIGURATIONS: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    # What Faust's settings reference offers for throughput, each found to help or not to hurt.
    "tuned": {
        "cython_optimizations": True,
        "stream_buffer_maxsize": 65_536,
        "stream_wait_empty": False,
        "broker_max_poll_records": 5_000,
        "producer_linger": 0.005,
        "producer_max_batch_size": 262_144,
    },
}
"""Two documented configurations; both acknowledge with acks=all, which is Faust's default."""


def app_id(configuration: str) -> str:
    """The name of the app, and with it of its group and its changelog."""
    return f"optin.bench-stock-{configuration}"


def changelog(configuration: str) -> str:
    """The topic that Faust keeps the table in."""
    return f"{app_id(configuration)}-subjects-changelog"


def stock_app(configuration: str, topic: str, events: int) -> Any:
    """The app; it says when its first event comes, and when `events` are folded and acknowledged."""
    app: Any = faust.App(
        app_id(configuration),
        broker=f"kafka://{os.environ[KAFKA_ENV]}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="optin-bench-stock-"),
        topic_partitions=PARTITIONS,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        **CONFIGURATIONS[configuration],
    )
    table = app.Table("subjects", key_type=bytes, value_type=bytes, partitions=PARTITIONS)

    @app.agent(app.topic(topic, key_type=bytes, value_type=bytes))  # type: ignore[untyped-decorator]
    async def project(stream: Any) -> None:
        count = 0
        async for event in stream.events():
            if not count:
                say(BEGUN)
            message = event.message
            fact = codec.decode(message.value)
            appended_ms = int(message.timestamp * 1000)
            assert isinstance(fact, SubjectFact)
            if rejection(fact, message.key, appended_ms) is None:
                stored = table.get(message.key)
                row = NEW if stored is None else subject.decode(stored)
                consent = take_in(row.consent, fact, appended_ms)
                if consent is not row.consent:
                    table[message.key] = subject.encode(msgspec.structs.replace(row, consent=consent))
            count += 1
            if count == events:
                while app.producer.buffer.size:
                    await app.producer.buffer.flush()
                await app.producer.flush()
                say(DONE)

    return app


def main(argv: list[str]) -> None:
    """Run one worker of the app until it is told to stop."""
    configuration, topic, events = argv
    app = stock_app(configuration, topic, int(events))
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
