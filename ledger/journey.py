"""What a journey is: its triggers, exits and steps as values, made from YAML outside and never changed.

A journey is a list of steps that is walked forward only, so it always ends. `ledger/journeys.py` and its
neighbours walk it; here is only its shape, which is also the body that is published by content hash.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

CONVERTED: Final = "converted"
"""Outcome of an instance whose goal was reached."""

END: Final = -1
"""A `goto` that leads out of the journey."""

Scalar: TypeAlias = str | int | float | bool


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one kind whose fields have the given values and for which the rule `when` holds.

    `items` names the field with the items, `key` the field that tells instances apart. A field of a map is
    written with a dot (`properties.order`).
    """

    fact: str
    where: dict[str, str] = {}
    when: str | None = None
    items: str | None = None
    key: str | None = None


class Exit(Match, frozen=True, kw_only=True):
    """Facts that end an instance with `outcome`.

    With `items` they only take these items out of it, and an instance that is emptied by it ends.
    """

    outcome: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is said, and under which rules. `title` and `body` are templates.

    `shown`: how it is shown beside these, as templates by the flat names of `connectors.push.shown`.
    """

    name: str
    category: str
    topic: str
    title: str
    body: str
    shown: dict[str, str] = {}

    @property
    def parts(self) -> dict[str, str]:
        """Every template in it by its name."""
        return {"title": self.title, "body": self.body, **self.shown}


class Wait(msgspec.Struct, frozen=True, kw_only=True, tag="wait"):
    """Wait for a while: the first wait counts from the trigger, a later one from the step before."""

    step: str
    for_ms: int


class WaitForTime(msgspec.Struct, frozen=True, kw_only=True, tag="wait_for_time"):
    """Wait until the person's clock next shows `minute` of the day, on one of `weekdays` (0: Monday)."""

    step: str
    minute: int
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class WaitForMoment(msgspec.Struct, frozen=True, kw_only=True, tag="wait_for_moment"):
    """Wait until `before_ms` before the instant that the trigger's field names; past: go on at once."""

    step: str
    field: str
    before_ms: int = 0


class WaitForFact(msgspec.Struct, frozen=True, kw_only=True, tag="wait_for_fact"):
    """Wait for a fact and go on at `then`; after `timeout_ms` without it, at `otherwise`."""

    step: str
    match: Match
    timeout_ms: int
    then: int
    otherwise: int


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way out of a branch: the first whose rule holds is taken."""

    when: str
    goto: int


class Branch(msgspec.Struct, frozen=True, kw_only=True, tag="branch"):
    """Go on at the first way whose rule holds, else at `otherwise`."""

    step: str
    ways: tuple[Way, ...]
    otherwise: int


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of a random split: its share of subjects, of 100."""

    name: str
    percent: float
    goto: int


class Split(msgspec.Struct, frozen=True, kw_only=True, tag="split"):
    """Send each subject down one arm, the same whenever it comes here with this salt."""

    step: str
    salt: str
    arms: tuple[Arm, ...]


class Push(msgspec.Struct, frozen=True, kw_only=True, tag="push"):
    """Ask the gate for a push, and go on whatever it says."""

    step: str
    message: Message


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """End here, with this outcome."""

    step: str
    outcome: str


Step: TypeAlias = Wait | WaitForTime | WaitForMoment | WaitForFact | Branch | Split | Push | End


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """The share of subjects whose pushes are held out, for comparison. `percent` of 100."""

    salt: str
    percent: float


RESTART: Final = "restart"
IGNORE: Final = "ignore"
ONCE: Final = -1
"""A cooldown that never ends."""


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """A flow for one subject. Of each key a subject has at most one open instance.

    `reentry`: what a trigger does to an open instance: `restart` or `ignore`. `cooldown_ms`: so long after a
    start no other begins; `ONCE`: never again. `kept`: fields of the trigger that later steps look at.
    """

    name: str
    triggers: tuple[Match, ...]
    exits: tuple[Exit, ...] = ()
    steps: tuple[Step, ...]
    reentry: str = RESTART
    cooldown_ms: int = 0
    opt_out_ends: bool = True
    kept: tuple[str, ...] = ()
    priority: int = 50
    max_fact_age_ms: int | None = None
    holdout: Holdout
    attribution_ms: int

    @property
    def pushes(self) -> tuple[Push, ...]:
        """The steps that ask for a push."""
        return tuple(step for step in self.steps if isinstance(step, Push))


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One push to an audience, once. `flow`: a journey of this push that nothing triggers.

    `rule` says who is in the audience; `per_second` bounds how many pushes are asked for, in all partitions.
    """

    app: str
    rule: str
    per_second: int
    flow: Journey


def kinds(journey: Journey) -> frozenset[str]:
    """Names of the facts that can move an instance of the journey or begin one."""
    waits = [step.match.fact for step in journey.steps if isinstance(step, WaitForFact)]
    return frozenset(
        [*(trigger.fact for trigger in journey.triggers), *(way.fact for way in journey.exits), *waits]
    )


def value_at(fact: Any, path: str) -> Any:
    """The value of a fact's field, or of an entry of a field that is a map; None where there is none."""
    if "." not in path:
        return getattr(fact, path, None)
    name, _, entry = path.partition(".")
    value = getattr(fact, name, None)
    return value.get(entry) if isinstance(value, dict) else None


def items_at(fact: Any, path: str | None) -> tuple[str, ...]:
    """The items that a fact holds in a field, each once."""
    value = None if path is None else value_at(fact, path)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
