"""Texts in Liquid (https://shopify.github.io/liquid/), bounded, for the core's `Texts` port.

A template sees `profile`, `attributes`, `items` and `trigger`. What it speaks of and nobody said is missing,
unless the template has a `default` for it; then the push is withheld, with the name of what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from connectors.rules.variables import PROFILE, Kind, kind_at
from ledger.journey import Message
from ledger.rules import Text, Values

TITLE_LENGTH_MAX: Final = 200
BODY_LENGTH_MAX: Final = 1_000
"""Of a rendered text, in characters; longer ones are cut."""
LOOPS_MAX: Final = 1_000
OUTPUT_BYTES_MAX: Final = 8_192
TAGS: Final = frozenset({"if", "elsif", "else", "unless", "case", "when", "assign", "capture", "for", "break",
                         "continue", "comment", "raw"})  # fmt: skip
_MARKS: Final = ("{{", "{%")
_MISSING: Final = re.compile(r"^'?([\w.\[\]\"']+)'? is undefined")


class TextProblem(NamedTuple):
    """What is wrong with a template, and the unknown name if that is it."""

    what: str
    unknown: str = ""


class LiquidTexts:
    """Messages by their templates, parsed once."""

    def render(self, message: Message, values: Values) -> Text:
        """See `ledger.rules.Texts`."""
        parts = []
        for source, longest in ((message.title, TITLE_LENGTH_MAX), (message.body, BODY_LENGTH_MAX)):
            if not any(mark in source for mark in _MARKS):
                parts.append(source)
                continue
            text, missing = _rendered(source, values)
            if missing:
                return Text("", "", missing)
            parts.append(text.strip()[:longest])
        return Text(*parts)


def _rendered(source: str, values: Values) -> tuple[str, str]:
    from liquid.exceptions import LiquidError

    try:
        return _template(source).render(**{name: values[name] for name in _ROOTS}), ""
    except LiquidError as error:
        found = _MISSING.search(str(error.args[0]))
        return "", found[1] if found else type(error).__name__


def problems(source: str, trigger: Mapping[str, Kind]) -> Iterator[TextProblem]:
    """What is wrong with a template that may look at these fields of a trigger."""
    from liquid.exceptions import LiquidError

    try:
        found = _template(source).analyze()
    except LiquidError as error:
        yield TextProblem(f"no Liquid: {error.args[0]}")
        return
    for name in found.filters.keys() - _environment().filters.keys():
        yield TextProblem(f"{name} is no filter of Liquid", name)
    for name in found.tags.keys() - TAGS:
        yield TextProblem(f"the tag {name} can't be used in a text", name)
    for name, uses in found.globals.items():
        for use in uses:
            path = ".".join(str(part) for part in use.segments)
            if not _is_known(name, use.segments[1:], trigger):
                yield TextProblem(f"{path} is nothing that a text can speak of", path)


def trigger_paths(source: str) -> frozenset[str]:
    """The fields of the trigger that a template looks at, such as `properties.order`."""
    if not any(mark in source for mark in _MARKS):
        return frozenset()
    from liquid.exceptions import LiquidError

    try:
        uses = _template(source).analyze().globals.get("trigger", [])
    except LiquidError:
        return frozenset()  # `problems` tells
    return frozenset(".".join(str(part) for part in use.segments[1:3]) for use in uses)


_ROOTS: Final = ("profile", "attributes", "items", "trigger")


def _is_known(root: str, path: list[Any], trigger: Mapping[str, Kind]) -> bool:
    if root == "items":
        return True
    if root == "attributes":
        return len(path) == 1
    table = {"profile": PROFILE, "trigger": trigger}.get(root)
    if table is None or not path:
        return False
    kind = table.get(str(path[0]))
    if kind == "texts":
        return True
    return kind_at(table, ".".join(str(part) for part in path)) is not None


@cache
def _environment() -> Any:
    # Liquid takes a second to import; an installation whose texts are plain never needs it.
    from liquid import Environment, StrictDefaultUndefined

    class Bounded(Environment):  # type: ignore[misc, unused-ignore]
        loop_iteration_limit = LOOPS_MAX
        output_stream_limit = OUTPUT_BYTES_MAX

    return Bounded(undefined=StrictDefaultUndefined, strict_filters=True)


@lru_cache(4_096)
def _template(source: str) -> Any:
    return _environment().from_string(source)
