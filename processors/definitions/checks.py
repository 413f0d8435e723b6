"""What the parts of a definition mean together: steps that lead nowhere, texts that speak of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.rules import liquid
from connectors.rules.variables import PROFILE
from processors.definitions import models as m
from processors.definitions.found import Found
from processors.definitions.heard import Heard, check_match, check_rule, heard_of
from processors.definitions.problem import Problem, one_of
from processors.definitions.provider_limits import check_providers
from processors.definitions.source import Source

Loc = tuple[str | int, ...]
EVERYBODY: Final = 100
"""Percent."""
OUT: Final = "out"
"""The name by which a `goto` leads out of a journey."""


def check_journey(journey: m.Journey, source: Source, messages: Found[m.Message]) -> Iterator[Problem]:
    """Everything that is wrong with a journey beyond its shape."""
    heard = heard_of([one.fact for one in journey.trigger])
    for number, one in enumerate(journey.trigger):
        yield from check_match(one, source, ("trigger", number) if _is_list(source) else ("trigger",))
    keyed = {one.key is not None for one in journey.trigger}
    if keyed == {True, False}:
        yield source.at(
            ("trigger",), "some triggers have a key and others have none", "Give all of them one, or none"
        )
    exits: list[tuple[m.Match, Loc]] = [(one, ("exits", n)) for n, one in enumerate(journey.exits)]
    for match, loc in [(journey.goal, ("goal",)), *exits]:
        yield from check_match(match, source, loc, heard)
        if match.key is not None and keyed == {False}:
            what = "it has a key and the trigger has none"
            yield source.at((*loc, "key"), what, "Give the trigger a key, too, or remove this one")
        if match.items is not None and not any(one.items for one in journey.trigger):
            what = "it takes items out, and the trigger puts none in"
            yield source.at((*loc, "items"), what, "Name the trigger's items, or remove this")
    yield from _flow(journey, source)
    for number, step in enumerate(journey.steps):
        yield from _step(step, source, ("steps", number), heard, messages)
    if not any(step.push for step in journey.steps):
        yield source.at(("steps",), "the journey never pushes", "Add a step with a push")


def _is_list(source: Source) -> bool:
    """Whether the journey's trigger is written as a list of several."""
    return isinstance(source.body, dict) and isinstance(source.body.get("trigger"), list)


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
    """Names and targets; what nothing leads to is told only where all targets are right."""
    places: dict[str, int] = {}
    wrong: list[Problem] = []
    for number, step in enumerate(journey.steps):
        if step.step == OUT:
            what = f"a step is called {OUT}, which means the way out"
            wrong.append(source.at(("steps", number, "step"), what, "Give it another name"))
        elif step.step in places:
            what = f"two steps are called {step.step}"
            wrong.append(source.at(("steps", number, "step"), what, "Give each step a name of its own"))
        places.setdefault(step.step, number)
    for number, step in enumerate(journey.steps):
        for target, loc in targets(step):
            place = ("steps", number, *loc)
            if target == OUT:
                continue
            if target not in places:
                later = [one.step for one in journey.steps[number + 1 :]]
                wrong.append(source.at(place, f"there is no step {target}", one_of(target, {*later, OUT})))
            elif places[target] <= number:
                what = f"{step.step} leads back to {target}: a cycle, by which the journey would never end"
                remedy = "Lead forward only; a new trigger begins the journey again"
                wrong.append(source.at(place, what, remedy))
    yield from wrong or _unreached(journey, source, places)


def _unreached(journey: m.Journey, source: Source, places: Mapping[str, int]) -> Iterator[Problem]:
    reached = {0}
    for number, step in enumerate(journey.steps):
        if number not in reached:
            what = f"nothing leads to the step {step.step}"
            yield source.at(("steps", number), what, "Lead to it by a goto, or remove it")
            return
        if _goes_on(step):
            reached.add(number + 1)
        reached |= {places[target] for target, _ in targets(step) if target != OUT}


def _step(
    step: m.Step, source: Source, loc: Loc, heard: Heard, messages: Found[m.Message]
) -> Iterator[Problem]:
    if step.wait_for is not None:
        yield from check_match(step.wait_for, source, (*loc, "wait_for"), heard)
        for name in ("items", "key"):
            if getattr(step.wait_for, name) is not None:
                what = f"a wait for a fact has no {name}"
                yield source.at((*loc, "wait_for", name), what, "Remove it, and tell facts apart by when")
    for number, way in enumerate(step.branch or ()):
        yield from check_rule(source, (*loc, "branch", number, "when"), way.when, heard=heard)
    if step.split is not None:
        yield from _split(step.split, source, (*loc, "split"))
    if step.wait_until is not None:
        yield from _moment(step.wait_until, source, (*loc, "wait_until"), heard)
    if step.push is None or messages.is_broken(step.push):
        return
    message = messages.get(step.push)
    if message is None:
        yield source.at((*loc, "push"), f"there is no message {step.push}", messages.one_of(step.push))
        return
    unsaid: dict[str, str] = {}
    for part in message.parts.values():
        for found in liquid.problems(part, heard.fields):
            if found.unknown.startswith("trigger."):
                unsaid[found.unknown.removeprefix("trigger.")] = ""
    for path in unsaid:
        why, remedy = heard.unsaid(path)
        yield source.at(
            (*loc, "push"), f"the message {step.push} speaks of trigger.{path}, which {why}", remedy
        )


