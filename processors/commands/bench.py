"""`optin bench`: how fast we are, beside stock Faust and a plain loop, on a real broker of our own."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from processors import report


def bench(
    what: Annotated[list[str] | None, typer.Argument(help="Names of measurements; all without.")] = None,
    events: Annotated[int | None, typer.Option(min=1_000, help="Consent facts to fold.")] = None,
    subjects: Annotated[int | None, typer.Option(min=1, help="People they are about.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=99, help="Rounds of the contest.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: shows that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure the roles, stock Faust and a plain loop, side by side in one run.

    Everything runs on an embedded Kafka of its own with acks=all; the worker has a core for itself, and all
    of its threads are counted. A result that differs from a plain fold of the same facts is void (an
    error). Absolute figures depend on the machine and on what else it does; compare ratios of one run.
    docs/benchmarks.md tells what each name means.
    """
    from processors.benchmarks import page, suite
    from processors.benchmarks.arena import Arena
    from processors.benchmarks.sizes import FULL, QUICK

    names = suite.chosen(what or [])
    given: dict[str, Any] = {"events": events, "subjects": subjects, "rounds": rounds}
    sizes = dataclasses.replace(
        QUICK if quick else FULL, **{name: value for name, value in given.items() if value is not None}
    )
    circumstances = suite.circumstances(shlex.join(["optin", *sys.argv[1:]]))
    with (
        report.progress() as progress,
        tempfile.TemporaryDirectory(prefix="optin-bench-") as folder,
        Arena(Path(folder), progress) as arena,
    ):
        measured = suite.run(arena, sizes, names)
    results = {**measured, **circumstances}
    if as_json:
        typer.echo(json.dumps(results))
        return
    for title, columns, rows_of in page.TABLES:
        rows = rows_of(results)
        if rows:
            report.out.print(report.table(title, columns, rows))
