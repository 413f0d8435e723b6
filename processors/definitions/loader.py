"""Reads a folder of definitions: checks every file, and turns them into the core's values.

    policy.yaml  journeys/*.yaml  messages/*.yaml  audiences/*.yaml  campaigns/*.yaml

Tests of journeys stand beside them as `journeys/NAME.test.yaml` (`processors/definitions/cases.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from connectors.errors import Misconfigured
from ledger import definitions as core
from ledger.subject import KEPT_MAX
from processors.definitions import models as m
from processors.definitions.audiences import rule_of
from processors.definitions.checks import check_journey, check_message, check_policy, check_rule
from processors.definitions.compile import campaign_of, journey_of, message_of, policy_of
from processors.definitions.problem import Problem, Wrong, one_of
from processors.definitions.source import Source

FOLDERS: Final = ("audiences", "campaigns", "journeys", "messages")
FILES_MAX: Final = 500
SHOWN_MAX: Final = 20
FIRST_WAIT: Final = re.compile(r"(?m)(^steps:\n  - \{step: [\w-]+, wait: )\w+(\})")
TEST_ENDING: Final = ".test.yaml"

Model = TypeVar("Model", m.Journey, m.Message, m.Audience, m.Campaign)


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """A folder as it was found. `definitions` is None where something is wrong."""

    problems: tuple[Problem, ...]
    policy: m.Policy | None
    journeys: Mapping[str, m.Journey]
    messages: Mapping[str, m.Message]
    audiences: Mapping[str, m.Audience]
    campaigns: Mapping[str, m.Campaign]
    definitions: core.Definitions | None
    bodies: tuple[core.Campaign, ...] = ()
    """The campaigns as the core's values."""


def load(folder: Path, archive: Mapping[str, core.Body] | None = None) -> core.Definitions:
    """The definitions of a folder; `archive` adds bodies cited before.

    Raises `Misconfigured` with all that is wrong: file, line, what, and the remedy.
    """
    found = examine(folder, archive)
    if found.definitions is None:
        shown = [str(problem) for problem in found.problems[:SHOWN_MAX]]
        more = len(found.problems) - len(shown)
        lines = [*shown, *([f"... and {more} more (optin definitions check {folder})"] if more else [])]
        raise Misconfigured("\n".join([f"{folder} can't be put in force:", *lines]))
    return found.definitions


def examine(folder: Path, archive: Mapping[str, core.Body] | None = None) -> Examined:
    """Look at every file of a folder, and say everything that is wrong. Never raises for its content."""
    problems: list[Problem] = list(_strangers(folder))
    policy_source = Source(folder / "policy.yaml", folder)
    policy = _parsed(policy_source, m.Policy, problems)
    messages = _read(folder, "messages", m.Message, problems)
    audiences = _read(folder, "audiences", m.Audience, problems)
    journeys = _read(folder, "journeys", m.Journey, problems)
    campaigns = _read(folder, "campaigns", m.Campaign, problems)
    by_name = {name: message for name, (_, message) in messages.items()}
    if policy is not None:
        problems += check_policy(policy, policy_source, by_name)
    for source, message in messages.values():
        problems += check_message(message, source, policy)
    known = {name: audience for name, (_, audience) in audiences.items()}
    for source, audience in audiences.values():
        problems += _check_audience(audience, source, known)
    for source, journey in journeys.values():
        problems += check_journey(journey, source, by_name)
        problems += _check_citations(journey, source, known)
    for source, campaign in campaigns.values():
        problems += _check_campaign(campaign, source, known, by_name)
    definitions = None
    bodies: tuple[core.Campaign, ...] = ()
    if policy is not None and not problems:
        texts = {name: message_of(message) for name, message in by_name.items()}
        compiled = []
        for source, journey in journeys.values():
            rule = None if journey.audience is None else rule_of(journey.audience, known)
            body = journey_of(journey, texts, rule)
            if len(body.kept) > KEPT_MAX:
                what = f"later steps look at {len(body.kept)} fields of the trigger"
                problems.append(source.at(("steps",), what, f"Let them look at {KEPT_MAX} at most"))
            compiled.append(body)
        if not problems:
            definitions = core.in_force(policy_of(policy), tuple(compiled), archive or {})
            bodies = tuple(
                campaign_of(one, texts[one.message], rule_of(one.audience, known))
                for _, one in campaigns.values()
            )
    return Examined(
        problems=tuple(sorted(set(problems))),
        policy=policy,
        journeys={name: one for name, (_, one) in journeys.items()},
        messages=by_name,
        audiences=known,
        campaigns={name: one for name, (_, one) in campaigns.items()},
        definitions=definitions,
        bodies=bodies,
    )


