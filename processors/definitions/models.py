"""The shape of each definition file, as pydantic checks it; what its parts mean together is in `checks`."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from connectors.push.shown import flat
from ledger.subject import CONTACTS_MAX
from processors.definitions.problem import Wrong
from processors.definitions.scalars import (
    HOUR_MS,
    Cooldown,
    Duration,
    FactName,
    Minute,
    Name,
    Path,
    Percent,
    Plain,
    Rule,
    Some,
    Word,
    Zone,
)

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STEPS_MAX: Final = 50


class Definition(BaseModel):
    """Any part of a definition: no unknown fields, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(Definition):
    """Facts that a journey hears of."""

    fact: FactName
    where: dict[Path, Plain] = {}
    when: Rule | None = None
    items: Path | None = None
    key: Path | None = None


class Exit(Match):
    """Facts that end an instance."""

    outcome: Literal["converted", "emptied", "exited"] = "exited"


class Goal(Match):
    """What the journey is for; reaching it ends the journey."""

    within: Some


class WaitFor(Match):
    """Facts that an instance waits for."""

    within: Some
    then: Word | None = None
    otherwise: Word | None = None


class WaitUntil(Definition):
    """A time of the person's day, or an instant that the trigger names."""

    time: Minute | None = None
    on: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = _WEEKDAYS
    field: Path | None = None
    before: Duration = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.time is None) == (self.field is None):
            raise Wrong(
                "wait_until takes a time of day or a field of the trigger",
                'Write time: "09:00", or field: ends_at',
            )
        if not self.on:
            raise Wrong("on names no weekday", "Name one of mon to sun, or leave it out")
        return self

    @property
    def weekdays(self) -> tuple[int, ...]:
        """0 is Monday."""
        return tuple(_WEEKDAYS.index(day) for day in self.on)


class Way(Definition):
    """One way out of a branch."""

    when: Rule
    goto: Word


class Arm(Definition):
    """One arm of a split."""

    name: Word
    percent: float = Field(gt=0, le=100, allow_inf_nan=False)
    goto: Word


class Split(Definition):
    """A random split of subjects."""

    salt: str = Field(min_length=1, max_length=64)
    arms: tuple[Arm, ...] = Field(min_length=2, max_length=10)


_STEP_KINDS: Final = ("wait", "wait_until", "wait_for", "branch", "split", "push", "end")


class Step(Definition):
    """One step: its name, and one of the things that a step can be."""

    step: Word
    wait: Duration | None = None
    wait_until: WaitUntil | None = None
    wait_for: WaitFor | None = None
    branch: tuple[Way, ...] | None = Field(default=None, min_length=1, max_length=20)
    otherwise: Word | None = None
    split: Split | None = None
    push: Name | None = None
    end: Literal["completed", "exited"] | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = [kind for kind in _STEP_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            what = f"the step {self.step} is {' and '.join(given) or 'nothing'}"
            raise Wrong(what, f"Give it exactly one of {', '.join(_STEP_KINDS)}")
        if self.otherwise is not None and self.branch is None:
            raise Wrong(f"the step {self.step} has an otherwise without a branch", "Remove it")
        return self


class Holdout(Definition):
    """Who gets no pushes, for comparison."""

    salt: str = Field(min_length=1, max_length=64)
    percent: Percent


class Journey(Definition):
    """journeys/NAME.yaml."""

    name: Name
    audience: Name | None = None
    trigger: Annotated[
        tuple[Match, ...], BeforeValidator(lambda given: [given] if isinstance(given, dict) else given)
    ] = Field(min_length=1, max_length=20)
    goal: Goal
    exits: tuple[Exit, ...] = Field(default=(), max_length=20)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=STEPS_MAX)
    reentry: Literal["restart", "ignore"] = "restart"
    cooldown: Cooldown = 0
    opt_out_ends: bool = True
    priority: int = Field(default=50, ge=0, le=100)
    max_fact_age: Some | None = None
    holdout: Holdout


Short = Annotated[str, Field(max_length=500)]


