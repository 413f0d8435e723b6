"""What the parts of a definition mean together: steps that lead nowhere, rules that speak of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from connectors.rules import cel, liquid
from connectors.rules.variables import PROFILE, Kind, fields_of, kind_at, shared_fields
from processors.definitions import models as m
from processors.definitions.problem import Problem, one_of
from processors.definitions.source import Source
from schemas import fact_schema

Loc = tuple[str | int, ...]
EVERYBODY: Final = 100
"""Percent."""
OUT: Final = "out"
"""The name by which a `goto` leads out of a journey."""


def check_journey(journey: m.Journey, source: Source, messages: Mapping[str, m.Message]) -> Iterator[Problem]:
    """Everything that is wrong with a journey beyond its shape."""
    trigger = shared_fields(one.fact for one in journey.trigger)
    matches: list[tuple[m.Match, Loc]] = [
        (one, ("trigger", number) if source_has_list(source) else ("trigger",))
        for number, one in enumerate(journey.trigger)
    ]
    for match, loc in matches:
        yield from _match(match, source, loc, None)
    keyed = {one.key is not None for one in journey.trigger}
    if keyed == {True, False}:
        yield source.at(
            ("trigger",), "some triggers have a key and others have none", "Give all of them one, or none"
        )
    for match, loc in [
        (journey.goal, ("goal",)),
        *((one, ("exits", n)) for n, one in enumerate(journey.exits)),
    ]:
        yield from _match(match, source, loc, trigger)
        if match.key is not None and keyed == {False}:
            yield source.at(
                (*loc, "key"), "it has a key and the trigger has none", "Give the trigger a key, too"
            )
        if match.items is not None and not any(one.items for one in journey.trigger):
            yield source.at(
                (*loc, "items"),
                "it takes items out, and the trigger puts none in",
                "Name the trigger's items, or remove this",
            )
    yield from _flow(journey, source)
    for number, step in enumerate(journey.steps):
        yield from _step(step, source, ("steps", number), trigger, messages)
    if not any(step.push for step in journey.steps):
        yield source.at(("steps",), "the journey never pushes", "Add a step with a push")


def source_has_list(source: Source) -> bool:
    """Whether the journey's trigger is written as a list of several."""
    return isinstance(source.body, dict) and isinstance(source.body.get("trigger"), list)


def check_rule(
    source: Source,
    loc: Loc,
    rule: str,
    fact: Mapping[str, Kind] | None = None,
    trigger: Mapping[str, Kind] | None = None,
) -> Iterator[Problem]:
    """What is wrong with a rule in CEL."""
    found = cel.problem(rule, fact, trigger)
    if found is None:
        return
    if not found.unknown:
        yield source.at(
            loc, f"the rule {rule!r} fails at column {found.column}: {found.what}", _types(fact, trigger)
        )
        return
    group, _, name = found.unknown.partition(".")
    tables = {"profile": PROFILE, "fact": fact or {}, "trigger": trigger or {}}
    if group in tables and name:
        remedy = one_of(name, tables[group]) if tables[group] else f"Nothing of a {group} is known here"
    else:
        remedy = one_of(
            group,
            {
                "profile",
                "attributes",
                "items",
                *(["fact"] if fact else []),
                *(["trigger"] if trigger else []),
            },
        )
    yield source.at(loc, f"the rule {rule!r} speaks of {found.unknown}, which is nothing", remedy)


def _types(fact: Mapping[str, Kind] | None, trigger: Mapping[str, Kind] | None) -> str:
    groups = {"profile": PROFILE, "fact": fact or {}, "trigger": trigger or {}}
    known = ", ".join(
        f"{group}.{name} ({kind})" for group in ("fact", "trigger") for name, kind in groups[group].items()
    )
    here = f"; here are {known}" if known else ""
    return f"A rule in CEL is true or false, and compares values of one type{here}"


def _match(match: m.Match, source: Source, loc: Loc, trigger: Mapping[str, Kind] | None) -> Iterator[Problem]:
    fields = fields_of(match.fact)
    for path, value in match.where.items():
        kind = kind_at(fields, path)
        if kind is None:
            yield source.at((*loc, "where", path), f"{match.fact} has no field {path}", one_of(path, fields))
            continue
        words = _words(match.fact, path)
        if words and value not in words:
            yield source.at(
                (*loc, "where", path), f"{path} of {match.fact} is never {value!r}", one_of(str(value), words)
            )
    for name in ("items", "key"):
        path = getattr(match, name)
        if path is None:
            continue
        kind = kind_at(fields, path)
        fit = {"text", "texts"} if name == "items" else {"text", "int"}
        if kind not in fit:
            suitable = [one for one, of in fields.items() if of in fit]
            yield source.at(
                (*loc, name), f"{path} of {match.fact} can't serve as {name}", one_of(path, suitable)
            )
    if match.when is not None:
        yield from check_rule(source, (*loc, "when"), match.when, fields, trigger)


def _words(fact: str, path: str) -> Sequence[str]:
    """What an enumerated field may say."""
    for field in fact_schema(fact).record["fields"]:
        kind = field["type"]
        if field["name"] == path and isinstance(kind, dict) and kind.get("type") == "enum":
            return [word for word in kind["symbols"] if word != kind.get("default")]
    return ()


def targets(step: m.Step) -> Iterator[tuple[str, Loc]]:
    """Where a step leads to by name, and where that stands."""
    if step.wait_for is not None:
        for name in ("then", "otherwise"):
            target = getattr(step.wait_for, name)
            if target is not None:
                yield target, ("wait_for", name)
    for number, way in enumerate(step.branch or ()):
        yield way.goto, ("branch", number, "goto")
    if step.otherwise is not None:
        yield step.otherwise, ("otherwise",)
    for number, arm in enumerate(step.split.arms if step.split else ()):
        yield arm.goto, ("split", "arms", number, "goto")


