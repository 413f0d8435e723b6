"""The filter `date` writes an instant as the clock of the person shows it; no clock of a machine counts.

Who may be in several zones gets a date on which all of them agree, such as a year; where they differ,
the text is withheld as lacking `time_zone`, unless the template names the zone whose clock is meant.
"""

from __future__ import annotations

import datetime as dt
import re
from contextvars import ContextVar
from typing import Final

from connectors.time_zones import zone_table

FORM_LENGTH_MAX: Final = 200
_CONVERSION: Final = re.compile(r"%-?[aAbBdeFHIjmMpSTuVGyY%]")
_MILLISECONDS_FROM: Final = 100_000_000_000
"""A number from here on is an instant in milliseconds, below in seconds (of before the year 5138)."""
_ANYWHERE: Final = tuple(
    dt.timezone(dt.timedelta(minutes=minutes)) for minutes in (-12 * 60, 0, 5 * 60 + 30, 5 * 60 + 45, 14 * 60)
)
"""The first and the last clock of the world, and ones whose minutes differ."""
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)

_now: ContextVar[int] = ContextVar("now", default=0)
_zones: ContextVar[tuple[dt.tzinfo, ...]] = ContextVar("zones", default=(dt.UTC,))


class UnknownZone(Exception):  # noqa: N818 - named for what was met
    """The zones in which the person may be show different times."""


def begin(now: int, zones: tuple[dt.tzinfo, ...]) -> None:
    """What the dates of one text are of: its decision's instant (ms), and where the person may be."""
    _now.set(now)
    _zones.set(zones or _ANYWHERE)


def date(value: object, form: object = "%Y-%m-%d", zone: object = None) -> str:
    """Write `now`, milliseconds or seconds since 1970, or a text of ISO 8601 (UTC unless it says otherwise).

    Raises ValueError for what is none of these, and `UnknownZone`.
    """
    written = str(form)
    if odd_form(written) is not None:
        raise ValueError(written)
    at = _instant(value)
    if not isinstance(at, dt.datetime):
        return at.strftime(written)  # a day is the same day everywhere
    zones = _zones.get() if zone is None else (zone_table().zones[str(zone)],)
    shown = {at.astimezone(one).strftime(written) for one in zones}
    if len(shown) != 1:
        raise UnknownZone
    return shown.pop()


def odd_form(form: str) -> str | None:
    """The part of a date's form that is none which every machine writes alike, or None."""
    if len(form) > FORM_LENGTH_MAX:
        return f"one of {len(form)} characters"
    left = _CONVERSION.sub("", form)
    at = left.find("%")
    return None if at < 0 else left[at : at + 2]


def _instant(value: object) -> dt.datetime | dt.date:
    if value in {"now", "today"}:
        return _at(_now.get())
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,17}", value):
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return dt.date.fromisoformat(value)
        found = dt.datetime.fromisoformat(value)
        return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found
    number = int(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if number is None:
        raise ValueError(value)
    return _at(number if abs(number) >= _MILLISECONDS_FROM else number * 1000)


def _at(ms: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=ms)
