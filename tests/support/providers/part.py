"""Third-party stand-ins that may not be had on a machine: a test that needs one is skipped and says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest

Part = TypeVar("Part")


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
