"""The wall clock, as every part of the shell reads it; the core is given its time."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Wall time in ms since 1970."""
    return time.time_ns() // 1_000_000
