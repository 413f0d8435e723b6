"""Rules in CEL (https://cel.dev), typed and of bounded cost, for the core's `Rules` port.

CEL has no loops but its macros over lists, and ours hold at most some hundred entries; a rule may use one
macro, and its length is bounded: so is its cost. Macros are counted, and patterns looked at, in the compiled
tree: in the text a comment can hide them. Patterns are constants, and RE2's, which take linear time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from cel_expr_python import cel

from connectors.rules.parsed import Tree, tree
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
_TRIGGER: Final = re.compile(r"(?<![\w.'\"])trigger\s*\.\s*(\w+)(?:\s*\.\s*(\w+))?(\s*\()?")
_ENTRY: Final = re.compile(
    r"(?<![\w.'\"])(attributes|profile\s*\.\s*value)\s*(?:\.\s*(\w+)\b(?!\s*\()|\[\s*['\"]([^'\"]*)['\"])"
)
_PLACE: Final = re.compile(r"<input>:(\d+):(\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([\w.]+)'")
_UNEXPECTED: Final = re.compile(
    r"Syntax error: (?:mismatched|extraneous|no viable alternative at) input ('.*?')(?: |$)"
)
_UNREADABLE: Final = re.compile(r"Syntax error: token recognition error at: '(.*)'")
_UNFIT: Final = re.compile(r"found no matching overload for '([^']+)' applied to '(.*)'")


class RuleProblem(NamedTuple):
    """What is wrong with a rule: its column (from 1) and line, what, and the unknown name if that is it.

    `remedy` is empty where the remedy depends on what the rule may look at.
    """

    column: int
    what: str
    unknown: str = ""
    remedy: str = ""
    line: int = 1


def trigger_paths(source: str) -> frozenset[str]:
    """The fields of the trigger that a rule looks at, such as `properties.order`."""
    return frozenset(
        f"{name}.{entry}" if entry and not call else name for name, entry, call in _TRIGGER.findall(source)
    )


def unguarded(source: str) -> tuple[str, ...]:
    """Entries of maps that a rule reads without asking by `has` whether they are there."""
    found = []
    for group, dotted, quoted in _ENTRY.findall(source):
        holder, name = re.sub(r"\s", "", group), dotted or quoted
        entry = rf"{re.escape(holder)}\s*(?:\.\s*{re.escape(name)}\b|\[\s*['\"]{re.escape(name)}['\"]\s*\])"
        asks = rf"has\(\s*{entry}\s*\)|['\"]{re.escape(name)}['\"]\s+in\s+{re.escape(holder)}\b"
        if not re.search(asks, source):
            found.append(f"{holder}.{name}")
    return tuple(dict.fromkeys(found))


def problem(
    source: str, fact: Mapping[str, Kind] | None = None, trigger: Mapping[str, Kind] | None = None
) -> RuleProblem | None:
    """What is wrong with a rule that may look at these fields of a fact and of a trigger, or None."""
    if len(source) > LENGTH_MAX:
        what = f"it has {len(source)} characters, {LENGTH_MAX} are allowed"
        return RuleProblem(1, what, remedy="Shorten it, or make audiences of its parts")
    environment = _environment(fact or {}, trigger or {})
    found = _compile_problem(source, environment, once=True)
    if found is None and "//" in source and _compile_problem(f"({source})", environment):
        # Rules are put together in brackets, and a comment would hide the closing one.
        return RuleProblem(1, "it ends in a comment", remedy="Write the comment in YAML, after #")
    return found


def whole_problem(source: str) -> str:
    """What is wrong with a rule that was put together of checked ones, or nothing."""
    found = _compile_problem(source, _shared_environment())
    return "" if found is None else found.what


def _compile_problem(source: str, environment: Any, *, once: bool = False) -> RuleProblem | None:
    if any("\ud800" <= one <= "\udfff" for one in source):
        return RuleProblem(1, "it holds half a character", remedy="Write the whole character")
    try:
        compiled = environment.compile(source)
    except RuntimeError as error:
        return _told(str(error))
    kind = compiled.return_type()
    if kind != cel.Type.BOOL:
        what = f"it gives {kind.name().lower()}, not true or false"
        return RuleProblem(1, what, remedy="Compare it with something, such as profile.orders > 1")
    return _unbounded(tree(compiled.serialize()), once=once)


def _unbounded(found: Tree, *, once: bool) -> RuleProblem | None:
    """`once`: the rule may go through a list once; of several rules together each may."""
    if once and found.comprehensions > MACROS_MAX:
        what = f"a rule may go through a list once, this one does {found.comprehensions} times"
        return RuleProblem(1, what, remedy="Make two rules of it, such as two audiences")
    for pattern in found.patterns:
        if pattern is None:
            remedy = "Write it as a text in quotes, or compare by startsWith, contains or endsWith"
            return RuleProblem(1, "it matches by a pattern that is not written in it", remedy=remedy)
        if not _is_pattern(pattern):
            what = f"{pattern[:40]!r} is no regular expression of RE2, or too large for it"
            return RuleProblem(1, what, remedy="See https://github.com/google/re2/wiki/Syntax")
    return None


@lru_cache(256)
def _is_pattern(pattern: str) -> bool:
    try:
        matches = cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile("''.matches(pattern)")
        return isinstance(matches.eval(data={"pattern": pattern}).value(), bool)
    except Exception:  # noqa: BLE001 - whatever the engine says of it, it is none
        return False


def _told(error: str) -> RuleProblem:
    """What the compiler says, in words for people who write rules."""
    if "recursion limit" in error:
        return RuleProblem(1, "it is nested too deeply", remedy="Write it with fewer brackets")
    place = _PLACE.search(error)
    if place is None:
        return RuleProblem(1, error.splitlines()[0][:200], remedy="See https://cel.dev")
    line, column, said = int(place[1]), int(place[2]), place[3]
    unknown, unexpected = _UNDECLARED.search(said), _UNEXPECTED.search(said)
    unreadable, unfit = _UNREADABLE.search(said), _UNFIT.search(said)
    what, remedy = said.partition(" expecting {")[0], "See https://cel.dev"
    if unknown:
        remedy = ""
    elif unexpected:
        is_end = unexpected[1] == "'<EOF>'"
        what = "something is missing at its end" if is_end else f"{unexpected[1]} can't stand there"
        remedy = "Write it like profile.orders > 1 && profile.stage == 'active'"
    elif unreadable:
        what = f"{unreadable[1]} is no part of a rule"
        remedy = "Close each quote, and write && for and, || for or, ! for not"
    elif unfit:
        what, remedy = f"{unfit[1].strip('_')} does not go with {unfit[2]}", ""
    return RuleProblem(column, what, unknown[1] if unknown else "", remedy, line)


class CelRules:
    """Rules by their source, compiled once. A rule that can't be evaluated does not hold."""

    def holds(self, source: str, values: Values) -> bool:
        """See `ledger.rules.Rules`."""
        compiled, names = _compiled(source)
        try:
            result = compiled.eval(
                data={name: value for name in names if (value := _value(values, name)) is not None}
            )
            return result.value() is True
        except Exception:  # noqa: BLE001 - what the engine can't evaluate is a no, as an error of CEL's own is
            return False


def _value(values: Values, name: str) -> Any:
    group, _, field = name.partition(".")
    if not field:
        return values[group]
    holder = values[group]
    value = holder.get(field) if isinstance(holder, dict) else value_at(holder, field)
    return list(value) if isinstance(value, tuple) else value  # a tuple is no list of CEL


@lru_cache(4_096)
def _compiled(source: str) -> tuple[Any, tuple[str, ...]]:
    """A rule and the names that it may look at: all whose letters stand in the compiled rule."""
    compiled, fields = _shared_environment().compile(source), all_fields()
    letters = compiled.serialize()
    return compiled, tuple(name for name in _declared(fields, fields) if name.encode() in letters)


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
