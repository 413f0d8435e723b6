"""Log lines of a worker: one format, and no floods when a server is away."""

from __future__ import annotations

import logging
import time
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LIBRARIES: Final = ("aiokafka", "faust", "mode")
"""Their information is noise to an operator, their warnings are not."""
QUIET_S: Final = 5.0
"""Of a library's lines with the same template, at most one is written in this time."""


class Repetitions(logging.Filter):
    """Lets one line of each template through in `QUIET_S`; the next one tells how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, object], float] = {}
        self._left_out: dict[tuple[str, object], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written. Templates are few, so what is remembered is bounded by the code."""
        if not record.name.startswith(LIBRARIES):
            return True
        template = (record.name, record.msg if isinstance(record.msg, str) else type(record.msg))
        now = time.monotonic()
        if now - self._said_at.get(template, -QUIET_S) < QUIET_S:
            self._left_out[template] = self._left_out.get(template, 0) + 1
            return False
        self._said_at[template] = now
        left_out = self._left_out.pop(template, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this)"
            record.args = ()
        return True


def set_up(level: str) -> None:
    """Write log lines of `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(Repetitions())
    logging.basicConfig(level=level.upper(), format=FORMAT, handlers=[handler], force=True)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
