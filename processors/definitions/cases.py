"""Tests of journeys as data: facts in, expected decisions out, on the pure core in milliseconds.

A file `journeys/NAME.test.yaml` stands beside its journey:

    journey: cart_abandonment
    cases:
      - case: a cart that is left becomes a reminder
        when:
          - {at: 0m, CartUpdated: {item: boots, change: added}}
        then:
          - {at: 1h, push: reminder, verdict: send, items: [boots]}
          - {at: 1d, ended: completed}

Times count from `start`, a local time of the person (noon of Monday 2 March 2026 unless the case says
otherwise). The person of a case is reachable on one installation, in Berlin, opted in long ago, and not held
out; `person` changes that. `then` lists all that the journey decides and how its instances end, in order.
The time of a first decision is when the push was wanted; that of a later one, when it was decided.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from connectors.rules.variables import KINDS
from connectors.time_zones import zone_table
from ledger import facts as f
from ledger.admission import rejection
from ledger.definitions import Definitions, held_out, in_force
from ledger.life import Life
from processors.definitions.models import Definition
from processors.definitions.problem import Problem, Wrong, one_of
from processors.definitions.scalars import Zone, duration_ms
from processors.definitions.setting import setting_of
from processors.definitions.source import Source
from processors.definitions.wording import told

APP: Final = "shop"
PHONE: Final = "phone"
DAY_MS: Final = 86_400_000
NOON: Final = "2026-03-02 12:00"
CASES_MAX: Final = 200
SEARCH_MAX: Final = 100_000
_PARTS: Final = re.compile(r"-?(?:\d{1,6}(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"\d+(?:ms|[smhd])")


def offset_ms(text: object) -> int:
    """Read a time that counts from the start: durations one after the other, such as 1d2h30m or -1d."""
    if not _PARTS.fullmatch(str(text)):
        raise Wrong(
            f"{text!r} is no time of a case", "Write how long after the start, such as 0m, 90m or 1d2h30m"
        )
    total = sum(duration_ms(part) for part in _PART.findall(str(text)))
    return -total if str(text).startswith("-") else total


Offset = Annotated[int, BeforeValidator(offset_ms)]


class Person(Definition):
    """Who a case is about."""

    permission: Literal[
        "authorized", "provisional", "ephemeral", "pre_granted", "denied", "not_determined"
    ] = "authorized"
    opted_in: Offset = -90 * DAY_MS
    token: bool = True
    time_zone: Zone | None = "Europe/Berlin"
    country: str | None = None
    topics: dict[str, bool] = Field(default={})
    attributes: dict[str, str] = Field(default={})
    opens: int = Field(default=1, ge=0, le=10)
    held_out: bool = False


class Given(Definition):
    """A fact of a case, with what it takes besides its fields."""

    at: Offset
    arrives: Offset | None = None
    twice: Offset | None = None
    fact: str
    fields: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise Wrong("a fact is written as {at: TIME, FACT: {fields}}", "Write it so")
        names = [name for name in given if name not in {"at", "arrives", "twice"}]
        if len(names) != 1 or names[0] not in KINDS:
            word = next((name for name in names if name not in KINDS), "")
            raise Wrong(f"{word or 'it'} names no fact", one_of(str(word), KINDS))
        rest = {name: value for name, value in given.items() if name not in names}
        return {**rest, "fact": names[0], "fields": given[names[0]] or {}}


class Expected(Definition):
    """Something that follows: a decision on a push, or the end of an instance."""

    at: Offset
    push: str | None = None
    verdict: Literal["send", "withhold", "hold_out", "hold"] | None = None
    reason: str | None = None
    items: tuple[str, ...] | None = None
    title: str | None = None
    body: str | None = None
    ended: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.push is None) == (self.ended is None) or (self.push is None) != (self.verdict is None):
            raise Wrong(
                "what follows is a push with its verdict, or an end", "Write push and verdict, or ended"
            )
        return self


class Case(Definition):
    """One example."""

    case: str = Field(min_length=1, max_length=200)
    start: str = NOON
    person: Person = Person()
    given: tuple[Given, ...] = Field(default=(), max_length=200)
    when: tuple[Given, ...] = Field(default=(), max_length=200)
    then: tuple[Expected, ...] = Field(max_length=200)


class Cases(Definition):
    """journeys/NAME.test.yaml."""

    journey: str
    cases: tuple[Case, ...] = Field(min_length=1, max_length=CASES_MAX)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How one case came out; `difference` is empty if it passed."""

    file: str
    line: int
    case: str
    difference: str


