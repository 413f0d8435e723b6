"""Keeps the parts of a stack running: starts them in order, starts dead ones again, ends them all.

While there is no room on the disk all parts rest, stopped cleanly and in order; with room they go on.

One thread does all of it, and the kernel ties each child to that thread: it ends when the stack is
stopped, and with the process that holds it, however that one dies. Knows nothing of what the parts
are; `stack.py` does.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from connectors import child
from connectors.errors import InvariantBroken, Misconfigured, OptinError

log = logging.getLogger(__name__)

OUT_OF_ROOM: Final = "out of room"
LOOK_S: Final = 0.1
"""How often the parts are looked at."""
BACKOFF_S: Final = 0.2
"""The wait before the first restart; doubles with each death in a row, up to `BACKOFF_S_MAX`."""
BACKOFF_S_MAX: Final = 10.0
STEADY_S: Final = 20.0
"""A part that ran so long has come up; its next death is the first in a row."""
DEATHS_MAX: Final = 5
"""More deaths in a row than this are a failure that `check` raises; restarts go on."""
LAST_LINES: Final = 20
WORKER_STOP_S: Final = 20.0
"""How long a worker may take to finish its chunk after SIGTERM."""


class Part(Protocol):
    """What is supervised. All methods are called from one thread."""

    @property
    def pid(self) -> int | None:
        """The process, None if it does not run."""

    @property
    def log(self) -> Path:
        """Where its last words are."""

    def start(self) -> object:
        """Start it, and wait until it is of use; raises an OptinError."""

    def stop(self) -> object:
        """End it, within a bound; idempotent."""


class PartFailed(Misconfigured):
    """A part of the stack ended again and again; the message carries its last log lines.

    Operator action: read the lines, mend what they name; the supervisor goes on trying.
    """


class Worker:
    """A role's process as a part: a command with its environment and its log.

    `fresh`: gives what is added to the environment of each start anew.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        pid_file: Path,
        fresh: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.log = log
        self._command = list(command)
        self._env = dict(env)
        self._fresh = fresh
        self._pid_file = pid_file
        self._process: child.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process, None if it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Start the process; whether it is of use shows later."""
        child.claim(self._pid_file, self._pid_file.stem)
        env = {**self._env, **self._fresh()}
        self._process = child.spawn(self._command, log=self.log, pid_file=self._pid_file, env=env)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once, so that several workers finish side by side."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process, within `WORKER_STOP_S` and a kill."""
        if self._process is not None:
            child.stop(self._process, WORKER_STOP_S)
            self._process = None
            self._pid_file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part does. `state`: running, restarting, failing (`DEATHS_MAX` is passed) or out of room."""

    name: str
    state: str
    pid: int | None
    restarts: int
    log: str


@dataclass(slots=True)
class _Watched:
    """A part with what the supervisor remembers of it; touched by the supervisor's thread only."""

    name: str
    part: Part
    started_s: float = 0.0
    deaths: int = 0
    restarts: int = 0
    again_at_s: float | None = None
    words: str = ""
    rests: bool = False
    """Whether it was stopped for lack of room."""

    def status(self) -> PartStatus:
        pid = self.part.pid
        down = "failing" if self.deaths > DEATHS_MAX else "restarting"
        state = "running" if pid is not None and self.again_at_s is None else down
        state = OUT_OF_ROOM if self.rests else state
        return PartStatus(self.name, state, pid, self.restarts, str(self.part.log))


