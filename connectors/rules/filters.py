"""Filters of Liquid that count their work: each value is measured, and a text has one budget for all calls.

The count follows from the template and its values alone, so that a replay refuses what the first run refused.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

WORK_MAX: Final = 200_000
"""Units of work of one text: a filter's call costs the size of its values and of its result."""
SIZE_MAX: Final = 8_192
"""Characters or entries that one value may have on its way through filters."""
NUMBER_MAX: Final = 10**18
_DEPTH_MAX: Final = 8
_CONVERSION: Final = re.compile(r"%-?[aAbBdeFHIjmMpSTuVGyY%]")
_MILLISECONDS_FROM: Final = 100_000_000_000
"""A number from here on is an instant in milliseconds, below in seconds (of before the year 5138)."""

_spent: ContextVar[int] = ContextVar("spent", default=0)
_now: ContextVar[int] = ContextVar("now", default=0)


class TooMuch(Exception):  # noqa: N818 - named for what was met
    """A value, or all work of a text, is past its bound."""


def begin(now: int) -> None:
    """Start the count of one text; `now` (ms) is the instant of its decision."""
    _spent.set(0)
    _now.set(now)


def spent() -> int:
    """The units of work of the text that began last."""
    return _spent.get()


def bounded(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """These filters with their work counted, and `date` without a clock or a zone of the machine."""
    return {name: _counted(one) for name, one in {**filters, "date": date}.items()}


def date(value: object, form: object = "%Y-%m-%d") -> str:
    """An instant in UTC: `now`, `today`, milliseconds or seconds since 1970, or a text of ISO 8601."""
    written = str(form)
    if "%" in _CONVERSION.sub("", written):
        raise ValueError(written)
    return _instant(value).strftime(written)


def _instant(value: object) -> dt.datetime:
    if value in {"now", "today"}:
        return _at(_now.get())
    if isinstance(value, str) and not re.fullmatch(r"-?\d{1,17}", value):
        found = dt.datetime.fromisoformat(value)
        return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)
    number = int(value) if isinstance(value, str | int | float) else None
    if number is None or isinstance(value, bool):
        raise ValueError(value)
    return _at(number if abs(number) >= _MILLISECONDS_FROM else number * 1000)


def _at(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)


def _counted(one: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(one)
    def counted(*values: Any, **named: Any) -> Any:
        # What Liquid itself passes (its context and environment) is no value of the text.
        given = [value for name, value in named.items() if name not in {"context", "environment"}]
        cost = 1 + sum(_size(value) for value in (*values, *given))
        if one.__name__.startswith("replace") and len(values) > 2:  # noqa: PLR2004 - left, old, new
            cost = 1 + (_size(values[0]) + 1) * (_size(values[2]) + 1)
        if one.__name__ == "join":
            cost = 1 + _size(values[0]) * (1 + sum(_size(value) for value in values[1:]))
        _spend(cost)
        result = one(*values, **named)
        _spend(_size(result))
        return result

    return counted


def _spend(units: int) -> None:
    _spent.set(_spent.get() + units)
    if _spent.get() > WORK_MAX:
        raise TooMuch


def _size(value: Any, depth: int = 0) -> int:
    """Characters and entries of a value, itself within bounds. Raises TooMuch past them."""
    # An undefined value raises when it is asked for its class, also where a `default` stands in for it.
    kind, size = type(value), 1
    if issubclass(kind, str | bytes | range):
        size = len(value)
    elif issubclass(kind, bool):
        pass
    elif issubclass(kind, int | float):
        if not math.isfinite(value) or abs(value) > NUMBER_MAX:
            raise TooMuch
    elif issubclass(kind, list | tuple):
        if depth >= _DEPTH_MAX or len(value) > SIZE_MAX:
            raise TooMuch
        size = len(value) + sum(_size(entry, depth + 1) for entry in value)
    elif issubclass(kind, dict):
        if depth >= _DEPTH_MAX or len(value) > SIZE_MAX:
            raise TooMuch
        size = len(value) + sum(_size(entry, depth + 1) for entry in value.values())
    if size > SIZE_MAX:
        raise TooMuch
    return size
