"""Reads definitions from YAML and turns them into the core's values. Errors name file, field and remedy."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from connectors.errors import Misconfigured
from ledger import definitions as core
from ledger.consent import ACTIVITY
from ledger.facts import FACTS
from ledger.subject import CONTACTS_MAX

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_FACT_NAMES: Final = frozenset(fact.__name__ for fact in FACTS)


def duration_ms(text: object) -> int:
    """Read a duration: a whole number and one of ms, s, m, h, d. Raises ValueError."""
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise ValueError("a duration is a whole number and a unit, such as 90s, 15m, 1h or 2d")
    return int(match[1]) * _UNITS_MS[match[2]]


def _minute(text: object) -> int:
    match = _CLOCK.fullmatch(str(text))
    if match is None:
        raise ValueError('a time of day is written in quotes, such as "22:00"')
    return int(match[1]) * 60 + int(match[2])


def _fact(name: str) -> str:
    if name not in _FACT_NAMES:
        raise ValueError(f"{name} is no fact; the facts are listed in docs/reference/facts.md")
    return name


Duration = Annotated[int, BeforeValidator(duration_ms)]
Minute = Annotated[int, BeforeValidator(_minute)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
FactName = Annotated[str, BeforeValidator(_fact)]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_ACTIVITY: Final = {kind.__name__: kind for kind in ACTIVITY}


class _Match(_Definition):
    fact: FactName
    items: str
    where: dict[str, str] = {}

    @model_validator(mode="after")
    def _fits_the_fact(self) -> Self:
        if self.fact not in _ACTIVITY:
            raise ValueError(f"{self.fact} is no activity; journeys move by {', '.join(_ACTIVITY)}")
        fields = _ACTIVITY[self.fact].__struct_fields__
        holding = [name for name in ("item", "items") if name in fields]
        if self.items not in holding:
            raise ValueError(f"items: {self.fact} holds items in {' or '.join(holding) or 'no field'}")
        unknown = sorted(set(self.where) - set(fields))
        if unknown:
            raise ValueError(f"where: {self.fact} has no field {', '.join(unknown)}")
        return self


class _Removal(_Match):
    outcome: Literal["converted", "emptied"]


class _Push(_Definition):
    step: Word
    category: Literal["marketing", "transactional"]
    topic: Word
    title: str = Field(max_length=200)
    body: str = Field(max_length=1_000)


class _Holdout(_Definition):
    salt: str = Field(min_length=1)
    percent: float = Field(ge=0, le=100)


class _Journey(_Definition):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    trigger: _Match
    removals: tuple[_Removal, ...] = ()
    wait: Duration
    push: _Push
    holdout: _Holdout
    attribution: Duration

    def to_core(self) -> core.Journey:
        return core.Journey(
            name=self.name,
            trigger=core.Match(**self.trigger.model_dump()),
            removals=tuple(core.Removal(**removal.model_dump()) for removal in self.removals),
            wait_ms=self.wait,
            push=core.Push(**self.push.model_dump()),
            holdout=core.Holdout(**self.holdout.model_dump()),
            attribution_ms=self.attribution,
        )


_Permission = Literal["authorized", "provisional", "ephemeral", "pre_granted"]
_Window = Literal[
    "rolling_day", "rolling_week", "rolling_month", "calendar_day", "calendar_week", "calendar_month"
]


class _Cap(_Definition):
    max_pushes: int = Field(ge=0, le=CONTACTS_MAX)
    window: _Window


class _QuietHours(_Definition):
    start: Minute = Field(alias="from")
    end: Minute = Field(alias="to")


class _Policy(_Definition):
    name: str
    marketing_permissions: tuple[_Permission, ...]
    transactional_permissions: tuple[_Permission, ...]
    caps: tuple[_Cap, ...]
    quiet_hours: _QuietHours | None
    zones_otherwise: tuple[str, ...] = ()
    topics_on: tuple[Word, ...] = ()
    send_within: Duration
    lateness_max: Duration

    def to_core(self) -> core.Policy:
        hours = self.quiet_hours
        return core.Policy(
            name=self.name,
            marketing_permissions=self.marketing_permissions,
            transactional_permissions=self.transactional_permissions,
            caps=tuple(core.Cap(**cap.model_dump()) for cap in self.caps),
            quiet_hours=None
            if hours is None
            else core.QuietHours(start_minute=hours.start, end_minute=hours.end),
            zones_otherwise=self.zones_otherwise,
            topics_on=self.topics_on,
            send_within_ms=self.send_within,
            lateness_max_ms=self.lateness_max,
        )


Model = TypeVar("Model", bound=_Definition)


def load(folder: Path, archive: Mapping[str, core.Journey | core.Policy] | None = None) -> core.Definitions:
    """Read `policy.yaml` and `journeys/*.yaml` of a folder; `archive` adds bodies cited before.

    Raises `Misconfigured`, which names the file, the field and what is expected there.
    """
    policy = _read(folder / "policy.yaml", _Policy).to_core()
    journeys = tuple(_read(path, _Journey).to_core() for path in sorted((folder / "journeys").glob("*.yaml")))
    names = [journey.name for journey in journeys]
    if len(set(names)) != len(names):
        raise Misconfigured(f"{folder}: two journeys have one name; each name is a journey's identity")
    return core.in_force(policy, journeys, archive or {})


def shipped(archive: Mapping[str, core.Journey | core.Policy] | None = None) -> core.Definitions:
    """The definitions that come with the package."""
    with as_file(files(__package__)) as folder:
        return load(folder, archive)


def refuse_bad_wait(wait: str) -> None:
    """Raise `Misconfigured` for a wait that is no duration."""
    try:
        duration_ms(wait)
    except ValueError as error:
        raise Misconfigured(f"--wait {wait}: {error}") from error


def write_with_wait(folder: Path, wait: str) -> None:
    """Copy the shipped definitions to `folder`, with another wait in every journey; see `refuse_bad_wait`."""
    refuse_bad_wait(wait)
    with as_file(files(__package__)) as source:
        (folder / "journeys").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / "policy.yaml", folder / "policy.yaml")
        for path in (source / "journeys").glob("*.yaml"):
            text = re.sub(r"(?m)^wait: .*$", f"wait: {wait}", path.read_text())
            (folder / "journeys" / path.name).write_text(text)


def _read(path: Path, model: type[Model]) -> Model:
    try:
        body: Any = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise Misconfigured(f"{path}: no such file; a definitions folder needs it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: not YAML: {error}") from error
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Misconfigured(f"{path}: {field}: {first['msg']}") from error
