"""Reads a folder of definitions: checks every file, and turns them into the core's values.

    policy.yaml  journeys/*.yaml  messages/*.yaml  audiences/*.yaml  campaigns/*.yaml

Tests of journeys stand beside them as `journeys/NAME.test.yaml` (`processors/definitions/cases.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from connectors.errors import Misconfigured
from connectors.rules.cel import whole_problem
from connectors.rules.liquid import trigger_paths
from ledger import definitions as core
from ledger.journey import Journey
from ledger.subject import KEPT_MAX
from processors.definitions import models as m
from processors.definitions.audiences import check_audiences, rule_of
from processors.definitions.checks import check_journey, check_message, check_policy
from processors.definitions.compile import campaign_of, journey_of, message_of, policy_of
from processors.definitions.found import Found, Model
from processors.definitions.problem import Problem, Wrong
from processors.definitions.scalars import duration_ms
from processors.definitions.source import Source
from processors.definitions.wording import names_of, told

FOLDER_OF: Final[Mapping[type[m.Definition], str]] = {
    m.Audience: "audiences", m.Campaign: "campaigns", m.Journey: "journeys", m.Message: "messages",
}  # fmt: skip
FOLDERS: Final = tuple(FOLDER_OF.values())
KINDS: Final[tuple[type[m.Definition], ...]] = (m.Policy, *FOLDER_OF)
POLICY: Final = "policy.yaml"
ENDING: Final = ".yaml"
FILES_MAX: Final = 500
SHOWN_MAX: Final = 20
FIRST_WAIT: Final = re.compile(r"(?m)(^steps:\n  - \{step: [\w-]+, wait: )\w+(\})")
TEST_ENDING: Final = ".test.yaml"


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
    definitions = checked(folder, archive).definitions
    assert definitions is not None
    return definitions


def checked(folder: Path, archive: Mapping[str, core.Body] | None = None) -> Examined:
    """A folder in which nothing is wrong. Raises `Misconfigured` for any other."""
    found = examine(folder, archive)
    if found.definitions is None:
        shown = [str(problem) for problem in found.problems[:SHOWN_MAX]]
        more = len(found.problems) - len(shown)
        lines = [*shown, *([f"... and {more} more (optin definitions check {folder})"] if more else [])]
        raise Misconfigured("\n".join([f"{folder} can't be put in force:", *lines]))
    return found


def examine(folder: Path, archive: Mapping[str, core.Body] | None = None) -> Examined:
    """Look at every file of a folder, and say everything that is wrong. Never raises for its content."""
    if not folder.is_dir():
        nowhere = Problem(str(folder), 1, "there is no such folder", "Name the folder with policy.yaml in it")
        return Examined((nowhere,), None, {}, {}, {}, {}, None)
    problems: list[Problem] = list(_strangers(folder))
    policy_source = Source(folder / POLICY, folder)
    policy = _parsed(policy_source, m.Policy, problems)
    messages = _read(folder, "messages", m.Message, problems)
    audiences = _read(folder, "audiences", m.Audience, problems)
    journeys = _read(folder, "journeys", m.Journey, problems)
    campaigns = _read(folder, "campaigns", m.Campaign, problems)
    if policy is not None:
        problems += check_policy(policy, policy_source, messages)
    for source, message in messages:
        problems += check_message(message, source, policy)
    problems += check_audiences(audiences)
    for source, journey in journeys:
        problems += check_journey(journey, source, messages)
        if journey.audience is not None:
            problems += _unknown_audience(journey.audience, source, audiences)
    for source, campaign in campaigns:
        problems += _unknown_audience(campaign.audience, source, audiences)
        problems += _check_campaign(campaign, source, messages)
    compiled: tuple[Journey, ...] = ()
    if not problems:
        compiled = tuple(_compiled(journeys, messages, audiences, problems))
    definitions = None
    bodies: tuple[core.Campaign, ...] = ()
    if policy is not None and not problems:
        definitions = core.in_force(policy_of(policy), compiled, archive or {})
        bodies = tuple(
            campaign_of(one, message_of(said), rule_of(one.audience, audiences.models))
            for _, one in campaigns
            if (said := messages.get(one.message)) is not None
        )
    return Examined(
        problems=tuple(sorted(set(problems))),
        policy=policy,
        journeys=journeys.models,
        messages=messages.models,
        audiences=audiences.models,
        campaigns=campaigns.models,
        definitions=definitions,
        bodies=bodies,
    )


def _compiled(
    journeys: Found[m.Journey],
    messages: Found[m.Message],
    audiences: Found[m.Audience],
    problems: list[Problem],
) -> Iterator[Journey]:
    """The journeys as the core's values; what only shows when parts are put together is a problem."""
    texts = {name: message_of(message) for name, message in messages.models.items()}
    for source, journey in journeys:
        rule = None if journey.audience is None else rule_of(journey.audience, audiences.models)
        body = journey_of(journey, texts, rule)
        if len(body.kept) > KEPT_MAX:
            what = f"later steps look at {len(body.kept)} fields of the trigger: {', '.join(body.kept)}"
            problems.append(source.at(("steps",), what, f"Let them look at {KEPT_MAX} at most"))
        for trigger in body.triggers if rule is not None else ():
            if trigger.when is not None and (said := whole_problem(trigger.when)):
                what = f"its audience and the trigger's rule together are wrong: {said}"
                problems.append(source.at(("audience",), what, "Write shorter rules"))
        yield body