def _strangers(folder: Path) -> Iterator[Problem]:
    """Files that nobody would read, of which somebody may think that they count."""
    if not folder.is_dir():
        yield Problem(str(folder), 1, "there is no such folder", "Name the folder with policy.yaml in it")
        return
    for path in sorted(folder.rglob("*.y*ml"))[: 2 * FILES_MAX]:
        place = path.relative_to(folder)
        is_ours = place.as_posix() == "policy.yaml" or (
            place.parent.as_posix() in FOLDERS and path.suffix == ".yaml"
        )
        if not is_ours:
            where = ", ".join(f"{one}/" for one in FOLDERS)
            yield Problem(
                place.as_posix(),
                1,
                "nobody reads this file",
                f"Move it to one of {where} as NAME.yaml, or remove it",
            )


def _read(
    folder: Path, kind: str, model: type[Model], problems: list[Problem]
) -> dict[str, tuple[Source, Model]]:
    found: dict[str, tuple[Source, Model]] = {}
    paths = sorted(path for path in (folder / kind).glob("*.yaml") if not path.name.endswith(TEST_ENDING))
    if len(paths) > FILES_MAX:
        problems.append(Problem(kind, 1, f"there are {len(paths)} files", f"Keep at most {FILES_MAX}"))
    for path in paths[:FILES_MAX]:
        source = Source(path, folder)
        one = _parsed(source, model, problems)
        if one is None:
            continue
        if one.name in found:
            other = found[one.name][0].name
            problems.append(
                source.at(("name",), f"{other} has this name, too", "A name is an identity: choose another")
            )
        elif one.name != path.stem:
            what = f"{one.name} stands in the file {path.name}"
            problems.append(source.at(("name",), what, f"Call the file {one.name}.yaml"))
        found.setdefault(one.name, (source, one))
    return found


Any_ = TypeVar("Any_", bound=m.Definition)


def _parsed(source: Source, model: type[Any_], problems: list[Problem]) -> Any_ | None:
    problems += source.problems
    if source.problems and source.body is None:
        return None
    if not isinstance(source.body, dict):
        problems.append(
            source.at((), "it holds no fields", f"Write {', '.join(list(model.model_fields)[:3])} and so on")
        )
        return None
    try:
        return model.model_validate(source.body)
    except ValidationError as error:
        problems += [_told(source, dict(one), model) for one in error.errors()]
        return None


def _told(source: Source, error: dict[str, object], model: type[m.Definition]) -> Problem:
    loc = tuple(part for part in error["loc"] if isinstance(part, str | int))  # type: ignore[attr-defined]
    loc = tuple(part for part in loc if not (isinstance(part, str) and part.startswith("function-")))
    if (
        loc[:2] == ("trigger", 0)
        and isinstance(source.body, dict)
        and isinstance(source.body.get("trigger"), dict)
    ):
        loc = ("trigger", *loc[2:])
    field = ".".join(str(part) for part in loc) or "the file"
    inner = (error.get("ctx") or {}).get("error")  # type: ignore[attr-defined]
    if isinstance(inner, Wrong):
        return source.at(loc, f"{field}: {inner.what}", inner.remedy)
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        return source.at(loc, f"{field} is no field", one_of(str(loc[-1]), known))
    if kind == "missing":
        return source.at(loc[:-1], f"{field} is missing", f"Add {loc[-1]}")
    message = str(error["msg"])
    return source.at(loc, f"{field}: {message[:1].lower()}{message[1:]}", _remedies(str(kind), str(message)))


