"""`optin up`, `status` and `down`: the whole system on this machine, under one supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors import child
from connectors.errors import Misconfigured, Transient
from ledger.time_zones import as_text
from processors import report
from processors.attach import FOLDER, data_folder
from processors.commands.options import DataFolder
from processors.disk import Disk
from processors.prepare import migrate_tables, publish
from processors.settings import read_settings
from processors.stack import LOCK_FILE, Stack, StackState, read_state, redacted, refuse_bounded_run
from processors.supervisor import OUT_OF_ROOM, PartFailed
from processors.telemetry.readiness import ask_all
from processors.wiring import ROLES

LIVE: Final = FOLDER / "live"
LOOK_S: Final = 1.0
READY_S: Final = 600.0
"""How long `--detach` waits for all parts; a first start downloads Kafka."""
DOWN_S: Final = 90.0
"""How long a stack may take to end: workers finish their chunks, Kafka writes its logs."""
STOPPED_EXIT: Final = 3
"""`optin status` of a stack that does not run, as init scripts have it."""

Port = Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one, kept for the next start.")]


def up(
    data: Annotated[
        Path | None,
        typer.Option(help=f"Folder that keeps everything; OPTIN_DATA or {LIVE} without, made if need be."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers of journeys and of delivery.")] = 1,
    kafka_port: Port = 0,
    clickhouse_port: Port = 0,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once all runs; end it by optin down.")
    ] = False,
) -> None:
    """Run Kafka, ClickHouse and all roles on this machine, until Ctrl-C or `optin down`.

    No Docker and no Java needed; the first start fetches Kafka (45 MB). A part that dies is started again.
    What is in the data folder survives any crash. Servers that OPTIN_KAFKA_BOOTSTRAP and
    OPTIN_CLICKHOUSE_URL name are used instead of embedded ones.
    """
    data = data or Path(os.environ.get("OPTIN_DATA") or LIVE)
    refuse_bounded_run(data)
    if detach:
        _in_background(data, workers, kafka_port, clickhouse_port)
        return
    ended = threading.Event()
    # While parts start, either signal ends what was started; later the loop below does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with report.progress() as progress:
        stack = Stack(
            data,
            roles={role: 1 if role == "metrics" else workers for role in ROLES},
            prepare=[migrate_tables, publish(read_settings().definitions)],
            progress=progress,
            kafka_port=kafka_port,
            clickhouse_port=clickhouse_port,
        )
        stack.start_servers()
        try:
            stack.start_roles()
        except BaseException:
            stack.stop()
            raise
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: ended.set())
    try:
        _introduce(stack)
        _watch(stack, ended)
    finally:
        report.err.print("Stopping", highlight=False)
        stack.stop()


def status(
    data: DataFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Show what runs over a data folder. Exits with 0 if all parts run, 1 if some don't, 3 if none does."""
    folder = _stack_folder(data)
    state = read_state(folder)
    if state is None:
        typer.echo(json.dumps({"data": str(folder), "running": False}) if as_json else f"{folder}: stopped")
        raise typer.Exit(STOPPED_EXIT)
    ready = ask_all(state.endpoints)
    if as_json:
        typer.echo(json.dumps(_as_json(folder, state, ready)))
    else:
        since = as_text(state.started_at)
        report.out.print(f"{folder}: running since {since} (process {state.supervisor.pid})", highlight=False)
        report.out.print(f"Kafka {state.kafka_bootstrap}  ClickHouse {state.clickhouse_url}", highlight=False)
        report.out.print(_pushes(state), highlight=False, soft_wrap=True)
        rows = [(p.name, p.state, ready.get(p.name, ""), p.pid, p.restarts, p.log) for p in state.parts]
        report.out.print(report.table("", ("part", "state", "ready", "pid", "restarts", "log"), rows))
        if any(part.state == OUT_OF_ROOM for part in state.parts):
            full = Disk(folder)() or f"there was no room on the disk of {folder}; everything comes back now"
            report.out.print(full, highlight=False, soft_wrap=True)
    if not state.ready or any(part.state != "running" for part in state.parts):
        raise typer.Exit(1)


