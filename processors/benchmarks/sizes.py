"""How much each measurement does: in full, and in the quick form that only shows that it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and durations of one run. `rounds`: how often the contest is held; its median counts."""

    events: int = 400_000
    subjects: int = 100_000
    stock_events: int = 40_000
    rounds: int = 3
    few_subjects: int = 10_000
    many_subjects: int = 1_000_000
    recovery_records: int = 1_000_000
    recovery_keys: int = 500_000
    rows: int = 500_000
    latency_events: int = 600
    latency_events_s: int = 20
    timers: int = 1_000_000
    revocation_facts_s: int = 5_000
    revocation_phase_s: int = 30
    """How long the load lasts before the kill, and again from the kill on."""

    watchers: int = 1_000_000
    watch_quiet_s: int = 20
    """How long others are looked at before the item's news."""
    watch_others_s: int = 50
    campaign_subjects: int = 300_000
    """Three launches over them: a million would take half an hour."""


FULL: Final = Sizes()
QUICK: Final = Sizes(
    events=4_000,
    subjects=500,
    stock_events=1_000,
    rounds=1,
    few_subjects=100,
    many_subjects=1_000,
    recovery_records=4_000,
    recovery_keys=2_000,
    rows=2_000,
    latency_events=20,
    timers=2_000,
    revocation_facts_s=500,
    revocation_phase_s=12,
    watchers=2_500,
    watch_quiet_s=2,
    campaign_subjects=2_000,
)
