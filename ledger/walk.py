"""Walking the steps of a journey: from where an instance stands to where it waits next, or to its end."""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from ledger import facts as f
from ledger import journey as j
from ledger.candidates import candidate_of
from ledger.definitions import bucket
from ledger.gate import MARKETING, Question
from ledger.matching import matches
from ledger.reachable import welcome
from ledger.rules import values
from ledger.setting import Turn
from ledger.snapshot import RULES, Snapshot, consent_view
from ledger.subject import Candidate, Instance, Subject
from ledger.time_zones import next_time_of_day

replace = msgspec.structs.replace

COMPLETED = "completed"
OPTED_OUT = "opted_out"

Walked = tuple[Instance | None, tuple[Candidate, ...]]
"""The instance where it waits now, None if it ended, and the pushes that it asked for on the way."""


def on_from(subject: Subject, instance: Instance, turn: Turn) -> Walked:
    """Go on from the step whose wait is over."""
    journey = turn.setting.journey(instance.journey, instance.journey_version)
    step = journey.steps[instance.at]
    following = step.otherwise if isinstance(step, j.WaitForFact) else instance.at + 1
    return walk(subject, instance, journey, following, turn.now, turn)


def walk(
    subject: Subject, instance: Instance, journey: j.Journey, index: int, base: int, turn: Turn
) -> Walked:
    """Walk from the step at `index`; a wait counts from `base` (ms)."""
    asked: list[Candidate] = []
    while 0 <= index < len(journey.steps):
        if _opted_out(subject, instance, journey, turn):
            turn.end(instance, OPTED_OUT)
            return None, tuple(asked)
        step = journey.steps[index]
        match step:
            case j.Wait() | j.WaitForFact() | j.WaitForTime() | j.WaitForMoment():
                due = _due(subject, instance, step, base, turn)
                if due is not None:
                    return replace(instance, at=index, due=due), tuple(asked)
                index += 1
            case j.Push():
                asked.append(candidate_of(instance, index, turn.now))
                instance, index = replace(instance, pushed=True), index + 1
            case j.Branch():
                known = values(subject.profile, turn.now, items=instance.items, trigger=instance.kept)
                ways = (way.goto for way in step.ways if turn.setting.rules.holds(way.when, known))
                index = next(ways, step.otherwise)
            case j.Split():
                arm = _arm(step, turn.name)
                instance, index = replace(instance, arm=f"{step.step}:{arm.name}"), arm.goto
            case j.End():
                turn.end(instance, step.outcome)
                return None, tuple(asked)
            case _:
                assert_never(step)
    turn.end(instance, COMPLETED)
    return None, tuple(asked)


def arrived(subject: Subject, fact: f.SubjectFact, turn: Turn) -> tuple[Subject, tuple[Candidate, ...]]:
    """Let instances that wait for this fact go on."""
    kind = type(fact).__name__
    definitions = turn.setting.definitions
    kept: list[Instance] = []
    asked: list[Candidate] = []
    for instance in subject.instances:
        hearing = definitions.hearing(instance.journey_version, kind)
        step = None if hearing is None else hearing.waits.get(instance.at)
        if hearing is None or step is None or not matches(step.match, fact, subject, turn, instance.kept):
            kept.append(instance)
            continue
        waiting, pushes = walk(subject, instance, hearing.journey, step.then, turn.now, turn)
        asked.extend(pushes)
        if waiting is not None:
            kept.append(waiting)
    if tuple(kept) == subject.instances:
        return subject, ()
    return replace(subject, instances=tuple(kept)), tuple(asked)


def _opted_out(subject: Subject, instance: Instance, journey: j.Journey, turn: Turn) -> bool:
    """Whether somebody who was welcome when it began has taken that back."""
    if not (instance.opted_in and journey.opt_out_ends):
        return False
    return not welcome(subject.consent, instance.app, journey, turn.setting.definitions.policy)


def _due(
    subject: Subject,
    instance: Instance,
    step: j.Wait | j.WaitForFact | j.WaitForTime | j.WaitForMoment,
    base: int,
    turn: Turn,
) -> int | None:
    """When the step's wait is over; None: there is nothing to wait for."""
    match step:
        case j.Wait():
            return base + step.for_ms
        case j.WaitForFact():
            return turn.now + step.timeout_ms
        case j.WaitForTime():
            return _time_of_day(subject, instance, step, turn)
        case j.WaitForMoment():
            moment: Any = instance.kept.get(step.field)
            at = moment - step.before_ms if isinstance(moment, int) else turn.now
            return at if at > turn.now else None
        case _:
            assert_never(step)


def _time_of_day(subject: Subject, instance: Instance, step: j.WaitForTime, turn: Turn) -> int | None:
    """The first instant at which it is late enough wherever the person may be; nobody knows: no wait."""
    view = consent_view(subject.consent, instance.app, "")
    active = tuple(subject.last_active.get(one.key, -1) for one in view.installations)
    asked = Snapshot(view, MARKETING, "", active, (), holdout=False, goal_met=False, rules=RULES)
    setting = turn.setting
    zones = Question(asked, setting.definitions.policy, setting.zone_table, turn.now).zones
    dues = [next_time_of_day(turn.now, step.minute, step.weekdays, zone) for zone in zones]
    return max(dues) if dues and max(dues) > turn.now else None


def _arm(step: j.Split, name: str) -> j.Arm:
    ticket, upto = bucket(step.salt, name), 0.0
    for arm in step.arms:
        upto += arm.percent * 100
        if ticket < upto:
            return arm
    return step.arms[-1]
