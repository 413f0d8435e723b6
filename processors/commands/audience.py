"""`optin audience`: for how many subjects does a rule hold, asked of the owners of their rows."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import Misconfigured
from ledger import facts as f
from processors import control, report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.definitions.audiences import rule_of
from processors.definitions.loader import examine

app = typer.Typer(no_args_is_help=True, help="Count and sample an audience, over the state that rules see.")

File = Annotated[Path, typer.Argument(help="audiences/NAME.yaml in a folder of definitions.")]


@app.command("count")
def count(file: File, data: DataFolder = None) -> None:
    """Count the subjects that belong to an audience now. Erased ones never do."""
    answers = _ask(file, data, 0)
    subjects, matching = sum(a.subjects for a in answers), sum(a.matching for a in answers)
    typer.echo(f"{matching:,} of {subjects:,} subjects")


@app.command("sample")
def sample(
    file: File,
    data: DataFolder = None,
    most: Annotated[int, typer.Option("--most", min=1, max=1_000, help="How many to name at most.")] = 10,
) -> None:
    """Name some subjects of an audience, for a look at them with `optin explain`."""
    named = sorted(name for answer in _ask(file, data, most) for name in answer.sample)
    for name in named[:most]:
        typer.echo(name)


def _ask(file: Path, data: Path | None, sample_max: int) -> list[f.AudienceCounted]:
    rule = _rule(file)
    asked = f.AudienceAsked(**control.envelope(request=str(uuid.uuid4()), rule=rule, sample_max=sample_max))
    with report.progress() as progress, servers(data, progress) as found:
        progress("Asking every partition")
        return asyncio.run(control.ask(found.kafka_bootstrap, asked, f.AudienceCounted))


def _rule(file: Path) -> str:
    folder = file.resolve().parent.parent
    found = examine(folder)
    about = [problem for problem in found.problems if problem.file.startswith("audiences/")]
    if about:
        raise Misconfigured("\n".join(map(str, about)))
    if file.stem not in found.audiences or file.resolve().parent.name != "audiences":
        raise Misconfigured(f"{file} is no audience; name audiences/NAME.yaml in a folder of definitions")
    return rule_of(file.stem, found.audiences)
