"""Runs a program on some cores: `python -m processors.benchmarks.pinned CORES PROGRAM ARGUMENT...`.

CORES are numbers joined by commas. The program takes this process over (same pid), so that every thread it
starts is on these cores from the first.
"""

from __future__ import annotations

import os
import sys


def main(argv: list[str]) -> None:
    """Choose the cores and become `argv[1:]`; never returns."""
    os.sched_setaffinity(0, [int(core) for core in argv[0].split(",")])
    os.execv(argv[1], argv[1:])  # noqa: S606 - the caller chose the program, no shell on purpose


if __name__ == "__main__":
    main(sys.argv[1:])
