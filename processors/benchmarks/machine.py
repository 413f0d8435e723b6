"""What the kernel tells about this machine and about a process: cores, CPU time, memory."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
GIT_S_MAX: Final = 10
UTIME: Final = 11
STIME: Final = 12
"""Places in `/proc/PID/stat`, counted behind the command's name."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the worker under measurement has, and which everything else. Equal where there is one."""

    worker: frozenset[int]
    servers: frozenset[int]

    @classmethod
    def here(cls) -> Cores:
        """The first core that this process may use is the worker's."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(rest) or frozenset({first}))

    @property
    def all(self) -> frozenset[int]:
        """Every core of the two."""
        return self.worker | self.servers


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process so far (s), to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[UTIME]) + int(fields[STIME])) / TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def rss_mb(pid: int) -> int:
    """Resident memory of a process now (10^6 bytes)."""
    return round(rss_bytes(pid) / 1e6)


def describe() -> dict[str, Any]:
    """The machine as a result tells it. `load_1m` above 1 before a run means that figures are noisy."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """The commit of this checkout, with `-dirty` if files differ from it; empty outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=10", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(  # noqa: S603 - fixed words, no shell
            command, capture_output=True, text=True, timeout=GIT_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