def read_cases(path: Path, folder: Path) -> tuple[Cases | None, Source, list[Problem]]:
    """A file of cases, and what is wrong with it."""
    source = Source(path, folder)
    if source.problems or not isinstance(source.body, dict):
        return (
            None,
            source,
            source.problems or [source.at((), "it holds no cases", "Write journey and cases")],
        )
    try:
        return Cases.model_validate(source.body), source, []
    except ValidationError as error:
        return None, source, list(told(source, error, Cases))


def run(path: Path, folder: Path, definitions: Definitions) -> Iterator[Outcome]:
    """Run the cases of a file by the definitions of its folder. The journey of the file runs alone."""
    cases, source, problems = read_cases(path, folder)
    for problem in problems:
        yield Outcome(problem.file, problem.line, "", problem.advice)
    if cases is None:
        return
    journeys = tuple(one for one in definitions.journeys if one.name == cases.journey)
    if not journeys:
        remedy = one_of(cases.journey, definitions.journey_versions)
        yield Outcome(
            source.name, source.line(("journey",)), "", f"there is no journey {cases.journey}. {remedy}"
        )
        return
    alone = in_force(definitions.policy, journeys, {})
    for number, case in enumerate(cases.cases):
        line = source.line(("cases", number))
        try:
            yield Outcome(source.name, line, case.case, _difference(case, alone))
        except Wrong as wrong:
            yield Outcome(source.name, line, case.case, wrong.advice)


def _difference(case: Case, definitions: Definitions) -> str:
    start = _start(case)
    life = play(case, definitions)
    found = [_found(one, start) for one in life.said if isinstance(one, f.PushDecided | f.JourneyEnded)]
    wanted = [_wanted(one) for one in case.then]
    for number in range(max(len(found), len(wanted))):
        have = found[number] if number < len(found) else None
        want = wanted[number] if number < len(wanted) else None
        if have is None or want is None or any(have.get(name) != value for name, value in want.items()):
            return f"{number + 1}. wanted: {_text(want)}; followed: {_text(have)}"
    return ""


def play(case: Case, definitions: Definitions) -> Life:
    """Live through a case. Raises `Wrong` for a fact that the ledger would refuse."""
    name = _somebody(case, definitions)
    setting = setting_of(definitions)
    life = Life(name, setting)
    start = _start(case)
    arrivals: list[tuple[int, int, f.SubjectFact]] = []
    for number, fact in enumerate(_person(case.person, name, start)):
        arrivals.append((fact.occurred_at, number, fact))
    for number, given in enumerate((*case.given, *case.when), start=len(arrivals)):
        fact = _fact(given, name, start, number)
        arrived = start + (given.at if given.arrives is None else given.arrives)
        refused = rejection(fact, fact.subject.encode(), arrived)
        if refused is not None:
            raise Wrong(f"the ledger refuses fact {number}: {refused[1]}", "Mend the fact")
        arrivals.append((arrived, number, fact))
        if given.twice is not None:
            arrivals.append((start + given.twice, number, fact))
    for arrived, _, fact in sorted(arrivals, key=lambda one: one[:2]):
        life.fold(fact, arrived, arrived)
    life.pass_until(float("inf"))
    return life


def _start(case: Case) -> int:
    zone = zone_table().zones[case.person.time_zone or "Europe/Berlin"]
    try:
        local = datetime.strptime(case.start, "%Y-%m-%d %H:%M").replace(tzinfo=zone)
    except ValueError as error:
        raise Wrong(f"{case.start!r} is no start", "Write it as 2026-03-02 12:00") from error
    return int(local.astimezone(UTC).timestamp()) * 1_000


