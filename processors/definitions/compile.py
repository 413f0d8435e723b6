"""Definition files, once checked, as the core's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.rules import cel, liquid
from ledger import journey as j
from ledger import policy as p
from processors.definitions import models as m
from processors.definitions.checks import OUT
from processors.definitions.scalars import Plain


def policy_of(given: m.Policy) -> p.Policy:
    """The policy as the core's value."""
    hours, ramp, transactional = given.quiet_hours, given.ramp, given.transactional
    return p.Policy(
        name=given.name,
        marketing_permissions=given.marketing_permissions,
        transactional_permissions=given.transactional_permissions,
        caps=tuple(_cap(cap) for cap in given.caps),
        quiet_hours=None if hours is None else p.QuietHours(start_minute=hours.start, end_minute=hours.end),
        zones_otherwise=given.zones_otherwise,
        topics_on=tuple(sorted(topic for topic, on in given.topics.items() if on)),
        send_within_ms=given.send_within,
        lateness_max_ms=given.lateness_max,
        decision_window_ms=given.decision_window,
        after_hold=given.after_hold,
        min_gap_ms=given.min_gap,
        ramp=None
        if ramp is None
        else p.Ramp(for_ms=ramp.length, max_pushes=ramp.max_pushes, window=ramp.window, opens=ramp.opens),
        after_purchase_ms=given.after_purchase,
        item_news_ms=given.item_news,
        suppression_ms=dict(sorted(given.suppression.items())),
        transactional_messages=tuple(sorted(transactional.messages)),
        transactional_cap=None if transactional.cap is None else _cap(transactional.cap),
        transactional_within_ms=transactional.send_within,
    )


def _cap(cap: m.Cap) -> p.Cap:
    return p.Cap(max_pushes=cap.max_pushes, window=cap.window)


def journey_of(given: m.Journey, messages: Mapping[str, j.Message], audience: str | None) -> j.Journey:
    """A journey that was checked; `audience`: the rule of its audience."""
    places = {step.step: number for number, step in enumerate(given.steps)}
    steps = tuple(_step(step, number, places, messages) for number, step in enumerate(given.steps))
    goal = j.Exit(**_match(given.goal), outcome=j.CONVERTED)
    kept = _kept(given, messages)
    if any(trigger.fact == "WatchedItemChanged" for trigger in given.trigger):
        kept |= {"changed_at", "version"}
    return j.Journey(
        name=given.name,
        triggers=tuple(j.Match(**_match(one, audience)) for one in given.trigger),
        exits=(goal, *(j.Exit(**_match(one), outcome=one.outcome) for one in given.exits)),
        steps=steps,
        reentry=given.reentry,
        cooldown_ms=j.ONCE if given.cooldown == "forever" else given.cooldown,
        opt_out_ends=given.opt_out_ends,
        kept=tuple(sorted(kept)),
        priority=given.priority,
        max_fact_age_ms=given.max_fact_age,
        holdout=j.Holdout(salt=given.holdout.salt, percent=given.holdout.percent),
        attribution_ms=given.goal.within,
    )


def campaign_of(given: m.Campaign, message: j.Message, rule: str) -> j.Campaign:
    """A campaign that was checked; `rule`: that of its audience."""
    flow = j.Journey(
        name=given.name,
        triggers=(),
        steps=(j.Push(step="campaign", message=message),),
        priority=given.priority,
        holdout=j.Holdout(salt=given.holdout.salt, percent=given.holdout.percent),
        attribution_ms=given.attribution,
    )
    return j.Campaign(app=given.app, rule=rule, per_second=given.per_second, flow=flow)


def message_of(given: m.Message) -> j.Message:
    """A message as the core's value."""
    return j.Message(
        name=given.name,
        category=given.category,
        topic=given.topic,
        title=given.title,
        body=given.body,
        shown=given.shown,
    )


def _match(match: m.Match, audience: str | None = None) -> dict[str, Any]:
    rules = [rule for rule in (match.when, audience) if rule is not None]
    return {
        "fact": match.fact,
        "where": {path: _word(value) for path, value in match.where.items()},
        "when": " && ".join(f"({rule})" for rule in rules) if len(rules) > 1 else next(iter(rules), None),
        "items": match.items,
        "key": match.key,
    }


def _word(value: Plain) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _step(step: m.Step, number: int, places: Mapping[str, int], messages: Mapping[str, j.Message]) -> j.Step:
    def goto(name: str | None) -> int:
        if name is None:
            return number + 1
        return j.END if name == OUT else places[name]

    name = step.step
    if step.wait is not None:
        return j.Wait(step=name, for_ms=step.wait)
    if step.wait_until is not None:
        until = step.wait_until
        if until.field is not None:
            return j.WaitForMoment(step=name, field=until.field, before_ms=until.before)
        return j.WaitForTime(step=name, minute=until.time or 0, weekdays=until.weekdays)
    if step.wait_for is not None:
        waits = step.wait_for
        return j.WaitForFact(
            step=name,
            match=j.Match(**_match(waits)),
            timeout_ms=waits.within,
            then=goto(waits.then),
            otherwise=goto(waits.otherwise),
        )
    if step.branch is not None:
        ways = tuple(j.Way(when=way.when, goto=goto(way.goto)) for way in step.branch)
        return j.Branch(step=name, ways=ways, otherwise=goto(step.otherwise))
    if step.split is not None:
        arms = tuple(j.Arm(name=a.name, percent=a.percent, goto=goto(a.goto)) for a in step.split.arms)
        return j.Split(step=name, salt=step.split.salt, arms=arms)
    if step.push is not None:
        return j.Push(step=name, message=messages[step.push])
    assert step.end is not None
    return j.End(step=name, outcome=step.end)


def _kept(given: m.Journey, messages: Mapping[str, j.Message]) -> set[str]:
    """The fields of the trigger that steps, rules and texts look at after it."""
    kept = {step.wait_until.field for step in given.steps if step.wait_until and step.wait_until.field}
    rules = [way.when for step in given.steps for way in step.branch or ()]
    rules += [match.when for match in (given.goal, *given.exits) if match.when]
    rules += [step.wait_for.when for step in given.steps if step.wait_for and step.wait_for.when]
    kept |= {path for rule in rules for path in cel.trigger_paths(rule)}
    for step in given.steps:
        if step.push is not None:
            kept |= liquid.trigger_paths(*messages[step.push].parts.values())
    return kept