def _remedies(kind: str, message: str) -> str:
    if kind == "literal_error":
        return "Write one of these words"
    if kind == "string_pattern_mismatch":
        return "Use small letters, digits and underscores, and begin with a letter"
    if kind.startswith(("int", "float", "bool", "string", "tuple", "dict", "model")):
        return f"Write what fits: {message.lower()}"
    return "Bring it within these limits"


def _fields_at(model: type[m.Definition], loc: tuple[str | int, ...]) -> set[str]:
    """The fields that a part of a definition may have."""
    found: object = model
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(found, "model_fields", {})
        field = fields.get(part) or next((f for f in fields.values() if f.alias == part), None)
        if field is None:
            return set()
        found = _model_in(field.annotation)
    fields = getattr(found, "model_fields", {})
    return {field.alias or name for name, field in fields.items()}


def _model_in(annotation: object) -> object:
    if isinstance(annotation, type) and issubclass(annotation, m.Definition):
        return annotation
    for one in getattr(annotation, "__args__", ()):
        found = _model_in(one)
        if found is not None:
            return found
    return None


def _check_audience(
    audience: m.Audience, source: Source, known: Mapping[str, m.Audience]
) -> Iterator[Problem]:
    if audience.rule is None and not audience.inside and not audience.outside:
        yield source.at((), "the audience says nothing of anybody", "Give it a rule, or inside or outside")
    if audience.rule is not None:
        yield from check_rule(source, ("rule",), audience.rule)
    try:
        rule_of(audience.name, known)
    except Wrong as wrong:
        loc = ("inside",) if audience.inside else ("outside",)
        yield source.at(loc, wrong.what, wrong.remedy)


def _check_citations(
    journey: m.Journey, source: Source, audiences: Mapping[str, m.Audience]
) -> Iterator[Problem]:
    if journey.audience is not None and journey.audience not in audiences:
        what = f"{journey.audience} is no audience"
        yield source.at(("audience",), what, one_of(journey.audience, audiences))


def _check_campaign(
    campaign: m.Campaign,
    source: Source,
    audiences: Mapping[str, m.Audience],
    messages: Mapping[str, m.Message],
) -> Iterator[Problem]:
    if campaign.audience not in audiences:
        what = f"{campaign.audience} is no audience"
        yield source.at(("audience",), what, one_of(campaign.audience, audiences))
    message = messages.get(campaign.message)
    if message is None:
        yield source.at(
            ("message",), f"there is no message {campaign.message}", one_of(campaign.message, messages)
        )
    elif "trigger." in message.title + message.body:
        what = f"the message {campaign.message} speaks of a trigger, and a campaign has none"
        yield source.at(("message",), what, "Let it speak of profile and attributes only")


def shipped(archive: Mapping[str, core.Body] | None = None) -> core.Definitions:
    """The definitions that come with the package."""
    with shipped_folder() as folder:
        return load(folder, archive)


def shipped_folder() -> contextlib.AbstractContextManager[Path]:
    """The folder of the shipped definitions, for as long as it is entered."""
    return as_file(files(__package__) / "shipped")


def refuse_bad_wait(wait: str) -> None:
    """Raise `Misconfigured` for a wait that is no duration."""
    try:
        m.duration_ms(wait)
    except Wrong as wrong:
        raise Misconfigured(f"--wait: {wrong.what}. {wrong.remedy}.") from wrong


def write_definitions(folder: Path, source: Path | None = None, wait: str | None = None) -> None:
    """Copy definitions (the shipped ones, or those of `source`) to `folder`, which takes no others in.

    With `wait` the first step of each journey that begins with a wait waits so long; see `refuse_bad_wait`.
    Raises `Misconfigured` if `source` is no folder.
    """
    if source is not None and not source.is_dir():
        raise Misconfigured(f"{source} is no folder; name one with policy.yaml and journeys/ in it")
    with shipped_folder() if source is None else contextlib.nullcontext(source) as given:
        shutil.copytree(given, folder, dirs_exist_ok=True)
    if wait is None:
        return
    refuse_bad_wait(wait)
    for path in (folder / "journeys").glob("*.yaml"):
        if not path.name.endswith(TEST_ENDING):
            text = FIRST_WAIT.sub(rf"\g<1>{wait}\g<2>", path.read_text("utf-8"), count=1)
            path.write_text(text, encoding="utf-8")
