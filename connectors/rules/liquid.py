"""Texts in Liquid (https://shopify.github.io/liquid/), bounded, for the core's `Texts` port.

A template sees `profile`, `attributes`, `items` and `trigger`. What it speaks of and nobody said is missing,
unless the template has a `default` for it; then the push is withheld, with the name of what is missing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from connectors.rules import dates
from connectors.rules import filters as bounds
from connectors.rules.variables import PROFILE, SCALARS, Kind, kind_at
from ledger.journey import Message
from ledger.rules import Text, Values

TITLE_LENGTH_MAX: Final = 200
BODY_LENGTH_MAX: Final = 1_000
SHOWN_LENGTH_MAX: Final = 500
_LENGTHS: Final = {"title": TITLE_LENGTH_MAX, "body": BODY_LENGTH_MAX}
LOOPS_MAX: Final = 1_000
OUTPUT_BYTES_MAX: Final = 8_192
TAGS: Final = frozenset({"if", "elsif", "else", "unless", "case", "when", "assign", "capture", "for", "break",
                         "continue", "comment", "raw"})  # fmt: skip
_MARKS: Final = ("{{", "{%")
_UNEXPECTED: Final = re.compile(r"unexpected tag '(\w+)'")
_MISSING: Final = re.compile(r"^'?([\w.\[\]\"']+)'? is undefined")


class TextProblem(NamedTuple):
    """What is wrong with a template: its `syntax`, its `work`, or an unknown `filter`, `tag` or `name`."""

    kind: str
    what: str
    unknown: str = ""


class LiquidTexts:
    """Messages by their templates, parsed once."""

    def render(self, message: Message, values: Values) -> Text:
        """See `ledger.rules.Texts`."""
        parts: dict[str, str] = {}
        for part, source in message.parts.items():
            longest = length_max(part)
            if not is_template(source):
                parts[part] = source[:longest]
                continue
            text, missing = _rendered(source, values)
            if missing:
                return Text("", "", missing)
            parts[part] = text.strip()[:longest]
        for part in ("title", "body"):
            if not parts[part].strip():
                return Text("", "", part)  # what renders to nothing is never sent as a gap
        return Text(parts.pop("title"), parts.pop("body"), shown=parts)


def length_max(part: str) -> int:
    """How long a message's part may be once it is rendered, in characters; what is longer is cut."""
    return _LENGTHS.get(part, SHOWN_LENGTH_MAX)


def is_template(source: str) -> bool:
    """Whether a text is more than plain words."""
    return any(mark in source for mark in _MARKS)


def _rendered(source: str, values: Values) -> tuple[str, str]:
    from liquid.exceptions import LiquidError

    bounds.begin()
    dates.begin(values.get("now", 0), values.get("zones", ()))
    try:
        return _template(source).render(**{name: values[name] for name in _ROOTS}), ""
    except LiquidError as error:
        found = _MISSING.search(str(error.args[0]))
        return "", found[1] if found else type(error).__name__
    except dates.UnknownZone:
        return "", "time_zone"
    except Exception as error:  # noqa: BLE001 - filters raise whatever Python does for an odd value
        return "", type(error).__name__


def problems(source: str, trigger: Mapping[str, Kind]) -> Iterator[TextProblem]:
    """What is wrong with a template that may look at these fields of a trigger."""
    if not is_template(source):
        return
    from liquid.exceptions import LiquidError

    try:
        found = _template(source).analyze(include_partials=False)
    except LiquidError as error:
        said = str(error.args[0]) if error.args else type(error).__name__
        tag = _UNEXPECTED.search(said)
        if tag is not None and tag[1] not in TAGS and not tag[1].startswith("end"):
            yield TextProblem("tag", f"{tag[1]} is no tag that a text can use", tag[1])
        else:
            yield TextProblem("syntax", f"it is no Liquid: {said}")
        return
    except RecursionError:
        yield TextProblem("syntax", "it is nested too deeply")
        return
    for name in sorted(found.filters.keys() - filters()):
        yield TextProblem("filter", f"{name} is no filter of Liquid", name)
    for name in sorted(found.tags.keys() - TAGS):
        yield TextProblem("tag", f"{name} is no tag that a text can use", name)
    for name, uses in found.globals.items():
        paths = {".".join(map(_segment, use.segments)): use.segments[1:] for use in uses}
        for path, segments in paths.items():
            if not _is_known(name, segments, trigger):
                yield TextProblem("name", f"{path} is nothing that a text can speak of", path)
    yield from _work_problems(source)