def down(
    data: DataFolder = None,
) -> None:
    """Stop what `optin up` started over a data folder. The data stays."""
    folder = _stack_folder(data)
    state = read_state(folder)
    if state is None:
        typer.echo(f"{folder}: nothing runs")
        return
    with report.progress() as progress:
        progress(f"Stopping the stack over {folder}")
        state.supervisor.end(DOWN_S)
    typer.echo(f"{folder}: stopped")


def _stack_folder(given: Path | None) -> Path:
    folder = data_folder(given)
    if not (folder / LOCK_FILE).exists():
        raise Misconfigured(f"{folder} holds no stack: check --data")
    return folder


def _watch(stack: Stack, ended: threading.Event) -> None:
    told = ""
    while not ended.wait(LOOK_S):
        try:
            stack.check()
        except PartFailed as failure:
            if str(failure) != told:
                told = str(failure)
                report.err.print(f"[red]A part keeps ending:[/red] {told}", highlight=False)


def _introduce(stack: Stack) -> None:
    say = partial(report.out.print, highlight=False, soft_wrap=True)
    say(f"Everything runs over {stack.data}. Stop it with Ctrl-C or `optin down`.")
    say(f"  Kafka       {stack.kafka_bootstrap}")
    say(f"  ClickHouse  {redacted(stack.clickhouse_url_of('analyst'))}")
    if stack.embeds_clickhouse:
        say(f"  passwords   {stack.data / 'clickhouse' / 'accounts.json'}")
    say(f"  logs        {stack.data / 'logs'}")
    if (state := read_state(stack.data)) is not None:
        say(_pushes(state))


def _pushes(state: StackState) -> str:
    """Where pushes go."""
    if state.push_credentials:
        return f"Pushes go to the providers that {state.push_credentials} has credentials for"
    return (
        "No push leaves this machine: those to addresses of the provider `console` go to pushes.jsonl,"
        " all others wait for credentials (OPTIN_PUSH_CREDENTIALS; docs/how-to/connect-providers.md)"
    )


def _in_background(data: Path, workers: int, kafka_port: int, clickhouse_port: int) -> None:
    if read_state(data) is not None:
        raise Misconfigured(f"a stack already runs over {data}: stop it with `optin down --data {data}`")
    log = data / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = child.python_module("processors.cli", "up", "--data", str(data), "--workers", str(workers))
    command += ["--kafka-port", str(kafka_port), "--clickhouse-port", str(clickhouse_port)]
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + READY_S
    with report.progress() as progress:
        while not ((state := read_state(data)) and state.ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Transient(
                    f"the stack did not come up; its last words ({log}):\n{child.last_lines(log, 8)}"
                )
            progress(child.last_lines(log, 1) or "Starting")
            time.sleep(LOOK_S / 4)
    typer.echo(f"{data}: running; see `optin status --data {data}`, end it by `optin down --data {data}`")
    typer.echo(f"Kafka {state.kafka_bootstrap}  ClickHouse {state.clickhouse_url}")


def _as_json(folder: Path, state: StackState, ready: Mapping[str, str]) -> dict[str, object]:
    return {
        "data": str(folder),
        "running": True,
        "ready": state.ready,
        "pid": state.supervisor.pid,
        "kafka_bootstrap": state.kafka_bootstrap,
        "clickhouse_url": state.clickhouse_url,
        "push_credentials": state.push_credentials or None,
        "parts": [
            {
                "name": p.name,
                "state": p.state,
                "ready": ready.get(p.name),
                "endpoint": state.endpoints.get(p.name),
                "pid": p.pid,
                "restarts": p.restarts,
                "log": p.log,
            }
            for p in state.parts
        ],
    }
