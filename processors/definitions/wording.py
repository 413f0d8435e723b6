"""What pydantic finds wrong with a file, in plain words that fit YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from processors.definitions import models as m
from processors.definitions.problem import Problem, Wrong, meant, one_of, shown
from processors.definitions.scalars import PATH_PATTERN
from processors.definitions.source import Source

Loc = tuple[str | int, ...]
_EXAMPLES: Final = {
    "body": "body: TEXT",
    "caps": "caps: [{max_pushes: 2, window: calendar_day}]",
    "category": "category: marketing",
    "fact": "fact: NAME",
    "goal": "goal: {fact: OrderPlaced, within: 24h}",
    "holdout": "holdout: {percent: 10, salt: NAME-YEAR}",
    "lateness_max": "lateness_max: 24h",
    "marketing_permissions": "marketing_permissions: [authorized, provisional]",
    "max_pushes": "max_pushes: 2",
    "quiet_hours": 'quiet_hours: {from: "22:00", to: "08:00"}, or null for none',
    "salt": "salt: NAME-YEAR",
    "send_within": "send_within: 15m",
    "steps": "steps, with a push among them",
    "title": "title: TEXT",
    "topic": "topic: NAME",
    "transactional_permissions": "transactional_permissions: [authorized, provisional]",
    "trigger": "trigger: {fact: NAME}",
    "window": "window: calendar_day",
    "within": "within: 24h",
}
_WORDS: Final = re.compile(r"'([^']*)'")


PROBLEMS_MAX: Final = 20
"""Mistakes of one file that are worded: a file of nothing else would fill the screen, and take long."""


def told(source: Source, error: ValidationError, model: type[m.Definition]) -> Iterator[Problem]:
    """Each mistake once: what is missing because its name is misspelt is not told a second time."""
    every = error.errors(include_url=False)
    errors = [(_loc(source, one["loc"]), one) for one in every[:PROBLEMS_MAX]]
    misspelt = {
        (*loc[:-1], meant(str(loc[-1]), _fields_at(model, loc[:-1])))
        for loc, one in errors
        if one["type"] == "extra_forbidden"
    }
    for loc, one in errors:
        if one["type"] == "missing" and loc in misspelt:
            continue
        if one["type"] == "too_short" and any(
            len(other) > len(loc) == len(_same(loc, other)) for other, _ in errors
        ):
            continue  # pydantic counts no entry that is wrong by itself
        what, remedy = _words(source, loc, one, model)
        yield source.at(loc[:-1] if one["type"] == "missing" else loc, what, remedy)
    if len(every) > PROBLEMS_MAX:
        more = f"{len(every) - PROBLEMS_MAX:,} more are wrong in this file"
        yield source.at((), more, "Mend those that are named first")


def _same(one: Loc, other: Loc) -> Loc:
    """What two places have in common at their beginning."""
    return tuple(
        a for n, (a, b) in enumerate(zip(one, other, strict=False)) if one[:n] == other[:n] and a == b
    )


def _loc(source: Source, given: Loc) -> Loc:
    loc = tuple(part for part in given if not (isinstance(part, str) and part.startswith(("function-", "["))))
    is_one = isinstance(source.body, dict) and not isinstance(source.body.get("trigger"), list)
    return ("trigger", *loc[2:]) if is_one and loc[:2] == ("trigger", 0) else loc


def _path(source: Source, loc: Loc) -> str:
    """The part's name; entries of a list by their own name where they have one, else by their number."""
    body, words = source.body, []
    for part in loc:
        body = _inside(body, part)
        called = body.get("step") if isinstance(part, int) and isinstance(body, dict) else None
        if isinstance(called, str):
            words.append(called[:64])
        else:
            words.append(str(part + 1 if isinstance(part, int) else part)[:64])
    return ".".join(words) or "the file"


def _inside(body: Any, part: str | int) -> Any:
    if isinstance(body, dict):
        return body.get(part)
    return body[part] if isinstance(body, list) and isinstance(part, int) and part < len(body) else None