def _work_problems(source: str) -> Iterator[TextProblem]:
    """What a template does whatever it is given: too much, or write a date in an odd form.

    Seen by rendering it with short values; what only long ones make of it is withheld at its time.
    """
    for form in _FORM.findall(source):
        if (wrong := dates.odd_form(form)) is not None:
            yield TextProblem("date", f"{wrong} is no part of a date's form")
    from liquid.exceptions import ResourceLimitError

    bounds.begin()
    dates.begin(_SAMPLE_MS, (dt.UTC,))
    try:
        text = _template(source).render(**_SAMPLES)
    except (bounds.TooMuch, ResourceLimitError):
        yield TextProblem("work", f"it takes more than {bounds.WORK_MAX:,} steps, or its output is too long")
    except Exception:  # noqa: BLE001 - a short value need not fit every filter
        return
    else:
        if not text.strip() and not any(
            mark in source for mark in ("{% if", "{%- if", "{% for", "{% unless")
        ):
            yield TextProblem("empty", "it renders to nothing")


def filters() -> frozenset[str]:
    """The filters that a text may use."""
    return frozenset(_environment().filters)


def _segment(part: Any) -> str:
    return "[]" if isinstance(part, list | tuple) else str(part)


def trigger_paths(*sources: str) -> frozenset[str]:
    """The fields of the trigger that templates look at, such as `properties.order`."""
    return frozenset().union(*map(_trigger_paths, sources))


def _trigger_paths(source: str) -> frozenset[str]:
    if not is_template(source):
        return frozenset()
    from liquid.exceptions import LiquidError

    try:
        uses = _template(source).analyze().globals.get("trigger", [])
    except LiquidError:
        return frozenset()  # `problems` tells
    return frozenset(".".join(str(part) for part in use.segments[1:3]) for use in uses)


class _Anything(dict[str, str]):
    """A value for every name."""

    def __missing__(self, _: str) -> str:
        return "1"

    def __contains__(self, _: object) -> bool:
        return True


_FORM: Final = re.compile(r"\bdate\s*:\s*['\"]([^'\"]*)['\"]")
_SAMPLE_MS: Final = 1_772_452_800_000
_SAMPLES: Final = {
    "profile": {
        **dict.fromkeys(PROFILE, 1),
        "stage": "active",
        "last_items": ["item"],
        "onboarding_steps": ["step"],
        "value": {"EUR": 1},
    },
    "attributes": _Anything(),
    "items": ["item"],
    "trigger": _Anything(),
}
"""The short values that a template is tried with when it is checked."""
_ROOTS: Final = ("profile", "attributes", "items", "trigger")


def _is_known(root: str, path: list[Any], trigger: Mapping[str, Kind]) -> bool:
    if root == "items":
        return True
    if root == "attributes":
        return len(path) == 1
    table = {"profile": PROFILE, "trigger": trigger}.get(root)
    if table is None or not path:
        return False
    if root == "profile" and table.get(str(path[0])) == "texts":
        return True
    kind = kind_at(table, ".".join(map(_segment, path)))
    return kind is not None if root == "profile" else kind in SCALARS


@cache
def _environment() -> Any:
    # Liquid takes a second to import; an installation whose texts are plain never needs it.
    from liquid import Environment, StrictDefaultUndefined

    class Bounded(Environment):  # type: ignore[misc, unused-ignore]
        loop_iteration_limit = LOOPS_MAX
        output_stream_limit = OUTPUT_BYTES_MAX

    environment = Bounded(undefined=StrictDefaultUndefined, strict_filters=True)
    environment.filters = bounds.bounded(environment.filters)
    return environment


@lru_cache(4_096)
def _template(source: str) -> Any:
    template = _environment().from_string(source)
    _bound_ranges(template)
    return template


def _bound_ranges(template: Any) -> None:
    """Have each range measured when it is evaluated: `contains` goes through one number by number."""
    from liquid import RenderContext

    plain, measured = _ranges()
    static, nodes, expressions = RenderContext(template), list(template.nodes), []
    while nodes:
        node = nodes.pop()
        expressions += node.expressions()
        nodes += node.children(static, include_partials=False)
    while expressions:
        expression = expressions.pop()
        expressions += expression.children()
        if type(expression) is plain:
            expression.__class__ = measured


@cache
def _ranges() -> tuple[type, type]:
    """The library's class of ranges, and ours of the same layout."""
    from liquid.builtin.expressions.primitive import RangeLiteral

    class MeasuredRange(RangeLiteral):  # type: ignore[misc, unused-ignore]
        """A range of as many numbers as a value may have entries."""

        __slots__ = ()

        def evaluate(self, context: Any) -> Any:
            return bounds.measured(super().evaluate(context))

    return RangeLiteral, MeasuredRange
