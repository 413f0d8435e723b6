"""An event loop in which time is a number: sleeping costs nothing, and processes can die or freeze.

Every callback belongs to a process (a context variable that tasks inherit) or to none (the servers'). A
dead process's callbacks are dropped, as kill -9 does it: no `finally` runs. A frozen one's wait until it is
thawed, as SIGSTOP does it: its clock goes on meanwhile. Everything is deterministic: callbacks run in the
order of their time, those of the same time in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final


class Process:
    """What can be killed or frozen. `died` is called once, with the reason."""

    def __init__(self, name: str, died: Callable[[str], None] = lambda _: None) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self._died = died

    def kill(self, reason: str) -> None:
        """End it now; nothing of it ever runs again. No-op for a dead one."""
        if self.alive:
            self.alive = False
            self._died(reason)


PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)
"""The process that the running code belongs to; None: a server's."""

CALLBACKS_MAX: Final = 2_000_000
"""A simulation that needs more runs in circles."""


class RunsInCircles(RuntimeError):  # noqa: N818 - named for what it means
    """More than `CALLBACKS_MAX` callbacks ran."""


class Handle:
    """A callback that waits for its turn; asyncio's own handles do much more."""

    __slots__ = ("args", "callback", "context", "off", "process", "time")

    def __init__(
        self,
        time: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
        process: Process | None,
    ) -> None:
        self.time = time
        self.callback = callback
        self.args = args
        self.context = context
        self.process = process
        self.off = False

    def cancel(self) -> None:
        """It will not run."""
        self.off = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.off

    def when(self) -> float:
        """Its time (s)."""
        return self.time


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures, timeouts and locks need. No I/O, no threads."""

    def __init__(self) -> None:
        self._now = 0.0
        self._count = 0
        self._ready: deque[Handle] = deque()
        self._later: list[tuple[float, int, Handle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._servers = contextvars.copy_context()
        self._servers.run(PROCESS.set, None)
        self.ran = 0
        self.failures: list[str] = []
        """What callbacks of processes that were alive raised and nobody took."""

    # What asyncio asks of a loop.

    def time(self) -> float:
        """Virtual time in s."""
        return self._now

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whenever somebody can ask."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        """Run the callback in this turn."""
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(self._now, callback, args, context, context.get(PROCESS))
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run the callback after `delay` s."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run the callback at `when`."""
        if context is None:
            context = contextvars.copy_context()
        return self._put(Handle(when, callback, args, context, context.get(PROCESS)))

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """A task of this loop; it is kept, so that the collector never ends a dead process's coroutine."""
        task = asyncio.Task(coro, loop=self, **kwargs)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody took."""
        error = context.get("exception")
        if error is not None:
            self.failures.append(f"{context.get('message')}: {error!r}")

    # What the simulation asks of it.

    def spawn(self, process: Process | None, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that belongs to `process`, whoever calls."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, context=context)

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Run the callback after `delay` s as a server's, whoever calls."""
        self._put(Handle(self._now + delay, callback, args, self._servers, None))

    def run_until(self, task: asyncio.Task[Any]) -> Any:
        """Run until the task is done; returns its result. Raises `RunsInCircles`, or what it raised."""
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                self._turn()
        finally:
            asyncio._set_running_loop(None)
        return task.result()

    def close(self) -> None:
        """Let go of all tasks; what they left undone is of no interest."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                assert coroutine is not None
                with contextlib.suppress(BaseException):
                    coroutine.close()
        self._tasks.clear()
        self._ready.clear()
        self._later.clear()

    def _put(self, handle: Handle) -> Handle:
        self._count += 1
        heapq.heappush(self._later, (handle.time, self._count, handle))
        return handle

    def _turn(self) -> None:
        later, ready = self._later, self._ready
        if not ready:
            if not later:
                raise RuntimeError("everybody waits for somebody else")
            self._now = max(self._now, later[0][0])
        while later and later[0][0] <= self._now:
            ready.append(heapq.heappop(later)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.off:  # a cancelled one stays in its queue until its time comes
                continue
            process = handle.process
            if process is not None:
                if not process.alive:
                    continue
                if process.frozen_until > self._now:
                    handle.time = process.frozen_until
                    self._put(handle)
                    continue
            self.ran += 1
            try:
                handle.context.run(handle.callback, *handle.args)
            except Exception as error:  # noqa: BLE001 - as asyncio does it: noted, and the loop goes on
                self.failures.append(f"{handle.callback}: {error!r}")
        if self.ran > CALLBACKS_MAX:
            raise RunsInCircles(f"{self.ran:,} callbacks at {self._now:.3f} s")
