"""Local time: plausible zones of a person, quiet hours, and calendar windows.

Zones come in as values (`ZoneTable`); this module only computes. All instants are milliseconds UTC.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
SEARCH_MS: Final = 2 * DAY_MS
"""A common open time that does not come within two days does not exist."""

_NO_PLACES: Final = frozenset(
    {
        *("UTC", "UCT", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich", "Universal", "Zulu", "Factory"),
        *("EST", "MST", "HST", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT", "CET", "MET", "EET", "WET"),
    }
)
"""Names in tzdata that say an offset, or a rule of several countries, and not where somebody is."""
_OFFSET: Final = re.compile(r"(UTC|GMT)[+-][0-9]{1,2}(:?[0-9]{2})?", re.ASCII)
"""What some systems say for a zone without a name. No place either, and nothing that tzdata knows."""
_NEAR: Final = 0.72
"""How alike a name must be to be offered (`difflib`): below, it misleads."""
_OTHER_COUNTRIES: Final = frozenset({"XK", "BV", "HM"})
"""Kosovo, which ISO 3166 leaves to its users, and countries that nobody lives in: they have no zones here."""
_MISSPELT: Final[Mapping[str, str]] = {"UK": "GB", "EL": "GR", "EN": "GB", "AN": "CW", "SU": "RU", "YU": "RS"}
"""Codes that are often written instead of the right one."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PROBE_MS: Final = 3 * HOUR_MS
"""Offsets are compared at this distance: no zone changes twice within three hours."""


@dataclasses.dataclass(frozen=True, slots=True)
class ZoneTable:
    """IANA zones by name, the zones of each country (ISO 3166 code), and the data's release."""

    zones: Mapping[str, tzinfo]
    countries: Mapping[str, tuple[str, ...]]
    release: str

    def plausible(
        self,
        time_zone: str | None,
        country: str | None,
        otherwise: Sequence[str],
        *,
        by_name_alone: bool = False,
    ) -> tuple[str, ...]:
        """Where a person may be: the known zone, else the country's zones, else the policy's list.

        A zone that is no place (`UTC`, as browsers say that hide where they are) does not outweigh a country.
        `by_name_alone`: the former rule, by which it did.
        """
        known = time_zone is not None and time_zone in self.zones
        here = () if country is None else self.countries.get(country.upper(), ())
        if time_zone is not None and known and (by_name_alone or not here or is_place(time_zone)):
            return (time_zone,)
        return here or tuple(name for name in otherwise if name in self.zones)

    def refusal(self, time_zone: str | None, country: str | None) -> tuple[str, str] | None:
        """Why a fact may not name these, as (reason, detail with the nearest name), or None."""
        if time_zone is not None and time_zone not in self.zones and not _OFFSET.fullmatch(time_zone):
            near = _nearest(time_zone, [*self.zones])
            return "unknown_time_zone", f"time_zone is no zone of tzdata {self.release}{near}"
        if country is not None and country.upper() not in self.countries.keys() | _OTHER_COUNTRIES:
            right = _MISSPELT.get(country.upper())
            near = _nearest(country.upper(), [*self.countries]) if right is None else f"; nearest: {right}"
            return "unknown_country", f"country is no code of ISO 3166{near}"
        return None


def is_place(time_zone: str) -> bool:
    """Whether a zone's name says where somebody is."""
    return time_zone not in _NO_PLACES and not time_zone.startswith(("Etc/", "SystemV/"))


def _nearest(name: str, names: Sequence[str]) -> str:
    """The nearest of `names` in words, whatever their capitals; empty if none is near."""
    spelt = {one.lower().rpartition("/")[2]: one for one in names} | {one.lower(): one for one in names}
    last = name.lower().rpartition("/")[2].replace(" ", "_")
    wanted = name.lower() if "/" in name else last
    near = difflib.get_close_matches(wanted, spelt, 1, _NEAR) or difflib.get_close_matches(
        last, spelt, 1, _NEAR
    )
    return f"; nearest: {spelt[near[0]]}" if near else ""


