"""`optin definitions`: check, test, compare and publish the definitions of a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.errors import Misconfigured
from processors import report
from processors.definitions import cases
from processors.definitions.loader import TEST_ENDING, examine, load, write_definitions

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
        "journeys": found.journeys, "messages": found.messages,
        "audiences": found.audiences, "campaigns": found.campaigns,
    }  # fmt: skip
    typer.echo(", ".join(f"{len(of)} {name}" for name, of in counts.items()) + ": nothing is wrong")


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
                typer.echo(f"{outcome.file}:{outcome.line}: {outcome.case}: {outcome.difference}")
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