def _split(split: m.Split, source: Source, loc: Loc) -> Iterator[Problem]:
    total = sum(arm.percent for arm in split.arms)
    if round(total, 6) != EVERYBODY:
        yield source.at(loc, f"the arms hold {total:g} % together", "Let them add up to 100")
    names = [arm.name for arm in split.arms]
    for number, name in enumerate(names):
        if name in names[:number]:
            what = f"two arms are called {name}"
            yield source.at((*loc, "arms", number, "name"), what, "Give each arm a name of its own")


def _moment(until: m.WaitUntil, source: Source, loc: Loc, heard: Heard) -> Iterator[Problem]:
    if until.field is None:
        if until.before:
            yield source.at(
                (*loc, "before"), "before needs a field", "Write the time itself, or wait for a field"
            )
        return
    if until.field not in heard.instants:
        yield source.at(
            (*loc, "field"),
            f"{until.field} is no instant of the trigger",
            one_of(until.field, heard.instants),
        )


def check_message(message: m.Message, source: Source, policy: m.Policy | None) -> Iterator[Problem]:
    """What is wrong with a message by itself; what it says of a trigger is checked where it is pushed."""
    for part, text in message.parts.items():
        where = tuple(int(step) if step.isdigit() else step for step in part.split("."))
        longest = liquid.length_max(part)
        for found in liquid.problems(text, {}):
            if not found.unknown.startswith("trigger."):
                yield source.at(where, f"{part}: {found.what}", _text_remedy(found))
        if len(text) > longest and not liquid.is_template(text):
            what = f"{part}: it has {len(text)} characters, {longest} are shown"
            yield source.at(where, what, "Shorten it")
    yield from check_providers(message, source)
    if policy is None:
        return
    if message.topic not in policy.topics:
        what = f"the policy knows no topic {message.topic}"
        add = f"Add {message.topic}: on (or off) under topics in policy.yaml"
        remedy = one_of(message.topic, policy.topics, add)
        yield source.at(("topic",), what, remedy if remedy.endswith("?") else add)
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
            f"{message.name} is listed as transactional in policy.yaml and calls itself marketing",
            "Take it off the policy's list, or call it transactional",
        )


def _text_remedy(found: liquid.TextProblem) -> str:
    if found.kind == "filter":
        return one_of(found.unknown, liquid.filters())
    if found.kind == "tag":
        return one_of(found.unknown, liquid.TAGS)
    if found.kind == "work":
        return "Repeat less, and join shorter texts"
    if found.kind == "date":
        return "Write it of %Y %m %d %H %M and the like (docs/reference/definitions.md)"
    if found.kind == "empty":
        return "Write some words: an empty text is never sent"
    if found.kind == "syntax":
        return "Close each {{ with }} and each {% if %} with {% endif %}"
    root, _, name = found.unknown.partition(".")
    if root == "trigger":
        return "Write which of its fields, such as trigger.item"
    if root == "profile":
        return one_of(name, PROFILE)
    if root == "attributes":
        return "Write which one, such as attributes.first_name"
    return one_of(root, {"profile", "attributes", "items", "trigger"})


def check_policy(policy: m.Policy, source: Source, messages: Found[m.Message]) -> Iterator[Problem]:
    """What is wrong with the policy beyond its shape."""
    listed = policy.transactional.messages
    for number, name in enumerate(listed):
        loc = ("transactional", "messages", number)
        if name in listed[:number]:
            yield source.at(loc, f"{name} is listed twice", "Remove one of them")
        elif messages.get(name) is None and not messages.is_broken(name):
            yield source.at(loc, f"there is no message {name}", messages.one_of(name))
    windows = [cap.window for cap in policy.caps]
    for number, window in enumerate(windows):
        if window in windows[:number]:
            what = f"two caps count over a {window}, of which the smaller one holds"
            yield source.at(("caps", number), what, "Remove one of them")
    if not policy.caps:
        yield source.at(
            ("caps",),
            "there is no cap",
            "Say how many marketing pushes one person may get: {max_pushes: 2, window: calendar_day}",
        )
