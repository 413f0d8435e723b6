"""Stand-ins of providers: skipped with a reason where one can't be had, in a thread where no loop is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Final, TypeVar

import pytest

Part = TypeVar("Part")
START_S: Final = 10.0


class Unavailable(Exception):  # noqa: N818 - named for what was met
    """The part can't be had here; says why."""


@contextmanager
def or_skip(part: AbstractContextManager[Part]) -> Iterator[Part]:
    """The running part; skips the test when it can't be had."""
    try:
        running = part.__enter__()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        part.__exit__(None, None, None)


@contextmanager
def in_thread(part: AbstractAsyncContextManager[Part]) -> Iterator[Part]:
    """Run a part of an event loop in a thread of its own, for a test without a loop.

    Only plain values of it may be set or read from outside.
    """
    ready, over = threading.Event(), threading.Event()
    running: list[Part] = []

    async def serve() -> None:
        async with part as one:
            running.append(one)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name=type(part).__name__, daemon=True)
    thread.start()
    try:
        assert ready.wait(START_S), f"{part} did not start"
        yield running[0]
    finally:
        over.set()
        thread.join(START_S)
