"""Log lines of one kind with a bound: the first few of a minute are written, the others counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

LINES_PER_MINUTE: Final = 5
MINUTE_S: Final = 60.0


class SparseLog:
    """Writes at most `LINES_PER_MINUTE` lines a minute, and how many of the minute before were left out."""

    def __init__(
        self, log: logging.Logger, level: int, text: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._level = level
        self._text = text
        self._clock = clock
        self._since = clock()
        self._lines = 0
        self._left_out = 0

    def write(self, *args: Any) -> None:
        """Log one line with these arguments of the text, if there is room for it."""
        now = self._clock()
        if now - self._since >= MINUTE_S:
            if self._left_out:
                self._log.log(self._level, "%d more lines like the last one were left out", self._left_out)
            self._since, self._lines, self._left_out = now, 0, 0
        if self._lines < LINES_PER_MINUTE:
            self._lines += 1
            self._log.log(self._level, self._text, *args)
        else:
            self._left_out += 1
