"""Rules in CEL (https://cel.dev), typed and of bounded cost, for the core's `Rules` port.

CEL has no loops but its macros over lists, and ours hold at most some hundred entries; a rule may use one
macro, and its length is bounded: so is its cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from cel_expr_python import cel

from connectors.rules.variables import PROFILE, Kind, all_fields
from ledger.journey import value_at
from ledger.rules import Values

LENGTH_MAX: Final = 500
MACROS_MAX: Final = 1

_TYPES: Final[Mapping[Kind, Any]] = {
    "int": cel.Type.INT,
    "text": cel.Type.STRING,
    "flag": cel.Type.BOOL,
    "texts": cel.Type.List(cel.Type.STRING),
    "notes": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "sums": cel.Type.Map(cel.Type.STRING, cel.Type.INT),
}
_NAME: Final = re.compile(r"(?<![\w.'\"])(attributes|items|(?:profile|fact|trigger)\.\w+)")
_TRIGGER: Final = re.compile(r"(?<![\w.'\"])trigger\.\w+(?:\.\w+)?")
_MACRO: Final = re.compile(r"\.(all|exists|exists_one|map|filter)\s*\(")
_PLACE: Final = re.compile(r"<input>:(\d+):(\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([\w.]+)'")


class RuleProblem(NamedTuple):
    """What is wrong with a rule: its column (from 1), what, and the unknown name if that is it."""

    column: int
    what: str
    unknown: str = ""


def names_in(source: str) -> frozenset[str]:
    """The variables that a rule looks at, such as `profile.orders`."""
    return frozenset(_NAME.findall(source))


def trigger_paths(source: str) -> frozenset[str]:
    """The fields of the trigger that a rule looks at, such as `properties.order`."""
    return frozenset(found.removeprefix("trigger.") for found in _TRIGGER.findall(source))


def problem(
    source: str, fact: Mapping[str, Kind] | None = None, trigger: Mapping[str, Kind] | None = None
) -> RuleProblem | None:
    """What is wrong with a rule that may look at these fields of a fact and of a trigger, or None."""
    if len(source) > LENGTH_MAX:
        return RuleProblem(1, f"the rule has {len(source)} characters, {LENGTH_MAX} are allowed")
    macros = _MACRO.findall(source)
    if len(macros) > MACROS_MAX:
        return RuleProblem(1, f"a rule may go through a list once, this one does {len(macros)} times")
    try:
        compiled = _environment(fact or {}, trigger or {}).compile(source)
    except RuntimeError as error:
        found = _PLACE.search(str(error))
        if found is None:
            return RuleProblem(1, str(error))
        unknown = _UNDECLARED.search(found[3])
        return RuleProblem(int(found[2]), found[3], unknown[1] if unknown else "")
    if compiled.return_type() != cel.Type.BOOL:
        return RuleProblem(1, f"the rule gives {compiled.return_type().name()}, not true or false")
    return None


class CelRules:
    """Rules by their source, compiled once. A rule that can't be evaluated does not hold."""

    def holds(self, source: str, values: Values) -> bool:
        """See `ledger.rules.Rules`."""
        compiled, names = _compiled(source)
        result = compiled.eval(
            data={name: value for name in names if (value := _value(values, name)) is not None}
        )
        return result.value() is True


def _value(values: Values, name: str) -> Any:
    group, _, field = name.partition(".")
    if not field:
        return values[group]
    holder = values[group]
    return holder.get(field) if isinstance(holder, dict) else value_at(holder, field)


@lru_cache(4_096)
def _compiled(source: str) -> tuple[Any, frozenset[str]]:
    fields = all_fields()
    return _shared_environment().compile(source), names_in(source) & _declared(fields, fields).keys()


@cache
def _shared_environment() -> Any:
    return _environment(all_fields(), all_fields())


def _environment(fact: Mapping[str, Kind], trigger: Mapping[str, Kind]) -> Any:
    return cel.NewEnv(variables=_declared(fact, trigger))


def _declared(fact: Mapping[str, Kind], trigger: Mapping[str, Kind]) -> dict[str, Any]:
    groups = {"profile": PROFILE, "fact": fact, "trigger": trigger}
    return {
        "attributes": _TYPES["notes"],
        "items": _TYPES["texts"],
        **{
            f"{group}.{name}": _TYPES[kind] for group, table in groups.items() for name, kind in table.items()
        },
    }
