"""A worker that is easy to hit at a bad moment: `python -m tests.support.disturbed_worker ROLE`.

It leaves each transaction open for a random moment before the commit, so that faults hit open ones; it
writes down what it is at, so that one can tell afterwards what a kill hit; and it stops itself (SIGSTOP) at
the crash point that it finds named in a file. What it does is otherwise the worker's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from tests.support.crash_points import POINTS
from tests.support.faulty_worker import _Finder

FOLDER_ENV: Final = "OPTIN_TEST_CHAOS_FOLDER"
"""Where the journals are, and the files that tell a worker where to stop."""
OPEN_MS_ENV: Final = "OPTIN_TEST_CHAOS_OPEN_MS"
"""The longest moment that a transaction stays open before its commit."""
DYNAMIC_ENV: Final = "OPTIN_TEST_CHAOS_DYNAMIC"
"""Instances, comma-separated, that join their group without a name, so that a kill moves partitions."""

BUG_ENV: Final = "OPTIN_TEST_CHAOS_BUG"
"""Bugs of `planted_worker` that the worker is to have."""

COMMIT: Final = "writer.transact.commit_transaction"
MID_CHUNK: Final = f"{COMMIT}@before"
"""Everything of a chunk is written, nothing is committed."""
AFTER_ATTEMPTS: Final = "beside.through.work@before"
"""Attempts are committed; whether the lease still runs is not yet looked at."""
AT_THE_SOCKET: Final = "hand_over.handed.send@before"
"""Attempts are committed and the lease was found to run; the push is not handed over."""
TRANSACTION: ContextVar[str] = ContextVar("TRANSACTION", default="-")
"""What the running task writes."""


def journal_file(folder: Path, instance: str) -> Path:
    """Where an instance writes what it is at: lines of `ms pid word detail`."""
    return folder / f"{instance}.journal"


def order_file(folder: Path, instance: str) -> Path:
    """The file that names the `point@side` at which the instance stops itself next."""
    return folder / f"{instance}.stop"


class Journal:
    """Lines in a file, each one write: a kill leaves whole lines."""

    def __init__(self, folder: Path, instance: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(journal_file(folder, instance), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.note("up", "-")

    def note(self, word: str, detail: str) -> None:
        """Write down one thing."""
        os.write(self._file, f"{time.time_ns() // 1_000_000} {os.getpid()} {word} {detail}\n".encode())


class Points:
    """What happens on either side of every await: usually nothing."""

    def __init__(self, journal: Journal, order: Path, open_ms: int) -> None:
        self._journal = journal
        self._order = order
        self._open_ms = open_ms

    async def __call__(self, point: str, side: str, value: Any = None) -> Any:
        """Called by the markers that `faulty_worker` puts in; gives `value` back."""
        if point == COMMIT and side == "before":
            self._journal.note("written", TRANSACTION.get())
            await asyncio.sleep(random.uniform(0, self._open_ms / 1000))
            self._journal.note("committing", TRANSACTION.get())
        if self._order.exists():
            self._stop_at(f"{point}@{side}")
        return value

    def _stop_at(self, here: str) -> None:
        try:
            if self._order.read_text() != here:
                return
            self._order.unlink()
        except FileNotFoundError:  # nobody wants it any more
            return
        self._journal.note("stopped", here)
        os.kill(os.getpid(), signal.SIGSTOP)


def note_work(journal: Journal) -> None:
    """Write down what the worker owns, what it has begun and not ended, and what it hands over."""
    from processors.agents.hand_over import HandOver
    from processors.agents.metrics_streamer import MetricsStreamer
    from processors.lane.writer import TransactionalWriter

    claim, release, transact = (
        TransactionalWriter.claim,
        TransactionalWriter.release,
        TransactionalWriter.transact,
    )
    hand_over, insert = HandOver._handed, MetricsStreamer._insert

    async def noted_claim(self: Any, partition: int) -> None:
        await claim(self, partition)
        journal.note("claim", f"{self._prefix}/{partition}")

    async def noted_release(self: Any, partition: int) -> None:
        journal.note("release", f"{self._prefix}/{partition}")
        await release(self, partition)

    async def noted_transact(self: Any, partition: int, writes: Any) -> None:
        TRANSACTION.set(f"{self._prefix}/{partition}")
        journal.note("begin", f"{self._prefix}/{partition}")
        await transact(self, partition, writes)
        journal.note("end", f"{self._prefix}/{partition}")

    async def noted_hand_over(self: Any, ready: Any) -> Any:
        # The lease is looked at in the same step as this, without an await between the two.
        journal.note("hand", ",".join(one.push.push_id for one in ready))
        return await hand_over(self, ready)

    async def noted_insert(self: Any, rows: Any) -> None:
        journal.note("begin", "insert/0")
        await insert(self, rows)
        journal.note("end", "insert/0")

    TransactionalWriter.claim = noted_claim  # type: ignore[method-assign]
    TransactionalWriter.release = noted_release  # type: ignore[method-assign]
    TransactionalWriter.transact = noted_transact  # type: ignore[method-assign]
    HandOver._handed = noted_hand_over  # type: ignore[method-assign]
    MetricsStreamer._insert = noted_insert  # type: ignore[method-assign]


def main(role: str) -> None:
    """Run a worker of the role, disturbed."""
    instance, folder = os.environ["OPTIN_INSTANCE"], Path(os.environ[FOLDER_ENV])
    journal = Journal(folder, instance)
    points = Points(journal, order_file(folder, instance), int(os.environ.get(OPEN_MS_ENV, "0")))
    sys.meta_path.insert(0, _Finder(points))  # type: ignore[arg-type] # called as its own Strikes are
    note_work(journal)
    if bugs := os.environ.get(BUG_ENV):
        from tests.support.planted_worker import plant

        plant(bugs)
    if instance in os.environ.get(DYNAMIC_ENV, "").split(","):
        del os.environ["OPTIN_INSTANCE"]
    from processors.cli import main as optin

    sys.argv = ["optin", "worker", role]
    optin()


if __name__ == "__main__":
    assert {point.partition("@")[0] for point in (MID_CHUNK, AFTER_ATTEMPTS, AT_THE_SOCKET)} <= POINTS.keys()
    main(sys.argv[1])
