"""Filters of Liquid that count their work: each value is measured, and a text has one budget for all calls.

The count follows from the template and its values alone, so that a replay refuses what the first run refused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from connectors.rules.dates import date
from connectors.rules.money import money

FILTERS: Final = frozenset(
    {
        *("abs", "append", "at_least", "at_most", "base64_decode", "base64_encode", "base64_url_safe_decode"),
        *("base64_url_safe_encode", "capitalize", "ceil", "compact", "concat", "date", "default"),
        *("divided_by", "downcase", "escape", "escape_once", "find", "find_index", "first", "floor", "has"),
        *("join", "last", "lstrip", "map", "minus", "modulo", "money", "newline_to_br", "plus", "prepend"),
        *("reject", "remove", "remove_first", "remove_last", "replace", "replace_first", "replace_last"),
        *("reverse", "round", "rstrip", "size", "slice", "sort", "sort_natural", "split", "squish", "strip"),
        *("strip_html", "strip_newlines", "sum", "times", "truncate", "truncatewords", "uniq", "upcase"),
        *("url_decode", "url_encode", "where"),
    }
)
"""What a text may use: each gives the same for the same values on any machine, and its work is counted. A new
release of the library adds none by itself."""
WORK_MAX: Final = 200_000
"""Units of work of one text: a filter's call costs the size of its values and of its result."""
SIZE_MAX: Final = 8_192
"""Characters or entries that one value may have on its way through filters."""
NUMBER_MAX: Final = 10**18
_DEPTH_MAX: Final = 8

_spent: ContextVar[int] = ContextVar("spent", default=0)


class TooMuch(Exception):  # noqa: N818 - named for what was met
    """A value, or all work of a text, is past its bound."""


def begin() -> None:
    """Start the count of one text."""
    _spent.set(0)


def spent() -> int:
    """The units of work of the text that began last."""
    return _spent.get()


V = TypeVar("V")


def measured(value: V) -> V:
    """The value, whose size counts as work. Raises TooMuch past a bound."""
    _spend(_size(value))
    return value


def bounded(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """These filters with their work counted, and our own beside them."""
    ours: Mapping[str, Callable[..., Any]] = {"date": date, "money": money}
    return {name: _counted(one) for name, one in {**filters, **ours}.items() if name in FILTERS}


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
    total = _spent.get() + units
    if total > WORK_MAX:
        raise TooMuch  # before it is done
    _spent.set(total)


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