def _goes_on(step: m.Step) -> bool:
    """Whether the step after it can follow."""
    if step.end is not None or step.split is not None:
        return False
    if step.branch is not None:
        return step.otherwise is None
    return step.wait_for is None or step.wait_for.then is None or step.wait_for.otherwise is None


def _flow(journey: m.Journey, source: Source) -> Iterator[Problem]:
    places: dict[str, int] = {}
    for number, step in enumerate(journey.steps):
        if step.step in places or step.step == OUT:
            what = (
                f"two steps are called {step.step}"
                if step.step != OUT
                else f"a step is called {OUT}, which means the way out"
            )
            yield source.at(("steps", number, "step"), what, "Give each step a name of its own")
        places.setdefault(step.step, number)
    reached = {0}
    for number, step in enumerate(journey.steps):
        if number not in reached:
            yield source.at(
                ("steps", number),
                f"nothing leads to the step {step.step}",
                "Lead to it by a goto, or remove it",
            )
            reached.add(number)
        if _goes_on(step):
            reached.add(number + 1)
        for target, loc in targets(step):
            if target == OUT:
                continue
            if target not in places:
                yield source.at(
                    ("steps", number, *loc), f"there is no step {target}", one_of(target, {*places, OUT})
                )
            elif places[target] <= number:
                what = f"{step.step} leads back to {target}: a cycle, by which the journey would never end"
                yield source.at(
                    ("steps", number, *loc), what, "Lead forward only; a new trigger begins the journey again"
                )
            else:
                reached.add(places[target])


def _step(
    step: m.Step, source: Source, loc: Loc, trigger: Mapping[str, Kind], messages: Mapping[str, m.Message]
) -> Iterator[Problem]:
    if step.wait_for is not None:
        yield from _match(step.wait_for, source, (*loc, "wait_for"), trigger)
    for number, way in enumerate(step.branch or ()):
        yield from check_rule(source, (*loc, "branch", number, "when"), way.when, None, trigger)
    if step.split is not None:
        total = sum(arm.percent for arm in step.split.arms)
        if round(total, 6) != EVERYBODY:
            yield source.at((*loc, "split"), f"the arms hold {total:g} % together", "Let them add up to 100")
    if step.wait_until is not None and step.wait_until.field is not None:
        path = step.wait_until.field
        if kind_at(trigger, path) != "int":
            suitable = [name for name, kind in trigger.items() if kind == "int"]
            yield source.at(
                (*loc, "wait_until", "field"), f"{path} is no instant of the trigger", one_of(path, suitable)
            )
    if step.push is not None:
        message = messages.get(step.push)
        if message is None:
            yield source.at((*loc, "push"), f"there is no message {step.push}", one_of(step.push, messages))
            return
        for part in (message.title, message.body):
            for found in liquid.problems(part, trigger):
                if found.unknown.startswith("trigger"):
                    name = found.unknown.partition(".")[2].partition(".")[0]
                    yield source.at(
                        (*loc, "push"),
                        f"the message {step.push} speaks of {found.unknown}, which the trigger does not say",
                        one_of(name, trigger),
                    )


def check_message(message: m.Message, source: Source, policy: m.Policy | None) -> Iterator[Problem]:
    """What is wrong with a message by itself; what it says of a trigger is checked where it is pushed."""
    everything: dict[str, Kind] = {}
    for part in ("title", "body"):
        for found in liquid.problems(getattr(message, part), everything):
            if found.unknown.startswith("trigger."):
                continue
            root = found.unknown.partition(".")[0]
            if root == "profile":
                remedy = one_of(found.unknown.partition(".")[2], PROFILE)
            elif "filter" in found.what:
                remedy = "See the filters of Liquid, https://shopify.github.io/liquid"
            elif "tag" in found.what:
                remedy = one_of(found.unknown, liquid.TAGS)
            elif found.unknown:
                remedy = one_of(root, {"profile", "attributes", "items", "trigger"})
            else:
                remedy = "Mend the template"
            yield source.at((part,), found.what, remedy)
    if policy is None:
        return
    if message.topic not in policy.topics:
        yield source.at(
            ("topic",), f"the policy knows no topic {message.topic}", one_of(message.topic, policy.topics)
        )
    listed = message.name in policy.transactional.messages
    if message.category == "transactional" and not listed:
        yield source.at(
            ("category",),
            f"{message.name} calls itself transactional, and the policy does not list it as such",
            "Call it marketing, or have it listed under transactional.messages in policy.yaml",
        )
    if message.category == "marketing" and listed:
        yield source.at(
            ("category",),
            f"{message.name} is listed as transactional and is marketing",
            "Take it off the policy's list",
        )


def check_policy(policy: m.Policy, source: Source, messages: Mapping[str, m.Message]) -> Iterator[Problem]:
    """What is wrong with the policy beyond its shape."""
    for number, name in enumerate(policy.transactional.messages):
        if name not in messages:
            yield source.at(
                ("transactional", "messages", number), f"there is no message {name}", one_of(name, messages)
            )
    for number, cap in enumerate(policy.caps):
        if cap in policy.caps[:number]:
            yield source.at(("caps", number), "the same cap stands here twice", "Remove one of them")
    if policy.caps == ():
        yield source.at(
            ("caps",), "there is no cap", "Say how many marketing pushes one person may get in a window"
        )