def _somebody(case: Case, definitions: Definitions) -> str:
    """A subject that is in the holdout of the journey, or is not, as the case wants it."""
    (journey,) = definitions.journeys
    for number in range(SEARCH_MAX):
        if held_out(journey.holdout, f"person-{number}") == case.person.held_out:
            return f"person-{number}"
    raise Wrong("nobody is held out of this journey", "Give its holdout a share, or leave held_out away")


def _person(person: Person, name: str, start: int) -> Iterator[f.SubjectFact]:
    at = start + person.opted_in
    here = {"app": APP, "source": "device", "subject": name}
    numbers = iter(range(1_000))

    def envelope(**fields: Any) -> dict[str, Any]:
        return {**here, "event_id": f"person-{next(numbers)}", "occurred_at": at, **fields}

    place = {"time_zone": person.time_zone, "country": person.country}
    yield f.InstallationSeen(**envelope(installation=PHONE, platform="ios", **place))
    if person.permission != "not_determined":
        yield f.PermissionObserved(**envelope(installation=PHONE, permission=person.permission))
    if person.token:
        yield f.TokenRegistered(**envelope(installation=PHONE, provider="console", token=PHONE))
    for topic, on in person.topics.items():
        yield (f.TopicSubscribed if on else f.TopicUnsubscribed)(**envelope(topic=topic))
    if person.attributes:
        yield f.SubjectAttributesSet(**envelope(attributes=person.attributes, source="server"))
    for _ in range(person.opens):
        yield f.PushOpened(**envelope(installation=PHONE, push_id="before"))


def _fact(given: Given, name: str, start: int, number: int) -> f.SubjectFact:
    kind = KINDS[given.fact]
    known = {field.name for field in msgspec.structs.fields(kind)}
    unknown = sorted(set(given.fields) - known)
    if unknown:
        raise Wrong(f"{given.fact} has no field {unknown[0]}", one_of(unknown[0], known))
    envelope: dict[str, Any] = {
        "event_id": f"case-{number}",
        "app": APP,
        "occurred_at": start + given.at,
        "source": "device",
        "subject": name,
    }
    if "installation" in known:
        envelope["installation"] = PHONE
    fields = {key: _instant(value, start) for key, value in given.fields.items()}
    try:
        return msgspec.convert({**envelope, **fields}, kind)
    except msgspec.ValidationError as error:
        raise Wrong(f"{given.fact}: {error}", "Mend the fact's fields") from error


def _instant(value: Any, start: int) -> Any:
    """An instant in a field is written as `{at: 3d}`."""
    if isinstance(value, dict) and value.keys() == {"at"}:
        return start + offset_ms(value["at"])
    return value


def _found(fact: f.PushDecided | f.JourneyEnded, start: int) -> dict[str, Any]:
    if isinstance(fact, f.JourneyEnded):
        return {"at": fact.occurred_at - start, "ended": fact.outcome}
    return {
        "at": (fact.occurred_at if fact.revision else fact.candidate_at) - start,
        "push": fact.step,
        "verdict": fact.verdict,
        "reason": fact.reason,
        "items": fact.items,
        "title": fact.title,
        "body": fact.body,
    }


def _wanted(expected: Expected) -> dict[str, Any]:
    given = expected.model_dump(exclude_unset=True)
    if expected.verdict in {"withhold", "hold"}:
        given["reason"] = expected.reason
    return given


def _text(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "nothing"
    shown = {name: value for name, value in one.items() if value is not None and name != "at"}
    words = ", ".join(f"{name}: {list(v) if isinstance(v, tuple) else v}" for name, v in shown.items())
    return f"{{at: {as_offset(one['at'])}, {words}}}"


def as_offset(ms: int) -> str:
    """The text that `offset_ms` reads."""
    left, text = abs(ms), ""
    for unit, size in (("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        if left >= size:
            text += f"{left // size}{unit}"
            left %= size
    return f"{'-' if ms < 0 else ''}{text or '0m'}"
