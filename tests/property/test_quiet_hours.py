"""Quiet hours around every change of every zone's clock in a year, against a search minute by minute.

The long form checks all zones; the short one every tenth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from ledger.time_zones import MINUTE_MS, next_open, next_quiet
from tests.support.given import DAY, HOUR, ZONES

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
YEAR = 2026
NAMES = sorted(ZONES.zones)[:: 1 if LONG else 10]
HOURS = [(22 * 60, 8 * 60), (0, 3 * 60), (2 * 60, 2 * 60 + 30), (60, 60), (3 * 60, 2 * 60)]
AROUND = [-3 * HOUR, -HOUR, -30 * MINUTE_MS, -MINUTE_MS, 0, MINUTE_MS, 45 * MINUTE_MS, 2 * HOUR]
EXAMPLES_MIN = 1_000


def offset(zone: tzinfo, at: int) -> timedelta:
    """UTC offset by the standard library."""
    found = datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found


def transitions(zone: tzinfo) -> Iterator[int]:
    """Instants (ms, on whole minutes) of the year at which the offset changes."""
    start = int(datetime(YEAR, 1, 1, tzinfo=UTC).timestamp()) * 1000
    end = int(datetime(YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) * 1000
    for low in range(start, end, 3 * HOUR):
        if offset(zone, low) != offset(zone, low + 3 * HOUR):
            yield next(
                at
                for at in range(low, low + 3 * HOUR + 1, MINUTE_MS)
                if offset(zone, at) != offset(zone, low)
            )


def quiet(zone: tzinfo, at: int, start: int, end: int) -> bool:
    """Whether the wall clock of the zone shows a quiet minute."""
    local = datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone)
    minute = local.hour * 60 + local.minute
    return start <= minute < end if start <= end else minute >= start or minute < end


def opened(zone: tzinfo, now: int, start: int, end: int) -> int:
    """The first open instant, looked for minute by minute."""
    at = now
    while quiet(zone, at, start, end):
        at = at - at % MINUTE_MS + MINUTE_MS
        assert at - now <= 2 * DAY
    return at


def closed(zone: tzinfo, now: int, limit: int, start: int, end: int) -> int:
    """The first quiet instant after an open one, looked for minute by minute."""
    at = now
    while at < limit and not quiet(zone, at, start, end):
        at = min(at - at % MINUTE_MS + MINUTE_MS, limit)
    return at


@pytest.mark.timeout(900)
def test_quiet_hours_are_right_at_every_change_of_every_zones_clock() -> None:
    """Before, at and after each change the hold ends at the first minute that is not quiet."""
    examples = 0
    for name in NAMES:
        zone = ZONES.zones[name]
        for change in [*transitions(zone)] or [int(datetime(YEAR, 6, 1, tzinfo=UTC).timestamp()) * 1000]:
            for start, end in HOURS:
                for delta in AROUND:
                    now = change + delta
                    assert next_open(now, start, end, [zone]) == opened(zone, now, start, end), (
                        f"{name} at {now}, quiet from minute {start} to {end}"
                    )
                    limit = now + 6 * HOUR
                    if start != end and not quiet(zone, now, start, end):
                        assert next_quiet(now, limit, start, end, [zone]) == closed(
                            zone, now, limit, start, end
                        )
                    examples += 1
    assert examples >= EXAMPLES_MIN


def test_a_quiet_minute_of_several_zones_ends_when_the_last_one_opens() -> None:
    """The common open time is the first minute at which nobody plausible sleeps."""
    names = ["America/New_York", "America/Los_Angeles", "America/Anchorage"]
    zones = [ZONES.zones[name] for name in names]
    for change in transitions(zones[0]):
        now = change - 2 * HOUR
        wanted = next(
            at
            for at in range(now, now + DAY, MINUTE_MS)
            if not any(quiet(zone, at, 22 * 60, 8 * 60) for zone in zones)
        )

        assert next_open(now, 22 * 60, 8 * 60, zones) == wanted
