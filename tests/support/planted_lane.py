"""A worker whose crash safety has a planted bug: `python -m tests.support.planted_lane BUG ROLE`.

Each bug is invisible until a worker dies in the wrong moment; faults as in `faulty_worker`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from tests.support import faulty_worker


def position_first() -> None:
    """The position moves in a transaction of its own, before the outputs and rows that belong to it."""
    from processors.lane.position import POSITION_KEY
    from processors.lane.writer import TransactionalWriter

    honest = TransactionalWriter.transact

    async def transact(self: Any, partition: int, writes: Any) -> None:
        for first in (True, False):
            part = {
                topic: [item for item in items if (item[0] == POSITION_KEY) is first]
                for topic, items in writes.items()
            }
            await honest(self, partition, {topic: items for topic, items in part.items() if items})

    TransactionalWriter.transact = transact  # type: ignore[method-assign]


def forgotten_timers() -> None:
    """Timers are not made anew from the rows that were read back."""
    from processors.lane.table import LaneTable

    def rebuild_timers(self: Any, partition: int) -> None:
        del self, partition

    LaneTable.rebuild_timers = rebuild_timers  # type: ignore[method-assign]


def unawaited_append() -> None:
    """A misplaced fact is passed before its copy is acknowledged."""
    from connectors.kafka.append import Appender

    honest, tasks = Appender.append, set()

    async def append(self: Any, *record: Any) -> None:
        tasks.add(asyncio.create_task(honest(self, *record)))

    Appender.append = append  # type: ignore[method-assign, assignment]


def forgotten_attempt() -> None:
    """An attempt leaves no row, so nobody knows of it once its worker is gone."""
    from processors.agents.reach_rows import Attempt
    from processors.lane.transaction import Transaction

    honest = Transaction.put

    def put(self: Any, key: bytes, row: Any) -> None:
        if not isinstance(row, Attempt):
            honest(self, key, row)

    Transaction.put = put  # type: ignore[method-assign]


def second_send() -> None:
    """An attempt without an outcome is handed over once more."""
    from connectors.push.port import Push
    from processors.agents.push_sender import PushSenderHandler

    honest = PushSenderHandler.fire

    def fire(self: Any, _: bytes, row: Any, transaction: Any) -> None:
        push = Push(row.push_id, row.app, "console", "again", "", "")
        sending = self._hand_over._sender.send([push])
        try:
            sending.send(None)
        except StopIteration:
            honest(self, _, row, transaction)

    PushSenderHandler.fire = fire  # type: ignore[method-assign]


def early_finish() -> None:
    """A chunk counts as done before its rows are in ClickHouse."""
    from processors.agents.metrics_streamer import MetricsStreamer

    honest = MetricsStreamer.feed

    async def feed(self: Any, message: Any) -> None:
        self._app.consumer.finish(message)
        await honest(self, message)

    MetricsStreamer.feed = feed  # type: ignore[method-assign]


BUGS: Final[dict[str, Callable[[], None]]] = {
    bug.__name__: bug
    for bug in (
        position_first,
        forgotten_timers,
        unawaited_append,
        forgotten_attempt,
        second_send,
        early_finish,
    )
}

if __name__ == "__main__":
    faulty_worker.install_from_environment()
    BUGS[sys.argv[1]]()
    faulty_worker.run(sys.argv[2])
