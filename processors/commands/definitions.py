"""`optin definitions`: check, test, compare and publish the definitions of a folder."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.errors import Misconfigured
from ledger import definitions as core
from ledger import facts as f
from ledger.journey import Journey
from ledger.policy import Policy
from ledger.time_zones import as_text
from processors import control, report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.definitions import cases, compare
from processors.definitions.archive import publish_definitions, read_archive
from processors.definitions.loader import TEST_ENDING, checked, examine, load, write_definitions

app = typer.Typer(
    no_args_is_help=True,
    help="Journeys, messages, audiences, campaigns and policy as YAML: check, test, compare, publish.",
)

Folder = Annotated[Path, typer.Argument(help="Folder with policy.yaml, journeys/, messages/ and so on.")]
PROBLEMS_FOUND: Final = 1


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not hold definitions yet.")],
) -> None:
    """Copy the shipped definitions to a folder of yours, as a start."""
    if (folder / "policy.yaml").exists():
        raise Misconfigured(f"{folder} holds definitions already; name another folder")
    write_definitions(folder)
    report.err.print(f"Wrote {folder}. Change it, then: optin definitions check {folder}", highlight=False)


@app.command("check")
def check(folder: Folder) -> None:
    """Say everything that is wrong with a folder of definitions: file, line, what, and the remedy.

    Looks at every file, alone and with the others, and needs no server. Exit status 1 if something is wrong.
    """
    found = examine(folder)
    for problem in found.problems:
        typer.echo(str(problem))
    if found.problems:
        report.err.print(f"{len(found.problems)} to mend in {folder}", highlight=False)
        raise typer.Exit(PROBLEMS_FOUND)
    counts = {
        "journey": found.journeys, "message": found.messages,
        "audience": found.audiences, "campaign": found.campaigns,
    }  # fmt: skip
    counted = (f"{len(of)} {name}{'' if len(of) == 1 else 's'}" for name, of in counts.items())
    typer.echo(f"{', '.join(counted)}: nothing is wrong")


@app.command("test")
def run_cases(
    folder: Folder,
    journey: Annotated[str | None, typer.Option(help="Run the cases of this journey alone.")] = None,
) -> None:
    """Run the given/when/then cases that stand beside the journeys (journeys/NAME.test.yaml).

    They run on the core alone, in milliseconds: no server takes part. Exit status 1 if a case fails.
    """
    began = time.perf_counter()
    definitions = load(folder)
    paths = sorted((folder / "journeys").glob(f"{journey or '*'}{TEST_ENDING}"))
    if not paths:
        raise Misconfigured(f"{folder}/journeys holds no {journey or 'NAME'}{TEST_ENDING}; write one")
    passed, failed = 0, 0
    for path in paths:
        for outcome in cases.run(path, folder, definitions):
            if outcome.difference:
                failed += 1
                what = ": ".join(part for part in (outcome.case, outcome.difference) if part)
                typer.echo(f"{outcome.file}:{outcome.line}: {what}")
            else:
                passed += 1
    took_ms = (time.perf_counter() - began) * 1_000
    typer.echo(f"{passed} passed, {failed} failed in {took_ms:.0f} ms")
    untested = sorted(
        definitions.journey_versions.keys() - {path.name.removesuffix(TEST_ENDING) for path in paths}
    )
    if untested and journey is None:
        report.err.print(f"without cases: {', '.join(untested)}", highlight=False)
    if failed:
        raise typer.Exit(PROBLEMS_FOUND)


@app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(help="Folder with the definitions as they are.")],
    new: Annotated[Path, typer.Argument(help="Folder with the definitions as they would be.")],
) -> None:
    """Say what differs between two folders of definitions, field by field, and which versions change.

    Comments, the order of fields, and defaults that are written out make no difference. Needs no server.
    """
    for line in compare.in_words(compare.differences(checked(old), checked(new))):
        typer.echo(line)


@app.command("publish")
def publish(folder: Folder, data: DataFolder = None) -> None:
    """Check a folder, publish its bodies, and put its policy and journeys in force in every partition.

    Nothing is published if anything is wrong. Open instances end by the version that they began with;
    decisions cite the versions they were made by. Publishing the same again changes nothing.
    """
    definitions = load(folder)
    with report.progress() as progress, servers(data, progress) as found:
        progress(f"Publishing {folder}")
        changed = asyncio.run(_publish(found.kafka_bootstrap, folder, definitions))
    for name, version in (
        *sorted(definitions.journey_versions.items()),
        ("policy", definitions.policy_version),
    ):
        typer.echo(f"{version}  {name}")
    report.err.print("in force from now on" if changed else "it was in force already", highlight=False)


async def _publish(bootstrap: str, folder: Path, definitions: core.Definitions) -> bool:
    await publish_definitions(bootstrap, folder)
    versions = definitions.policy_version, tuple(sorted(definitions.journey_versions.values()))
    told, published = await _told(bootstrap)
    latest = [control.activations(partition, published)[-1:] for partition in told]
    if all([(one.policy_version, one.journey_versions) for one in last] == [versions] for last in latest):
        return False
    fact = f.DefinitionsActivated(
        **control.envelope(policy_version=versions[0], journey_versions=versions[1])
    )
    await control.tell(bootstrap, fact)
    return True


@app.command("recall")
def recall(
    name: Annotated[str, typer.Argument(help="A journey, or one version of it (`definitions show`).")],
    data: DataFolder = None,
) -> None:
    """End the open instances of a broken version of a journey: mended ones don't help those who are in it.

    Each ends as `recalled` with its person's next step, and what it had asked for is withheld. Of a journey
    all versions but the one in force are recalled, so publish the mended one first.
    """
    with report.progress() as progress, servers(data, progress) as found:
        progress("Reading the definitions")
        recalled = asyncio.run(_recall(found.kafka_bootstrap, name))
    for version in recalled:
        typer.echo(version)
    report.err.print("recalled: open instances end with their next step", highlight=False)


async def _recall(bootstrap: str, name: str) -> list[str]:
    told, bodies = await _told(bootstrap)
    journeys = {version: body.name for version, body in bodies.items() if isinstance(body, Journey)}
    latest = [control.activations(partition, bodies)[-1:] for partition in told]
    in_force = {version for last in latest for one in last for version in one.journey_versions}
    if name in journeys:
        if name in in_force:
            raise Misconfigured(f"{name} is in force: publish the mended journey first")
        versions = [name]
    else:
        if name not in journeys.values():
            known = ", ".join(sorted(set(journeys.values())))
            raise Misconfigured(f"{name} is no published journey, nor a version of one; there are {known}")
        if not in_force:
            raise Misconfigured(
                f"nothing was published, so which version of {name} is in force is each worker's own folder's"
                " matter: name a version (a decision's `journey_version`)"
            )
        versions = sorted(one for one, of in journeys.items() if of == name and one not in in_force)
    if not versions:
        raise Misconfigured(f"{name} has no version but the one in force: publish the mended journey first")
    await control.tell(bootstrap, f.DefinitionsRecalled(**control.envelope(versions=tuple(versions))))
    return versions


@app.command("show")
def show(data: DataFolder = None) -> None:
    """Say what is in force: each journey and the policy with its version."""
    with report.progress() as progress, servers(data, progress) as found:
        told, bodies = asyncio.run(_told(found.kafka_bootstrap))
    latest = [control.activations(partition, bodies)[-1:] for partition in told]
    if not any(latest):
        report.err.print("nothing was published: each worker goes by its own folder (OPTIN_DEFINITIONS)")
        return
    for versions, numbers in _by_versions(latest).items():
        if len(numbers) < len(latest):
            report.err.print(f"only in the partitions {', '.join(map(str, numbers))}: publish it again")
        for version in versions:
            typer.echo(f"{version}  {_name(bodies.get(version))}")


@app.command("history")
def history(data: DataFolder = None) -> None:
    """Say what was put in force when, and what each time changed."""
    with report.progress() as progress, servers(data, progress) as found:
        told, bodies = asyncio.run(_told(found.kafka_bootstrap))
    before: dict[str, str] = {}
    for fact in control.activations(told[0], bodies):
        now = {_name(bodies.get(v)): v for v in (fact.policy_version, *fact.journey_versions)}
        changes = [f"+ {name} {now[name]}" for name in sorted(now.keys() - before.keys())]
        changes += [f"- {name}" for name in sorted(before.keys() - now.keys())]
        changes += [
            f"~ {name} {before[name]} -> {now[name]}"
            for name in sorted(now.keys() & before.keys())
            if now[name] != before[name]
        ]
        typer.echo(f"{as_text(fact.occurred_at)}  {'; '.join(changes) or 'nothing changed'}")
        before = now


async def _told(bootstrap: str) -> tuple[list[list[f.ControlFact]], dict[str, core.Body]]:
    return await control.told(bootstrap), await read_archive(bootstrap)


def _by_versions(latest: list[list[f.DefinitionsActivated]]) -> dict[tuple[str, ...], list[int]]:
    found: dict[tuple[str, ...], list[int]] = {}
    for number, last in enumerate(latest):
        for one in last:
            found.setdefault((one.policy_version, *one.journey_versions), []).append(number)
    return found


def _name(body: core.Body | None) -> str:
    if body is None:
        return "not read"
    if isinstance(body, Policy):
        return "policy"
    return body.flow.name if isinstance(body, core.Campaign) else body.name
