"""Values that YAML has no words for: durations, times of day, facts, time zones, names and paths."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from connectors.rules.cel import LENGTH_MAX
from connectors.rules.variables import KINDS
from connectors.time_zones import zone_table
from ledger import facts as f
from processors.definitions.problem import Wrong, one_of, shown

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_LOOSE_CLOCK: Final = re.compile(r"(\d{1,2})[:.]([0-5]\d)")
DAY_MINUTES: Final = 24 * 60
FOREVER: Final = "forever"
PATH_PATTERN: Final = r"^[a-z_]{1,32}(\.[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$"
HOUR_MS: Final = 3_600_000
YEAR_MS: Final = 366 * 86_400_000


def duration_ms(text: object) -> int:
    """Read a duration: a whole number and one of ms, s, m, h, d, up to a year. Raises ValueError."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Wrong(f"{shown(text)} is no duration", _duration_remedy(text))
    found = int(match[1]) * _UNITS_MS[match[2]]
    if found > YEAR_MS:
        raise Wrong(f"{text} is more than a year", "Write a duration of at most 366d")
    return found


def _duration_remedy(text: object) -> str:
    if isinstance(text, int) and not isinstance(text, bool) and 0 < text < YEAR_MS:
        return f"Write its unit: {text}s, {text}m, {text}h or {text}d"
    parts = _DURATION.findall(text[:100]) if isinstance(text, str) else []
    if len(parts) > 1 and "".join(map("".join, parts)) == text:
        return f"Write it in one unit: {duration_text(sum(int(n) * _UNITS_MS[unit] for n, unit in parts))}"
    return "Write a whole number and a unit, such as 90s, 15m, 1h or 2d"


def duration_text(ms: int) -> str:
    """The shortest text that `duration_ms` reads so."""
    unit, size = next((one for one in reversed(_UNITS_MS.items()) if ms and ms % one[1] == 0), ("s", 1_000))
    return f"{ms // size}{unit}"


def minute_text(minute: int) -> str:
    """A time of day as files have it."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _minute(text: object) -> int:
    match = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        return int(match[1]) * 60 + int(match[2])
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < DAY_MINUTES:
        what = f"YAML reads a time of day without quotes as the number {text}"
        raise Wrong(what, f'Write it in quotes: "{minute_text(text)}"')
    loose = _LOOSE_CLOCK.fullmatch(text) if isinstance(text, str) else None
    like = f"{int(loose[1]) % 24:02}:{loose[2]}" if loose is not None else "22:00"
    raise Wrong(f"{shown(text)} is no time of day", f'Write hours and minutes in quotes, such as "{like}"')


def _fact(name: object) -> str:
    known = [word for word, kind in KINDS.items() if kind not in _NOT_FOR_JOURNEYS]
    if not isinstance(name, str) or name not in KINDS:
        raise Wrong(f"{shown(name)} is no fact", one_of(name if isinstance(name, str) else "", known))
    if name not in known:
        what = f"journeys do not hear of {name}, by which the system tells of itself or of an installation"
        raise Wrong(what, f"Write one of {', '.join(sorted(known))}")
    return name


def _zone(name: object) -> str:
    if not isinstance(name, str) or name not in zone_table().zones:
        raise Wrong(
            f"{shown(name)} is no time zone",
            one_of(name if isinstance(name, str) else "", zone_table().zones),
        )
    return name


def _plain(value: object) -> object:
    if not isinstance(value, str | int):
        raise Wrong(
            f"{shown(value)} can't be what a field says", "Write a text, a whole number, true or false"
        )
    return value


def _cooldown(given: object) -> object:
    if given == FOREVER:
        return given
    try:
        return duration_ms(given)
    except Wrong as wrong:
        raise Wrong(wrong.what, f"{wrong.remedy}, or forever for once in a life") from wrong


def _some(given: int) -> int:
    if not given:
        raise Wrong("it must be longer than nothing", "Write a duration such as 15m")
    return given


_NOT_FOR_JOURNEYS: Final[frozenset[type[f.Fact]]] = frozenset(
    kind
    for kind in KINDS.values()
    if issubclass(kind, f.DeliveryFact | f.LinkFact | f.UnreadableFactSettled | f.SubjectErased)
    or kind in {f.JourneyStarted, f.JourneyEnded, f.PushDecided, f.StateEvicted}
    or kind is f.TokenRegistered
    or kind is f.TokenInvalidated
)

Duration = Annotated[
    int, BeforeValidator(duration_ms), PlainSerializer(duration_text, return_type=str, when_used="json")
]
Some = Annotated[Duration, AfterValidator(_some)]
"""A duration that is longer than nothing."""
Minute = Annotated[
    int, BeforeValidator(_minute), PlainSerializer(minute_text, return_type=str, when_used="json")
]
Cooldown = Annotated[
    int | Literal["forever"],
    BeforeValidator(_cooldown),
    PlainSerializer(
        lambda given: given if given == FOREVER else duration_text(given),
        return_type=str,
        when_used="json",
    ),
]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
FactName = Annotated[str, BeforeValidator(_fact)]
Zone = Annotated[str, BeforeValidator(_zone)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Rule = Annotated[str, Field(min_length=1, max_length=LENGTH_MAX)]
Path = Annotated[str, Field(pattern=PATH_PATTERN)]
Plain = Annotated[str | int | bool, BeforeValidator(_plain)]
