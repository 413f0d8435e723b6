"""The long form: `python -m tests.chaos`, on one Kafka node and then on three.

CHAOS_SEED repeats a plan; CHAOS_FAULTS, CHAOS_MINUTES and CHAOS_RATE (facts a second) change its size.
CHAOS_FOLDER keeps logs and journals. Exits with 1 when a promise was broken or the run proves nothing.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.judge import Finding
from tests.chaos.plan import scaled
from tests.chaos.report import lines
from tests.chaos.run import run

LEGS: Final = {
    1: {
        "kill": 9,
        "kill_open": 2,
        "kill_role": 1,
        "freeze": 2,
        "freeze_and_kill": 1,
        "freeze_at": 6,
        "broker_kill": 4,
        "broker_freeze": 1,
        "clickhouse_kill": 1,
    },
    3: {
        "kill": 7,
        "kill_open": 2,
        "kill_role": 1,
        "freeze": 1,
        "freeze_and_kill": 1,
        "freeze_at": 5,
        "leader_kill": 6,
        "broker_kill": 2,
        "broker_freeze": 3,
        "clickhouse_kill": 1,
    },
}
"""Faults of each kind, by the number of Kafka nodes."""
FAULTS: Final = sum(sum(counts.values()) for counts in LEGS.values())
MINUTES: Final = 28.0
RATE: Final = 200.0
HITS: Final = 10
"""Of all faults so many must be kills that hit unfinished chunks; proportionally fewer in a shorter run."""


def main() -> int:
    """Run on one node and on three, print both reports, and judge both together."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time())
    asked = int(os.environ.get("CHAOS_FAULTS") or FAULTS)
    minutes = float(os.environ.get("CHAOS_MINUTES") or MINUTES)
    rate = float(os.environ.get("CHAOS_RATE") or RATE)
    say(f"CHAOS_SEED={seed} CHAOS_FAULTS={asked} CHAOS_MINUTES={minutes:g} CHAOS_RATE={rate:g}")
    say(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    findings = []
    with tempfile.TemporaryDirectory(prefix="optin-chaos-") as folder:
        for nodes, counts in LEGS.items():
            finding = run(
                Path(os.environ.get("CHAOS_FOLDER") or folder) / f"nodes-{nodes}",
                name=f"{nodes} Kafka node{'s' if nodes > 1 else ''}",
                nodes=nodes,
                seed=seed + nodes,
                counts=scaled(counts, round(asked * sum(counts.values()) / FAULTS)),
                last_s=minutes * 60 / len(LEGS),
                rate=rate,
                hits_min=0,  # both together must have them
                progress=say,
            )
            say("\n".join(lines(finding)))
            findings.append(finding)
    return conclude(findings, max(1, round(HITS * asked / FAULTS)), seed)


def conclude(findings: Sequence[Finding], hits_min: int, seed: int) -> int:
    """Print the sum of all runs; the exit code."""
    faults = sum(finding.counts["faults"] for finding in findings)
    hits = sum(finding.counts["kills that hit unfinished chunks"] for finding in findings)
    broken = sum(len(finding.objections) for finding in findings)
    void = [reason for finding in findings for reason in finding.void]
    if hits < hits_min:
        void.append(f"{hits} kills hit unfinished chunks, {hits_min} must")
    say(f"{faults} faults, {hits} kills hit unfinished chunks, {broken} objections, CHAOS_SEED={seed}")
    for reason in void:
        say(f"VOID: {reason}")
    return 1 if broken or void else 0


def say(words: str) -> None:
    """Print at once, whoever reads."""
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