def local(at: int, zone: tzinfo) -> datetime:
    """The wall clock of `zone` at `at`."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)


def as_text(at: int) -> str:
    """An instant as people read it, to the second, in UTC."""
    return local(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def offset_ms(at: int, zone: tzinfo) -> int:
    """What to add to UTC to get the local time of `zone` at `at`."""
    offset = local(at, zone).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)


def is_quiet(at: int, start_minute: int, end_minute: int, zone: tzinfo) -> bool:
    """Whether the local minute lies in [start, end), which may span midnight; equal ends: never."""
    minute = (at + offset_ms(at, zone)) // MINUTE_MS % 1440
    if start_minute <= end_minute:
        return start_minute <= minute < end_minute
    return minute >= start_minute or minute < end_minute


def next_open(now: int, start_minute: int, end_minute: int, zones: Sequence[tzinfo]) -> int | None:
    """The first instant at or after `now` that is quiet in none of `zones`; None if there is none."""
    at = now
    while at - now <= SEARCH_MS:
        quiet = [zone for zone in zones if is_quiet(at, start_minute, end_minute, zone)]
        if not quiet:
            return at
        at = max(_quiet_end(at, start_minute, end_minute, zone) for zone in quiet)
    return None


def next_quiet(now: int, limit: int, start_minute: int, end_minute: int, zones: Sequence[tzinfo]) -> int:
    """The first instant after an open `now` that is quiet in any of `zones`, at most `limit`."""
    return min([limit, *(_quiet_start(now, limit, start_minute, end_minute, zone) for zone in zones)])


def _quiet_start(at: int, limit: int, start_minute: int, end_minute: int, zone: tzinfo) -> int:
    """The first quiet instant after an open `at`, clock changes on the way included; at most `limit`."""
    while at < limit and start_minute != end_minute:
        left = (start_minute * MINUTE_MS - (at + offset_ms(at, zone))) % DAY_MS
        change = _first_change(at, min(at + left, limit), zone)
        if change is None:
            return min(at + left, limit)
        if is_quiet(change, start_minute, end_minute, zone):
            return change
        at = change
    return limit


def _quiet_end(at: int, start_minute: int, end_minute: int, zone: tzinfo) -> int:
    """The first instant after a quiet `at` that is not quiet, clock changes on the way included."""
    while True:
        left = (end_minute * MINUTE_MS - (at + offset_ms(at, zone))) % DAY_MS
        change = _first_change(at, at + left, zone)
        if change is None:
            return at + left
        if not is_quiet(change, start_minute, end_minute, zone):
            return change
        at = change


def _first_change(start: int, end: int, zone: tzinfo) -> int | None:
    """The first instant in (start, end] at which the zone's offset differs from before, or None."""
    before = offset_ms(start, zone)
    low = start
    while low < end:
        high = min(low + _PROBE_MS, end)
        if offset_ms(high, zone) != before:
            while high - low > 1:
                middle = (low + high) // 2
                if offset_ms(middle, zone) == before:
                    low = middle
                else:
                    high = middle
            return high
        low = high
    return None


def calendar_key(at: int, unit: str, zone: tzinfo) -> tuple[int, int]:
    """Name the local day, ISO week or month of `at`: instants of one period have equal keys."""
    day = local(at, zone)
    if unit == "day":
        return day.year, day.timetuple().tm_yday
    if unit == "week":
        return day.isocalendar()[:2]
    return day.year, day.month


def next_time_of_day(now: int, minute: int, weekdays: Sequence[int], zone: tzinfo) -> int:
    """The first instant at or after `now` at which the clock of `zone` shows `minute` on one of `weekdays`.

    A time that a change of the clock leaves out counts as the instant at which it would have been.
    """
    today = local(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for days in range(9):
        day = today + timedelta(days=days, minutes=minute)
        if (today + timedelta(days=days)).weekday() not in weekdays:
            continue
        at = (day.replace(tzinfo=zone) - _EPOCH) // timedelta(milliseconds=1)
        if at >= now:
            return at
    return now
