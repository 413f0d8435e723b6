"""Compares two folders of definitions, field by field and in words, before the new one is put in force.

What is compared is what the files mean: comments, order of fields, and defaults that are written out make no
difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.errors import Misconfigured
from ledger.definitions import version_of
from processors.definitions import models as m
from processors.definitions.loader import Examined

END_BY: Final = "Open instances end by the version that they began with."
STAYS: Final = "version stays"
TEXT_LENGTH_MAX: Final = 200
_NAMES: Final = ("step", "name", "window", "fact", "goto")
"""What tells entries of a list apart, the first that does; else their number does."""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What differs in one definition. `version`: what becomes of its version; empty where it has none."""

    kind: str
    name: str
    change: str
    version: str = ""
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = self.kind if self.kind == "policy" else f"{self.kind} {self.name}"
        head = ", ".join(part for part in (f"{named}: {self.change}", self.version) if part)
        return "\n".join([head, *(f"  {field}" for field in self.fields)])


def differences(old: Examined, new: Examined) -> tuple[Difference, ...]:
    """What differs between two folders in which nothing is wrong. Raises `Misconfigured` for others."""
    if old.definitions is None or new.definitions is None or old.policy is None or new.policy is None:
        raise Misconfigured("only folders in which nothing is wrong can be compared: optin definitions check")
    before, after = _versions(old), _versions(new)
    messages = tuple(_of_kind("message", old.messages, new.messages, {}, {}))
    audiences = tuple(_of_kind("audience", old.audiences, new.audiences, {}, {}))
    policy = _of_kind("policy", {"policy": old.policy}, {"policy": new.policy}, before, after)
    journeys = _of_kind("journey", old.journeys, new.journeys, before, after)
    campaigns = _of_kind("campaign", old.campaigns, new.campaigns, before, after)
    found = [*policy, *journeys, *campaigns, *messages, *audiences]
    touched = {f"{one.kind} {one.name}" for one in (*messages, *audiences)}
    return tuple(_by_what(one, new, touched) for one in found)


def in_words(found: tuple[Difference, ...]) -> Iterator[str]:
    """The lines that people read."""
    if not found:
        yield "nothing differs"
    for one in found:
        yield str(one)
    if any(one.kind == "journey" and one.change != "added" and STAYS not in one.version for one in found):
        yield END_BY


def _versions(found: Examined) -> dict[str, str]:
    assert found.definitions is not None
    return {
        "policy policy": found.definitions.policy_version,
        **{f"journey {name}": version for name, version in found.definitions.journey_versions.items()},
        **{f"campaign {body.flow.name}": version_of(body) for body in found.bodies},
    }


def _of_kind(
    kind: str,
    old: Mapping[str, m.Definition],
    new: Mapping[str, m.Definition],
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        was, now = before.get(f"{kind} {name}"), after.get(f"{kind} {name}")
        if name not in old:
            yield Difference(kind, name, "added", f"version {now}" if now else "")
        elif name not in new:
            yield Difference(kind, name, "removed", f"version was {was}" if was else "")
        else:
            fields = tuple(_fields(_dumped(old[name]), _dumped(new[name]), ""))
            if fields or was != now:
                version = f"version {was} -> {now}" if was != now else f"{STAYS} {now}" if now else ""
                yield Difference(kind, name, "changed", version, fields)


def _dumped(model: m.Definition) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _by_what(one: Difference, new: Examined, touched: set[str]) -> Difference:
    """With the messages and audiences by which the body of a journey or of a campaign changes, too."""
    if one.change != "changed" or one.kind not in {"journey", "campaign"}:
        return one
    cited = sorted(touched & set(_cited(one, new)))
    return dataclasses.replace(one, fields=(*one.fields, *(f"by {name}, see below" for name in cited)))


def _cited(one: Difference, new: Examined) -> Iterator[str]:
    if one.kind == "campaign":
        campaign = new.campaigns[one.name]
        yield f"message {campaign.message}"
        waiting = [campaign.audience]
    else:
        journey = new.journeys[one.name]
        yield from (f"message {step.push}" for step in journey.steps if step.push)
        waiting = [journey.audience] if journey.audience else []
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield f"audience {name}"
            waiting += [*new.audiences[name].inside, *new.audiences[name].outside]


def _fields(old: Any, new: Any, path: str) -> Iterator[str]:
    """`path: old -> new` for each part that differs."""
    if old == new:
        return
    if old is None:
        yield f"{path}: added, {_text(new)}"
    elif new is None:
        yield f"{path}: removed, was {_text(old)}"
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in (*new, *(key for key in old if key not in new)):
            yield from _fields(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif _is_named(old) and _is_named(new):
        before, after = _by_name(old, new)
        stay = [[name for name in one if name in before and name in after] for one in (before, after)]
        if stay[0] != stay[1]:
            yield f"{path}: in the order {_text(stay[0])} -> {_text(stay[1])}"
        yield from _fields(before, after, path)
    else:
        yield f"{path}: {_text(old)} -> {_text(new)}"


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _by_name(old: list[Any], new: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    for name in _NAMES:
        told = [[str(one.get(name)) for one in entries if name in one] for entries in (old, new)]
        if all(len(set(words)) == len(entries) for words, entries in zip(told, (old, new), strict=True)):
            return dict(zip(told[0], old, strict=True)), dict(zip(told[1], new, strict=True))
    return ({str(n): one for n, one in enumerate(old, 1)}, {str(n): one for n, one in enumerate(new, 1)})


def _text(value: Any) -> str:
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(_text(one) for one in value) + "]"
    elif isinstance(value, bool):
        return str(value).lower()
    elif isinstance(value, float):
        return f"{value:g}"
    else:
        text = " ".join(str(value).split()) or '""'
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}..."