class ByApns(Definition):
    """How Apple's devices show a message."""

    level: Literal["passive", "active", "time-sensitive", "critical"] | None = None
    relevance: float | None = Field(None, ge=0, le=1)
    category: Short = ""
    thread: Short = ""
    sound: Short = ""


class ByFcm(Definition):
    """How Android's devices show a message."""

    channel: Short = ""


class ByWebPush(Definition):
    """How push services of browsers treat a message."""

    urgency: Literal["very-low", "low", "normal", "high"] | None = None


class Message(Definition):
    """messages/NAME.yaml."""

    name: Name
    category: Literal["marketing", "transactional"]
    topic: Word
    title: str = Field(min_length=1, max_length=500)
    body: str = Field(max_length=2_000)
    link: Short = ""
    image: Short = ""
    collapse: Short = ""
    background: bool = False
    data: dict[Word, Short] = Field(default={}, max_length=20)
    title_key: Short = ""
    title_args: tuple[Short, ...] = Field((), max_length=10)
    body_key: Short = ""
    body_args: tuple[Short, ...] = Field((), max_length=10)
    apns: ByApns = ByApns()
    fcm: ByFcm = ByFcm()
    web: ByWebPush = ByWebPush()

    @property
    def shown(self) -> dict[str, str]:
        """How it is shown beside title and body, by flat names."""
        return flat(self.model_dump(exclude={"name", "category", "topic", "title", "body"}))

    @property
    def parts(self) -> dict[str, str]:
        """Every template in it by its name."""
        return {"title": self.title, "body": self.body, **self.shown}


class Audience(Definition):
    """audiences/NAME.yaml: everybody for whom the rule holds, inside and outside of other audiences."""

    name: Name
    rule: Rule | None = None
    inside: tuple[Name, ...] = Field(default=(), max_length=10)
    outside: tuple[Name, ...] = Field(default=(), max_length=10)


class Campaign(Definition):
    """campaigns/NAME.yaml: one message to an audience, once."""

    name: Name
    app: str = Field(min_length=1, max_length=128)
    audience: Name
    message: Name
    priority: int = Field(default=50, ge=0, le=100)
    per_second: int = Field(default=500, ge=1, le=100_000)
    attribution: Some
    holdout: Holdout


Permission = Literal["authorized", "provisional", "ephemeral", "pre_granted"]
Window = Literal[
    "rolling_day", "rolling_week", "rolling_month", "calendar_day", "calendar_week", "calendar_month"
]


class Cap(Definition):
    """So many pushes in a window."""

    max_pushes: int = Field(ge=0, le=CONTACTS_MAX)
    window: Window


class QuietHours(Definition):
    """When marketing is silent."""

    start: Minute = Field(alias="from")
    end: Minute = Field(alias="to")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise Wrong(
                "quiet hours from and to the same minute are none", "Write quiet_hours: null for none"
            )
        return self


class Ramp(Cap):
    """How people who just opted in are spared."""

    length: Some = Field(alias="for")
    opens: int = Field(ge=1, le=100)


class Transactional(Definition):
    """Which messages are transactional, and how many of them a person may get."""

    messages: tuple[Name, ...] = ()
    cap: Cap | None = None
    send_within: Some | None = None


class Policy(Definition):
    """policy.yaml."""

    name: Word
    marketing_permissions: tuple[Permission, ...]
    transactional_permissions: tuple[Permission, ...]
    caps: tuple[Cap, ...] = Field(max_length=10)
    quiet_hours: QuietHours | None
    zones_otherwise: tuple[Zone, ...] = ()
    topics: dict[Word, bool] = {}
    send_within: Some
    lateness_max: Some
    decision_window: Duration = 0
    after_hold: Literal["each", "last_only"] = "each"
    min_gap: Duration = 0
    ramp: Ramp | None = None
    after_purchase: Duration = 0
    item_news: Duration = 0
    suppression: dict[Word, Duration] = {}
    transactional: Transactional = Transactional()

    @field_validator("decision_window")
    @classmethod
    def _short(cls, given: int) -> int:
        if given > HOUR_MS:
            raise Wrong(
                "a decision window of more than an hour makes every push late",
                "Write a few seconds or minutes",
            )
        return given
