"""What rules may look at: the fields of a fact at hand, and what is kept of a journey's triggers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from connectors.rules import cel
from connectors.rules.variables import PROFILE, SCALARS, Kind, fields_of, kind_at, shared_fields
from processors.definitions import models as m
from processors.definitions.problem import SHOWN_MAX, Problem, meant, one_of, shown
from processors.definitions.source import Source
from schemas import fact_schema

Loc = tuple[str | int, ...]
_KEPT = SCALARS | {"notes"}


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """The fields that later steps may look at, and why others are none of them."""

    fields: Mapping[str, Kind]
    lists: frozenset[str]
    lacking: Mapping[str, str]
    """Fields that some of several triggers say, with one that does not say them."""

    @property
    def instants(self) -> tuple[str, ...]:
        """The fields that name an instant, by our facts' way of naming them."""
        return tuple(
            name
            for name, kind in self.fields.items()
            if kind == "int" and (name.endswith("_at") or name == "until")
        )

    def unsaid(self, path: str) -> tuple[str, str]:
        """Why a path can't be looked at, and the remedy."""
        name = path.partition(".")[0]
        if name in self.lists:
            return (
                "is a list and is not kept",
                "Name the field under items of the trigger, and speak of items",
            )
        if name in self.lacking:
            return (
                f"{self.lacking[name]} does not say",
                "Speak of what all triggers say, or write two journeys",
            )
        if self.fields.get(name) == "notes":
            return "is a map and is not kept", f"Speak of one entry, such as trigger.{name}.order"
        return "the trigger does not say", one_of(name, self.fields)


NOTHING_HEARD: Final = Heard({}, frozenset(), {})


def heard_of(facts: Sequence[str]) -> Heard:
    """What later steps may look at after one of these facts."""
    tables = {fact: fields_of(fact) for fact in facts}
    shared = shared_fields(facts)
    every = {name for table in tables.values() for name in table}
    return Heard(
        fields={name: kind for name, kind in shared.items() if kind in _KEPT},
        lists=frozenset(name for name, kind in shared.items() if kind not in _KEPT),
        lacking={
            name: next((fact for fact, table in tables.items() if name not in table), facts[0])
            for name in every - shared.keys()
        },
    )


def check_rule(
    source: Source, loc: Loc, rule: str, fact: Mapping[str, Kind] | None = None, heard: Heard | None = None
) -> Iterator[Problem]:
    """What is wrong with a rule in CEL."""
    heard = heard or NOTHING_HEARD
    trigger = heard.fields
    text = repr(rule if len(rule) <= SHOWN_MAX else f"{rule[:SHOWN_MAX]}...")
    found = cel.problem(rule, fact, trigger)
    if found is None:
        for path in sorted(cel.trigger_paths(rule)):
            if kind_at(trigger, path) not in SCALARS:
                why, remedy = heard.unsaid(path)
                yield source.at(loc, f"the rule {text} looks at trigger.{path}, which {why}", remedy)
    elif not found.unknown:
        place = f"line {found.line}, column {found.column}" if found.line > 1 else f"column {found.column}"
        what = f"the rule {text} is wrong at {place}: {found.what}"
        yield source.at(loc, what, found.remedy or _types(fact, trigger))
    else:
        group, _, name = found.unknown.partition(".")
        why = "is nothing"
        if group == "trigger" and name and heard != NOTHING_HEARD:
            said, remedy = heard.unsaid(name)
            why = said if name in heard.lists or name in heard.lacking else why
        else:
            remedy = _known(group, name, fact, trigger)
        yield source.at(loc, f"the rule {text} speaks of {found.unknown}, which {why}", remedy)


def _known(group: str, name: str, fact: Mapping[str, Kind] | None, trigger: Mapping[str, Kind] | None) -> str:
    tables = {"profile": PROFILE, "fact": fact or {}, "trigger": trigger or {}}
    if group in tables and (table := tables[group]):
        return one_of(name, table) if name else f"Write which field, such as {group}.{min(table)}"
    if group in tables:
        return f"There is no {group} here: look at profile, attributes and items"
    groups = {"profile", "attributes", "items", *(name for name in ("fact", "trigger") if tables[name])}
    if name:
        return one_of(group, groups)
    quoted = f", and texts in quotes: '{group}'" if meant(group, groups) is None else ""
    return one_of(group, groups) + quoted


def _types(fact: Mapping[str, Kind] | None, trigger: Mapping[str, Kind] | None) -> str:
    groups = {"fact": fact or {}, "trigger": trigger or {}}
    known = ", ".join(
        f"{group}.{name} ({kind})" for group, table in groups.items() for name, kind in table.items()
    )
    here = f"; here are {known}" if known else ""
    return f"Compare values of one type, and put texts in quotes{here}"


def check_match(match: m.Match, source: Source, loc: Loc, heard: Heard | None = None) -> Iterator[Problem]:
    """What is wrong with facts that are waited for; `heard`: of the trigger, where one came before."""
    fields = fields_of(match.fact)
    for path, value in match.where.items():
        kind, place = kind_at(fields, path), (*loc, "where", path)
        words = _words(match.fact, path)
        if kind is None:
            yield source.at(place, f"{match.fact} has no field {path}", one_of(path, fields))
        elif words and value not in words:
            written = source.written(place) if isinstance(value, bool) else None
            what = f"{path} of {match.fact} is never {written or shown(value)}"
            yield source.at(place, what, one_of(written or str(value), words))
        elif kind not in SCALARS:
            what = f"{path} of {match.fact} is no single value"
            yield source.at(place, what, "Write a rule under when, or name one entry of a map by a dot")
        elif (kind == "flag") != isinstance(value, bool) or (kind == "int" and not isinstance(value, int)):
            yield source.at(
                place, f"{path} of {match.fact} is never {shown(value)}", _fitting(kind, source, place)
            )
    for name in ("items", "key"):
        path = getattr(match, name)
        if path is None:
            continue
        fit = {"text", "texts"} if name == "items" else {"text", "int"}
        if kind_at(fields, path) not in fit:
            suitable = [one for one, of in fields.items() if of in fit and one not in _ENVELOPE]
            what = f"{path} of {match.fact} can't serve as {name}"
            yield source.at((*loc, name), what, one_of(path, suitable))
    if match.when is not None:
        yield from check_rule(source, (*loc, "when"), match.when, fields, heard)


_ENVELOPE: Final = {"event_id", "app", "occurred_at", "source", "sequence", "subject"}


def _fitting(kind: Kind, source: Source, place: Loc) -> str:
    if kind == "text":
        return f'Write it in quotes: "{source.written(place)}"'
    return "Write true or false" if kind == "flag" else "Write a whole number"


def _words(fact: str, path: str) -> Sequence[str]:
    """What an enumerated field may say."""
    for field in fact_schema(fact).record["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        for kind in kinds if field["name"] == path else ():
            if isinstance(kind, dict) and kind.get("type") == "enum":
                return [word for word in kind["symbols"] if word != kind.get("default")]
    return ()