def _strangers(folder: Path) -> Iterator[Problem]:
    """Files that nobody would read, of which somebody may think that they count."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in {".yaml", ".yml"})
    for path in sorted(itertools.islice(paths, 10 * FILES_MAX)):
        place = path.relative_to(folder)
        if any(part.startswith(".") for part in place.parts):
            continue  # not ours: a .github/, or the folders that Kubernetes mounts beside its links
        where, name = place.parent.as_posix(), place.name
        is_ours = where in FOLDERS and name.endswith(ENDING) and not name.endswith(TEST_ENDING)
        if is_ours or place.as_posix() == POLICY or (where == "journeys" and name.endswith(TEST_ENDING)):
            continue
        stem = name.partition(".")[0]
        if name.endswith(TEST_ENDING):
            remedy = f"Move it to journeys/, beside the journey that it tests, as {stem}{TEST_ENDING}"
        elif where in FOLDERS:
            remedy = f"Call it {where}/{stem}{ENDING}"
        elif where == "." and stem.lower() == "policy":
            remedy = f"Call it {POLICY}"
        else:
            folders = ", ".join(f"{one}/" for one in FOLDERS)
            remedy = f"Move it to one of {folders} as {stem}{ENDING}, or remove it"
        yield Problem(place.as_posix(), 1, "nobody reads this file", remedy)


def _read(folder: Path, kind: str, model: type[Model], problems: list[Problem]) -> Found[Model]:
    found: Found[Model] = Found()
    paths = sorted(path for path in (folder / kind).glob(f"*{ENDING}") if not path.name.endswith(TEST_ENDING))
    if len(paths) > FILES_MAX:
        problems.append(Problem(kind, 1, f"there are {len(paths)} files", f"Keep at most {FILES_MAX}"))
    for path in paths[:FILES_MAX]:
        source = Source(path, folder)
        one = _parsed(source, model, problems)
        if one is not None and one.name == path.stem:
            found.sources[one.name] = (source, one)
            continue
        found.broken.add(path.stem)
        if one is None:
            if isinstance(source.body, dict):
                found.broken.add(str(source.body.get("name")))
            continue
        found.broken.add(one.name)
        if any(other.stem == one.name for other in paths):
            what = f"{kind}/{one.name}{ENDING} has the name {one.name}, too"
            problems.append(source.at(("name",), what, f"A name is an identity: call this one {path.stem}"))
        else:
            what = f"{one.name} stands in the file {path.name}"
            remedy = f"Call the file {one.name}{ENDING}, or what is in it {path.stem}"
            problems.append(source.at(("name",), what, remedy))
    return found


Any_ = TypeVar("Any_", bound=m.Definition)


def _parsed(source: Source, model: type[Any_], problems: list[Problem]) -> Any_ | None:
    problems += source.problems
    if source.problems and source.body is None:
        return None
    if not isinstance(source.body, dict):
        fields = ", ".join(list(model.model_fields)[:3])
        what = "it is empty" if source.body is None else "it holds no fields"
        problems.append(source.at((), what, f"Write {fields} and so on, each as NAME: VALUE, or remove it"))
        return None
    elsewhere = _kind_of(source.body)
    if elsewhere is not None and elsewhere is not model:
        place = POLICY if elsewhere is m.Policy else f"{FOLDER_OF[elsewhere]}/"
        what = f"it holds what belongs in {place}"
        problems.append(source.at((), what, f"Move it to {place}"))
        return None
    try:
        return model.model_validate(source.body)
    except ValidationError as error:
        problems += told(source, error, model)
        return None


def _kind_of(body: dict[str, object]) -> type[m.Definition] | None:
    """What a file is, told by the fields that it holds; None if that is not clear."""
    required = {
        model: {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        for model in KINDS
    }
    whole = [model for model in KINDS if required[model] <= body.keys() <= names_of(model)]
    return whole[0] if len(whole) == 1 else None


def _unknown_audience(name: str, source: Source, audiences: Found[m.Audience]) -> Iterator[Problem]:
    if audiences.get(name) is None and not audiences.is_broken(name):
        yield source.at(("audience",), f"{name} is no audience", audiences.one_of(name))


def _check_campaign(campaign: m.Campaign, source: Source, messages: Found[m.Message]) -> Iterator[Problem]:
    if messages.is_broken(campaign.message):
        return
    message = messages.get(campaign.message)
    if message is None:
        what = f"there is no message {campaign.message}"
        yield source.at(("message",), what, messages.one_of(campaign.message))
        return
    spoken = sorted(trigger_paths(*message.parts.values()))
    if spoken:
        what = f"the message {campaign.message} speaks of trigger.{spoken[0]}, and a campaign has no trigger"
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
        duration_ms(wait)
    except Wrong as wrong:
        raise Misconfigured(f"--wait: {wrong.advice}") from wrong


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
