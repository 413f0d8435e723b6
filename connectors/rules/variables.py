"""What rules and texts may speak of, by name and type; the one table behind checking and evaluating them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from ledger import facts as f
from ledger.profile import NOTHING, view

Kind = str
"""`int`, `text`, `flag`, `texts` (a list), `notes` (a map of texts) or `sums` (a map of whole numbers)."""

PROFILE: Final[Mapping[str, Kind]] = {
    "active_days": "int",
    "days_since_active": "int",
    "days_since_first_active": "int",
    "days_since_order": "int",
    "last_items": "texts",
    "onboarding_steps": "texts",
    "opens": "int",
    "orders": "int",
    "stage": "text",
    "value": "sums",
}
assert PROFILE.keys() == view(NOTHING, 0).keys()

KINDS: Final = {kind.__name__: kind for kind in f.FACTS if issubclass(kind, f.SubjectFact)}
_PLAIN: Final[Mapping[Any, Kind]] = {
    str: "text",
    int: "int",
    float: "int",
    bool: "flag",
    tuple[str, ...]: "texts",
    dict[str, str]: "notes",
}

SCALARS: Final[frozenset[Kind]] = frozenset({"int", "text", "flag"})
"""What can be kept of a trigger for later steps."""


@cache
def fields_of(fact: str) -> Mapping[str, Kind]:
    """The fields of a kind of fact that can be spoken of. Raises KeyError for an unknown kind."""
    found = {}
    for field in msgspec.structs.fields(KINDS[fact]):
        plain = _without_none(field.type)
        if plain in _PLAIN:
            found[field.name] = _PLAIN[plain]
    return found


def shared_fields(facts: Iterable[str]) -> Mapping[str, Kind]:
    """The fields that all of these kinds have in common, with one type."""
    tables = [fields_of(fact) for fact in facts]
    if not tables:
        return {}
    return {
        name: kind for name, kind in tables[0].items() if all(table.get(name) == kind for table in tables)
    }


def all_fields() -> Mapping[str, Kind]:
    """Every field of every fact; one that differs between facts is left out."""
    found: dict[str, set[Kind]] = {}
    for fact in KINDS:
        for name, kind in fields_of(fact).items():
            found.setdefault(name, set()).add(kind)
    return {name: kinds.pop() for name, kinds in found.items() if len(kinds) == 1}


def kind_at(fields: Mapping[str, Kind], path: str) -> Kind | None:
    """The type of a field, or of an entry of one that is a map; None: there is no such field."""
    name, _, entry = path.partition(".")
    kind = fields.get(name)
    if not entry:
        return kind
    return {"notes": "text", "sums": "int"}.get(kind or "")


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        others = [one for one in typing.get_args(kind) if one is not type(None)]
        return others[0] if len(others) == 1 else kind
    return kind
