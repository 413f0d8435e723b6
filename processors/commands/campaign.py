"""`optin campaign`: launch one push to an audience, and steer what was launched."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.errors import Misconfigured, Transient
from ledger import definitions as core
from ledger import facts as f
from processors import control, report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.definitions.archive import publish_definitions
from processors.definitions.loader import load

app = typer.Typer(
    no_args_is_help=True, help="One push to an audience, once: launch, dry run, pause, resume, cancel."
)

LOOK_S: Final = 1.0
SETTLE_S: Final = 3.0
OPEN: Final = frozenset({"running", "paused"})

Launch = Annotated[str, typer.Argument(help="Id of the launch, as `launch` printed it.")]


@app.command("launch")
def launch(
    file: Annotated[Path, typer.Argument(help="campaigns/NAME.yaml in a folder of definitions.")],
    data: DataFolder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would become of it; send nothing.")
    ] = False,
    launch_id: Annotated[
        str | None,
        typer.Option("--launch", help="Id of this launch; launching the same id again does nothing."),
    ] = None,
    now: Annotated[
        str | None, typer.Option(help="Judge audience and gate by this moment (2026-03-02T12:00:00+00:00).")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Watch until it is through.")] = True,
) -> None:
    """Send a campaign to its audience, in bounded parts beside everything else.

    Each candidate goes through the gate as a journey's does. The launch has the campaign's name and version
    as its id unless told otherwise, so launching an unchanged campaign twice sends nothing twice.
    """
    folder = file.resolve().parent.parent
    load(folder)  # refuses a folder with mistakes, before anything is published
    judged_at = None if now is None else _instant(now)
    with report.progress() as progress, servers(data, progress) as found:
        progress(f"Publishing {file}")
        version = asyncio.run(_version(found.kafka_bootstrap, folder, file.stem))
        name = launch_id or f"{file.stem}-{version}{f'-dry-{uuid.uuid4().hex[:8]}' if dry_run else ''}"
        fact = f.CampaignLaunched(
            **control.envelope(launch=name, campaign_version=version, dry_run=dry_run, judged_at=judged_at)
        )
        asyncio.run(control.tell(found.kafka_bootstrap, fact))
        report.err.print(f"launched {name}", highlight=False)
        if wait:
            _watch(found.kafka_bootstrap, name)


@app.command("status")
def status(data: DataFolder = None) -> None:
    """Say how each launch stands: how many subjects were looked at, how many are in the audience."""
    with report.progress() as progress, servers(data, progress) as found:
        told = asyncio.run(_told(found.kafka_bootstrap))
    for name in dict.fromkeys(one.launch for one in told):
        typer.echo(_line([one for one in told if one.launch == name]))
    if not told:
        report.err.print("no campaign was launched")


@app.command("pause")
def pause(name: Launch, data: DataFolder = None) -> None:
    """Stop a launch where it stands; what is decided already goes out."""
    _steer(f.CampaignPaused, name, data)


@app.command("resume")
def resume(name: Launch, data: DataFolder = None) -> None:
    """Let a paused launch go on where it stands."""
    _steer(f.CampaignResumed, name, data)


@app.command("cancel")
def cancel(name: Launch, data: DataFolder = None) -> None:
    """End a launch where it stands, for good."""
    _steer(f.CampaignCancelled, name, data)


def _steer(
    kind: type[f.CampaignPaused | f.CampaignResumed | f.CampaignCancelled], name: str, data: Path | None
) -> None:
    with report.progress() as progress, servers(data, progress) as found:
        told = asyncio.run(_told(found.kafka_bootstrap))
        if not any(one.launch == name for one in told):
            known = ", ".join(dict.fromkeys(one.launch for one in told)) or "none"
            raise Misconfigured(f"{name} is no launch; those there are: {known}")
        asyncio.run(control.tell(found.kafka_bootstrap, kind(**control.envelope(launch=name))))
        time.sleep(LOOK_S)
        told = asyncio.run(_told(found.kafka_bootstrap))
    typer.echo(_line([one for one in told if one.launch == name]))


async def _version(bootstrap: str, folder: Path, name: str) -> str:
    await publish_definitions(bootstrap, folder)
    from processors.definitions.loader import examine

    for body in examine(folder).bodies:
        if body.flow.name == name:
            return core.version_of(body)
    raise Misconfigured(f"{folder}/campaigns/{name}.yaml is no campaign; name campaigns/NAME.yaml")


async def _told(bootstrap: str) -> list[f.CampaignTold]:
    asked = f.CampaignsAsked(**control.envelope(request=str(uuid.uuid4())))
    return await control.ask(bootstrap, asked, f.CampaignTold, settle_s=SETTLE_S)


def _watch(bootstrap: str, name: str) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=report.err) as bar:
        task = bar.add_task(name, total=None)
        heard_at = time.monotonic()
        while True:
            told = [one for one in asyncio.run(_told(bootstrap)) if one.launch == name]
            total = sum(one.subjects for one in told)
            if told:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > control.ANSWER_S_MAX:
                raise Transient(
                    f"nobody tells of {name} for {control.ANSWER_S_MAX:.0f} s; it goes on once the journeys"
                    " role is up (optin status), and `optin campaign status` tells of it"
                )
            bar.update(task, total=total or None, completed=sum(one.considered for one in told))
            if told and not any(one.state in OPEN for one in told):
                break
            if told and all(one.state == "paused" for one in told):
                break
            time.sleep(LOOK_S)
    typer.echo(_line(told))


def _line(told: list[f.CampaignTold]) -> str:
    states = "/".join(sorted({one.state for one in told}))
    considered, subjects = sum(one.considered for one in told), sum(one.subjects for one in told)
    counts: Counter[str] = Counter()
    for one in told:
        counts.update(one.counts)
    verdicts = "".join(f", {verdict}: {count:,}" for verdict, count in sorted(counts.items()))
    dry = " (dry run)" if any(one.dry_run for one in told) else ""
    wanted = sum(one.wanted for one in told)
    return (
        f"{told[0].launch}{dry}: {states}, {considered:,} of {subjects:,} subjects looked at,"
        f" {wanted:,} in the audience{verdicts}"
    )


def _instant(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misconfigured(f"--now {text}: write it as 2026-03-02T12:00:00+00:00") from error
    if at.tzinfo is None:
        raise Misconfigured(f"--now {text} has no offset from UTC; write it as {text}+00:00")
    return int(at.timestamp() * 1_000)
