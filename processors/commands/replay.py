"""`optin replay`: a real shop's log through the whole path, by the event clock."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from connectors import child
from connectors.datasets import otto, taobao
from connectors.datasets.recorded_log import AMPLIFY_MAX, Dataset
from connectors.errors import Misconfigured
from processors import report
from processors.bounded_run import INPUTS, BoundedRun, event_environment
from processors.definitions import load, refuse_bad_wait, write_definitions
from processors.prepare import migrate_tables, publish
from processors.stack import Stack, refuse_running
from processors.topic_names import DEAD_LETTERS, DECISIONS, DELIVERIES

app = typer.Typer(no_args_is_help=True, help="Replay a shop's recorded log through the whole path.")

STAGE_FILE: Final = "replay.json"


@app.callback()
def replay() -> None:
    """Replay a shop's recorded log through the whole path."""


Data = Annotated[Path | None, typer.Option(help="Folder to keep everything in; a temporary one without it.")]
Wait = Annotated[
    str | None, typer.Option(help="Another first wait in journeys that begin with one (90s, 1h, 2d).")
]
Definitions = Annotated[
    Path | None, typer.Option(help="Folder with the definitions to replay by; the shipped ones without it.")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Workers of journeys and of delivery.")]
Amplify = Annotated[
    int, typer.Option(min=1, max=AMPLIFY_MAX, help="Copies of each user, each a person of its own.")
]
Summary = Annotated[str, typer.Option(help="table, or json: one object on stdout and nothing else there.")]


@app.command("taobao")
def replay_taobao(
    file: Annotated[
        Path, typer.Argument(help="CSV without header: user,item,category,pv|cart|fav|buy,unix seconds.")
    ],
    data: Data = None,
    definitions: Definitions = None,
    wait: Wait = None,
    workers: Workers = 1,
    amplify: Amplify = 1,
    summary: Summary = "table",
) -> None:
    """Replay a Taobao UserBehavior log: carts become journeys, decisions, pushes and metrics.

    Permission, tokens and time zones are not in such a log; they are simulated by a documented rule
    (docs/reference/simulated-facts.md) and marked in each fact's source. The result depends on the file,
    the definitions, --wait and --amplify alone. Interrupted? Run the same command on the same --data folder.
    """
    _run(taobao.DATASET, file, data, _Options(definitions, wait, workers, amplify), summary)


@app.command("otto")
def replay_otto(
    file: Annotated[
        Path,
        typer.Argument(help="JSON lines: a session, and its events of clicks, carts and orders each."),
    ],
    data: Data = None,
    definitions: Definitions = None,
    wait: Wait = None,
    workers: Workers = 1,
    amplify: Amplify = 1,
    summary: Summary = "table",
) -> None:
    """Replay a log of OTTO's recommender data set: carts become journeys, decisions, pushes and metrics.

    Permission, tokens and time zones are not in such a log; they are simulated by a documented rule
    (docs/reference/simulated-facts.md) and marked in each fact's source. The result depends on the file,
    the definitions, --wait and --amplify alone. Interrupted? Run the same command on the same --data folder.
    """
    _run(otto.DATASET, file, data, _Options(definitions, wait, workers, amplify), summary)


@dataclasses.dataclass(frozen=True)
class _Options:
    definitions: Path | None
    wait: str | None
    workers: int
    amplify: int


def _run(dataset: Dataset[Any], file: Path, data: Path | None, options: _Options, summary: str) -> None:
    if summary not in {"table", "json"}:
        raise Misconfigured(f"--summary is table or json, not {summary}")
    if options.wait is not None:
        refuse_bad_wait(options.wait)
    if data is not None:
        result = _replay(dataset, file, data, options)
    else:
        with tempfile.TemporaryDirectory(prefix="optin-replay-") as folder:
            result = _replay(dataset, file, Path(folder), options)
    if summary == "json":
        typer.echo(json.dumps(result))
    else:
        _show(result)


def _replay(dataset: Dataset[Any], file: Path, data: Path, options: _Options) -> dict[str, Any]:
    with report.progress() as progress:
        progress(f"Reading {file}")
        rows = dataset.read(file)
        if rows.bad:
            first = rows.bad_lines[0]
            report.err.print(
                f"{rows.bad} bad {dataset.parts} left out; first: line {first.line}, {first.reason}",
                markup=False,
            )
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        definitions = data / "definitions"
        shutil.rmtree(definitions, ignore_errors=True)
        write_definitions(definitions, options.definitions, options.wait)
        rules = load(definitions)
        versions = {**rules.journey_versions, "policy": rules.policy_version}
        stage = _Stage(data, {"file": digest, "definitions": versions, "amplify": options.amplify})
        amplify = options.amplify
        stack = Stack(
            data,
            roles={"journeys": options.workers, "delivery": options.workers, "metrics": 1},
            env=event_environment(definitions.resolve()),
            prepare=[migrate_tables, publish(definitions)],
            progress=progress,
        )
        with stack:
            run = BoundedRun(stack, progress)
            if stage.reached == "published":
                run.published = stage.facts
            else:
                run.refuse_used_topics()
                stage.enter("publishing", 0)
                run.publish(dataset.consent(rows, amplify), "simulated consent")
                run.publish(dataset.activity(rows, amplify), "activity")
                stage.enter("published", run.published)
            ends = run.record_ends(INPUTS)
            stack.start_roles()
            run.finish_journeys(ends)
            ends |= run.record_ends([DECISIONS])
            run.finish_delivery({topic: ends[topic] for topic in ends if topic != INPUTS[2]})
            ends |= run.record_ends([DELIVERIES, DEAD_LETTERS])
            run.finish_metrics(ends)
            return run.summary()


class _Stage:
    """How far a replay came in a data folder, so that an interrupted one can go on."""

    def __init__(self, data: Path, of: dict[str, Any]) -> None:
        self._file = data / STAGE_FILE
        self._of = of
        self.reached: Literal["new", "publishing", "published"] = "new"
        self.facts = 0
        data.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            known = json.loads(self._file.read_text())
            if known["of"] != of:
                raise Misconfigured(f"{data} holds another replay; choose another folder with --data")
            self.reached, self.facts = known["stage"], known["facts"]
        if self.reached == "publishing":
            # Some facts are in and some are not: begin again with empty topics.
            refuse_running(data)
            for part in ("kafka", "clickhouse"):
                shutil.rmtree(data / part, ignore_errors=True)
            self.reached = "new"

    def enter(self, stage: Literal["publishing", "published"], facts: int) -> None:
        self.reached, self.facts = stage, facts
        child.write_atomically(
            self._file, json.dumps({"of": self._of, "stage": stage, "facts": facts}).encode()
        )


def _show(result: dict[str, Any]) -> None:
    report.out.print(f"{result['facts']:,} facts", highlight=False)
    journeys = [(name, *counts.values()) for name, counts in result["journeys"].items()]
    columns = ("journey", "started", "converted", "candidates", "open")
    report.out.print(report.table("Journeys", columns, journeys))
    decisions = result["decisions"]
    rows = [("send", "", decisions["send"]), ("hold_out", "", decisions["hold_out"])]
    rows += [("withhold", reason, count) for reason, count in decisions["withhold"].items()]
    report.out.print(report.table("Final decisions", ("verdict", "reason", "count"), rows))
    report.out.print(report.table("Pushes", ("outcome", "count"), list(result["deliveries"].items())))