def _words(source: Source, loc: Loc, error: Any, model: type[m.Definition]) -> tuple[str, str]:
    path, kind, given, limits = _path(source, loc), error["type"], error["input"], error.get("ctx") or {}
    if isinstance(limits.get("error"), Wrong):
        return f"{path}: {limits['error'].what}", limits["error"].remedy
    written = source.written(loc) if isinstance(given, bool) else None
    value = written or shown(given)
    what, remedy = f"{path}: {value} does not fit here", "See the shipped definitions for an example"
    match kind:
        case "extra_forbidden":
            what, remedy = f"{path} is no field", one_of(str(loc[-1]), _fields_at(model, loc[:-1]))
        case "missing":
            what, remedy = f"{path} is missing", f"Add {_EXAMPLES.get(str(loc[-1]), str(loc[-1]))}"
        case "literal_error":
            known = _WORDS.findall(limits["expected"])
            what, remedy = f"{path}: {value} is none of its words", one_of(str(given), known)
        case "string_type" if given is None:
            what, remedy = f"{path}: it is empty", "Write a text"
        case "string_type":
            what = f"{path}: {value} is no text"
            remedy = "Write a text, in quotes if it looks like something else"
        case "string_pattern_mismatch":
            what, remedy = f"{path}: {value} can't be its name", _pattern(limits["pattern"])
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            what, remedy = f"{path}: {value} is no whole number", "Write a whole number, such as 2"
        case "float_type" | "float_parsing" | "finite_number":
            what, remedy = f"{path}: {value} is no number", "Write a number, such as 10 or 2.5"
        case "bool_type" | "bool_parsing":
            what, remedy = f"{path}: {value} is neither true nor false", "Write true or false"
        case "tuple_type":
            what = f"{path}: {value} is no list"
            remedy = "Write a list: [one, two], or each entry on its line after a dash"
        case "dict_type" | "model_type" | "model_attributes_type":
            fields = ", ".join(sorted(_fields_at(model, loc))[:8])
            what = f"{path}: {value} stands where fields are expected"
            remedy = f"Write fields, such as {fields}" if fields else "Write it as NAME: VALUE"
        case _:
            what, remedy = _limited(path, value, error) or (what, remedy)
    return what, remedy


def _limited(path: str, value: str, error: Any) -> tuple[str, str] | None:
    """What is beyond a limit, in words."""
    given, limits = error["input"], error.get("ctx") or {}
    match error["type"]:
        case "string_too_short":
            what, remedy = f"{path}: it is empty", "Write a text"
        case "string_too_long":
            what = f"{path}: it has {len(given)} characters, {limits['max_length']} are allowed"
            remedy = "Shorten it"
        case "too_short":
            what = f"{path}: it holds too few entries"
            remedy = f"Write at least {limits['min_length']}"
        case "too_long":
            most = limits["max_length"]
            what, remedy = f"{path}: there are more than {most} entries", f"Keep at most {most}"
        case "greater_than":
            what, remedy = f"{path}: {value} is too little", f"Write more than {limits['gt']:g}"
        case "greater_than_equal":
            what, remedy = f"{path}: {value} is too little", f"Write at least {limits['ge']:g}"
        case "less_than_equal":
            what, remedy = f"{path}: {value} is too much", f"Write at most {limits['le']:g}"
        case _:
            return None
    return what, remedy


def _pattern(pattern: str) -> str:
    if pattern == PATH_PATTERN:
        return "Write a field such as item, or an entry of one such as properties.order"
    dash = ", underscores and dashes" if "-" in pattern else " and underscores"
    return f"Use small letters, digits{dash}, begin with a letter, and keep to 64 characters"


def _fields_at(model: type[m.Definition], loc: Loc) -> set[str]:
    """The fields that a part of a definition may have."""
    found: object = model
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(found, "model_fields", {})
        field = fields.get(part) or next((f for f in fields.values() if f.alias == part), None)
        if field is None:
            return set()
        found = _model_in(field.annotation)
    return names_of(found)


def names_of(model: object) -> set[str]:
    """The fields of a model as files name them."""
    return {field.alias or name for name, field in getattr(model, "model_fields", {}).items()}


def _model_in(annotation: object) -> object:
    if isinstance(annotation, type) and issubclass(annotation, m.Definition):
        return annotation
    inside = (_model_in(one) for one in getattr(annotation, "__args__", ()))
    return next((found for found in inside if found is not None), None)