@dataclass(slots=True)
class _Seen:
    """What other threads may read: replaced whole, never changed."""

    statuses: tuple[PartStatus, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Parts by name, in the order in which they were started.

    `changed` is called from the supervisor's thread after each change, with all statuses. `room` is asked at
    each look: what is full, in words, or None.
    """

    def __init__(
        self,
        changed: Callable[[Sequence[PartStatus]], None] = lambda _: None,
        room: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._changed = changed
        self._room = room
        self._full = ""
        self._watched: list[_Watched] = []
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._seen = _Seen()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, name: str, part: Part) -> None:
        """Start a part, and keep it running from now on; raises what its start raises."""

        def job() -> None:
            if full := self._room():
                raise Misconfigured(full)
            part.start()
            self._watched.append(_Watched(name, part, started_s=time.monotonic()))
            self._tell()

        self._do(job)

    def stop(self) -> None:
        """End all parts, the last started first, and the supervisor itself. Idempotent."""
        if self._thread.is_alive():
            self._do(self._stop_all)
            self._jobs.put(None)
            self._thread.join()

    def statuses(self) -> tuple[PartStatus, ...]:
        """How the parts did at the last change."""
        return self._seen.statuses

    def check(self) -> None:
        """Raise PartFailed for a part that died more than `DEATHS_MAX` times in a row, and for lack of room.

        Raises InvariantBroken if nobody supervises any more.
        """
        if not self._thread.is_alive():
            raise InvariantBroken("the supervisor has ended; its parts ended with it")
        if full := self._full:
            raise PartFailed(full)
        for name, words in self._seen.failures.items():
            raise PartFailed(f"{name} ended {DEATHS_MAX + 1} times in a row. Its last words:\n{words}")

    def _do(self, job: Callable[[], None]) -> None:
        """Run a job on the supervisor's thread; returns when it is done, raises what it raises."""
        if not self._thread.is_alive():
            raise InvariantBroken("the supervisor has ended; make a new one")
        done: Future[None] = Future()

        def run() -> None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                done.set_exception(error)
            else:
                done.set_result(None)

        self._jobs.put(run)
        done.result()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=LOOK_S)
            except queue.Empty:
                self._look()
                continue
            if job is None:
                return
            job()

    def _look(self) -> None:
        full = self._room()
        if full and not self._full:
            self._rest(full)
        elif not full and self._full:
            log.warning("there is room again: going on")
            self._full = ""
            for watched in self._watched:
                watched.rests, watched.again_at_s = False, time.monotonic()
        if not self._full:
            for watched in self._watched:
                self._look_at(watched)

    def _rest(self, full: str) -> None:
        """Stop all parts, the last started first, and keep them for when there is room."""
        log.critical("%s", full)
        self._full = full
        for watched in reversed(self._watched):
            if isinstance(watched.part, Worker):
                watched.part.ask_to_stop()
        for watched in reversed(self._watched):
            watched.part.stop()
            watched.rests, watched.words = True, full
        self._tell()

    def _look_at(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.again_at_s is None and watched.part.pid is None:
            watched.words = child.last_lines(watched.part.log, LAST_LINES)
            self._note_death(watched, now)
        elif watched.again_at_s is not None and now >= watched.again_at_s:
            self._start_again(watched)
        elif watched.deaths and watched.again_at_s is None and now - watched.started_s > STEADY_S:
            watched.deaths = 0
            self._tell()

    def _note_death(self, watched: _Watched, now: float) -> None:
        steady = now - watched.started_s > STEADY_S
        watched.deaths = 1 if steady else watched.deaths + 1
        watched.again_at_s = now + min(BACKOFF_S * 2 ** (watched.deaths - 1), BACKOFF_S_MAX)
        self._tell()

    def _start_again(self, watched: _Watched) -> None:
        watched.restarts += 1
        watched.part.stop()  # forgets the dead process
        try:
            watched.part.start()
        except (OptinError, OSError) as error:
            watched.words = str(error)
            self._note_death(watched, time.monotonic())
        else:
            watched.started_s = time.monotonic()
            watched.again_at_s = None
            self._tell()

    def _stop_all(self) -> None:
        for watched in reversed(self._watched):
            if isinstance(watched.part, Worker):
                watched.part.ask_to_stop()
        while self._watched:
            self._watched.pop().part.stop()
        self._tell()

    def _tell(self) -> None:
        statuses = tuple(watched.status() for watched in self._watched)
        self._seen = _Seen(
            statuses,
            {watched.name: watched.words for watched in self._watched if watched.deaths > DEATHS_MAX},
        )
        try:
            self._changed(statuses)
        except OSError as error:
            log.warning("how the parts do can't be written down: %s", error)
