"""How a contestant's own program tells when it began and when it was done: a line with clock and CPU time."""

from __future__ import annotations

import time
from typing import Final

from processors.benchmarks.arena import Moment

BEGUN: Final = "bench-begun"
DONE: Final = "bench-done"


def say(word: str) -> None:
    """Print the word with the monotonic clock and the CPU time of all threads of this process (s)."""
    print(word, repr(time.monotonic()), repr(time.process_time()), flush=True)  # noqa: T201 - its log


def heard(line: str) -> Moment:
    """The moment of a line that `say` printed."""
    _, at_s, cpu_s = line.split()
    return Moment(float(at_s), float(cpu_s))
