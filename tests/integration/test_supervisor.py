"""The stack under its supervisor, with real servers and dummy roles: order, restarts, and clean ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from connectors.child import Identity
from connectors.clickhouse.embedded import answers_query
from connectors.clickhouse.query import ask
from connectors.errors import Misconfigured
from connectors.kafka.embedded import answers_metadata
from processors import supervisor as supervisor_module
from processors.stack import Servers, Stack, read_state
from processors.supervisor import DEATHS_MAX, OUT_OF_ROOM, PartFailed, PartStatus, Supervisor, Worker

WAIT_S = 30.0
"""How long we look for a change before the test fails."""

TELLS_ITS_ENVIRONMENT = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("drained", flush=True), sys.exit(0)))
print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("OPTIN_")}), flush=True)
time.sleep(600)
"""
DIES_AT_ONCE = "import sys; print('it is the configuration', flush=True); sys.exit(3)"
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
time.sleep(600)
"""


def python(program: str) -> Callable[[str], Sequence[str]]:
    """The command of a dummy role: a small program."""
    return lambda role: [sys.executable, "-c", program, role]


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds, at most `WAIT_S`."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {WAIT_S} s"
        time.sleep(0.02)


def identity(pid: int) -> Identity:
    """The identity of a process that runs."""
    found = Identity.of(pid)
    assert found is not None
    return found


def said(log: Path, words: str) -> bool:
    """Whether a log holds the words."""
    return log.exists() and words in log.read_text()


def worker(tmp_path: Path, program: str, name: str = "dummy-0") -> Worker:
    """A worker that runs a small program."""
    return Worker(python(program)("dummy"), {}, tmp_path / f"{name}.log", tmp_path / f"{name}.json")


class TestTheSupervisor:
    """Parts that are small programs."""

    def test_a_killed_part_is_started_again(self, tmp_path: Path) -> None:
        """Whatever ends a part, it comes back with a new process and is counted."""
        part = worker(tmp_path, TELLS_ITS_ENVIRONMENT)
        supervisor = Supervisor()
        supervisor.start("dummy-0", part)
        first = identity(part.pid or 0)
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: part.pid not in {None, first.pid}, "restart")
        wait_for(lambda: supervisor.statuses()[0].state == "running", "running part")
        status = supervisor.statuses()[0]
        supervisor.stop()

        assert (status.name, status.restarts) == ("dummy-0", 1)
        assert part.pid is None

    def test_each_start_has_what_is_made_anew_for_it(self, tmp_path: Path) -> None:
        """A port that somebody took between two starts would keep a worker from coming up."""
        ports = iter(("1", "2"))
        part = Worker(
            python(TELLS_ITS_ENVIRONMENT)("dummy"),
            {"OPTIN_METRICS_PORT": "0"},
            tmp_path / "log",
            tmp_path / "pid.json",
            lambda: {"OPTIN_METRICS_PORT": next(ports)},
        )
        for port in ("1", "2"):
            part.start()
            told = f'"OPTIN_METRICS_PORT": "{port}"'
            wait_for(partial(said, part.log, told), "environment")
            part.stop()

    def test_a_part_that_dies_again_and_again_tells_its_last_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After more than `DEATHS_MAX` deaths in a row the check raises what the part said."""
        monkeypatch.setattr(supervisor_module, "BACKOFF_S", 0.01)
        supervisor = Supervisor()
        supervisor.start("dummy-0", worker(tmp_path, DIES_AT_ONCE))
        supervisor.check()
        wait_for(lambda: supervisor.statuses()[0].state == "failing", "failing part")
        with pytest.raises(PartFailed, match=f"dummy-0 ended {DEATHS_MAX + 1} times.*\n.*it is the conf"):
            supervisor.check()
        supervisor.stop()

    def test_the_wait_between_restarts_grows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A part that can't come up does not keep the machine busy."""
        waits: list[float] = []
        note = Supervisor._note_death

        def noted(self: Supervisor, watched: supervisor_module._Watched, now: float) -> None:
            note(self, watched, now)
            assert watched.again_at_s is not None
            waits.append(round(watched.again_at_s - now, 3))

        monkeypatch.setattr(supervisor_module, "BACKOFF_S", 0.01)
        monkeypatch.setattr(supervisor_module, "BACKOFF_S_MAX", 0.05)
        monkeypatch.setattr(Supervisor, "_note_death", noted)
        supervisor = Supervisor()
        supervisor.start("dummy-0", worker(tmp_path, DIES_AT_ONCE))
        wait_for(lambda: len(waits) >= 5, "fifth death")
        supervisor.stop()

        assert waits[:5] == [0.01, 0.02, 0.04, 0.05, 0.05]

    def test_parts_end_in_reverse_order_and_let_workers_finish(self, tmp_path: Path) -> None:
        """The last started ends first; a worker gets its SIGTERM and may finish."""
        ended: list[str] = []

        class Noting(Worker):
            def stop(self) -> None:
                super().stop()
                ended.append(self.log.stem)

        supervisor = Supervisor()
        for name in ("first", "second"):
            part = Noting(
                python(TELLS_ITS_ENVIRONMENT)(name), {}, tmp_path / f"{name}.log", tmp_path / f"{name}.json"
            )
            supervisor.start(name, part)
            wait_for(lambda part=part: "{" in part.log.read_text(), "first words")  # type: ignore[misc]
        supervisor.stop()
        supervisor.stop()

        assert ended == ["second", "first"]
        assert "drained" in (tmp_path / "first.log").read_text()

    def test_a_part_that_ignores_sigterm_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stop ends within its bound whatever the part does."""
        monkeypatch.setattr(supervisor_module, "WORKER_STOP_S", 0.2)
        part = worker(tmp_path, IGNORES_SIGTERM)
        supervisor = Supervisor()
        supervisor.start("dummy-0", part)
        wait_for(lambda: "here" in part.log.read_text(), "first words")
        process = identity(part.pid or 0)
        supervisor.stop()

        assert not process.alive()

    def test_a_first_start_that_fails_is_the_callers(self, tmp_path: Path) -> None:
        """Only what once came up is kept running."""

        class Refusing(Worker):
            def start(self) -> None:
                raise Misconfigured("not like this")

        supervisor = Supervisor()
        with pytest.raises(Misconfigured, match="not like this"):
            supervisor.start("dummy-0", Refusing([], {}, tmp_path / "log", tmp_path / "pid"))

        assert supervisor.statuses() == ()
        supervisor.stop()

    def test_without_room_all_parts_rest_until_there_is_some(self, tmp_path: Path) -> None:
        """Stopped cleanly and in order; a part that would be started is refused with what is full."""
        full: list[str] = []
        told: list[str] = []
        supervisor = Supervisor(
            lambda statuses: told.append(", ".join(one.state for one in statuses)),
            lambda: full[0] if full else None,
        )
        parts = [worker(tmp_path, TELLS_ITS_ENVIRONMENT, f"dummy-{number}") for number in range(2)]
        try:
            for number, part in enumerate(parts):
                supervisor.start(f"dummy-{number}", part)
                wait_for(partial(said, part.log, "{"), "start")
            full.append("the disk of /data is full")
            wait_for(lambda: {one.state for one in supervisor.statuses()} == {OUT_OF_ROOM}, "rest")
            assert all(part.pid is None and said(part.log, "drained") for part in parts)
            with pytest.raises(PartFailed, match="the disk of /data is full"):
                supervisor.check()
            with pytest.raises(Misconfigured, match="the disk of /data is full"):
                supervisor.start("another", worker(tmp_path, TELLS_ITS_ENVIRONMENT, "another"))
            full.clear()
            wait_for(lambda: {one.state for one in supervisor.statuses()} == {"running"}, "end of the rest")
            supervisor.check()
            assert all(part.pid is not None for part in parts)
        finally:
            supervisor.stop()

    def test_a_state_that_can_not_be_written_ends_nothing(self, tmp_path: Path) -> None:
        """As on a disk that is full to its last byte; what runs goes on."""

        def changed(_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        supervisor = Supervisor(changed)
        part = worker(tmp_path, TELLS_ITS_ENVIRONMENT)
        try:
            supervisor.start("dummy-0", part)
            wait_for(lambda: said(part.log, "{"), "start")
            os.kill(part.pid or 0, signal.SIGKILL)
            wait_for(lambda: supervisor.statuses()[0].restarts == 1, "restart")
        finally:
            supervisor.stop()

    def test_each_change_is_told(self, tmp_path: Path) -> None:
        """Who writes the state for others hears of each start and of the end."""
        told: list[Sequence[PartStatus]] = []
        supervisor = Supervisor(told.append)
        supervisor.start("dummy-0", worker(tmp_path, TELLS_ITS_ENVIRONMENT))
        supervisor.stop()

        assert [[status.name for status in statuses] for statuses in told] == [["dummy-0"], []]


@pytest.fixture
def no_named_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack starts its own servers."""
    monkeypatch.delenv("OPTIN_KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.delenv("OPTIN_CLICKHOUSE_URL", raising=False)


@pytest.mark.usefixtures("no_named_servers")
class TestTheStack:
    """Real servers and dummy roles in one data folder."""

    def test_every_part_survives_a_kill_and_nothing_is_left(self, tmp_path: Path) -> None:
        """Kafka, ClickHouse and a role are each killed -9 and come back; the end leaves no process."""
        steps: list[Servers] = []
        with Stack(
            tmp_path,
            roles={"journeys": 2, "metrics": 1},
            env={"OPTIN_CLOCK": "event", "OPTIN_CHUNK_RECORDS": "7"},
            prepare=[steps.append],
            command=python(TELLS_ITS_ENVIRONMENT),
            partitions=2,
        ) as stack:
            assert steps == [stack.servers]
            stack.start_roles()
            before = stack.pids()
            assert list(before) == ["kafka", "clickhouse", "journeys-0", "journeys-1", "metrics-0"]

            log = stack.log_of("journeys-1")
            wait_for(lambda: log.exists() and log.read_text().count("\n") == 1, "first environment")
            ever = [identity(pid) for pid in before.values()]
            for name in ("kafka", "clickhouse", "journeys-1"):
                os.kill(before[name], signal.SIGKILL)
            for number, name in enumerate(before):
                if name in {"kafka", "clickhouse", "journeys-1"}:
                    wait_for(lambda n=name: stack.pids().get(n, before[n]) != before[n], f"new {name}")  # type: ignore[misc]
                    ever.append(identity(stack.pids()[name]))
                else:
                    assert stack.pids()[name] == ever[number].pid
            stack.check()
            assert asyncio.run(answers_metadata(stack.kafka_bootstrap))
            assert answers_query(stack.clickhouse_url.rpartition("/")[0])

            wait_for(lambda: log.read_text().count("\n") == 2, "second environment")
            told = json.loads(log.read_text().splitlines()[-1])
            assert told == {
                **told,
                "OPTIN_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
                "OPTIN_CLICKHOUSE_URL": stack.clickhouse_url_of("metrics"),
                "OPTIN_DATA": str(tmp_path),
                "OPTIN_INSTANCE": "journeys-1",
                "OPTIN_CLOCK": "event",
                "OPTIN_CHUNK_RECORDS": "7",
            }

            state = read_state(tmp_path)
            assert state is not None
            assert state.ready
            assert {part.name: part.restarts for part in state.parts}["kafka"] == 1
            with pytest.raises(Misconfigured, match=f"already runs over .*process {os.getpid()}"):
                Stack(tmp_path, roles={}).start_servers()

        assert not [process for process in ever if process.alive()]
        assert read_state(tmp_path) is None
        assert stack.pids() == {}

    def test_a_killed_supervisor_leaves_nothing_and_the_folder_works_again(self, tmp_path: Path) -> None:
        """Kill -9 of the owner ends all its children, and the next stack over the folder starts."""
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from processors.stack import Stack\n"
            "command = lambda role: [sys.executable, '-c', 'import time; time.sleep(600)']\n"
            "stack = Stack(Path(sys.argv[1]), roles={'journeys': 1}, command=command, partitions=1)\n"
            "stack.start_servers()\n"
            "stack.start_roles()\n"
            "print(list(stack.pids().values()), flush=True)\n"
            "time.sleep(600)\n"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        with owner:
            assert owner.stdout is not None
            children = [identity(pid) for pid in json.loads(owner.stdout.readline())]
            os.kill(owner.pid, signal.SIGKILL)
        wait_for(lambda: not any(child.alive() for child in children), "end of the children")

        assert len(children) == 3
        assert read_state(tmp_path) is None
        with Stack(tmp_path, roles={}, partitions=1) as stack:
            assert list(stack.pids()) == ["kafka", "clickhouse"]

    def test_a_step_that_fails_ends_what_was_started(self, tmp_path: Path) -> None:
        """No half stack stays behind."""
        started: list[Identity] = []

        def refuse(_: Servers) -> None:
            state = read_state(tmp_path)
            assert state is not None
            started.extend(identity(part.pid) for part in state.parts if part.pid)
            raise Misconfigured("the tables are from the future")

        with pytest.raises(Misconfigured, match="from the future"):
            Stack(tmp_path, roles={}, prepare=[refuse], partitions=1).start_servers()

        assert len(started) == 2
        assert not [process for process in started if process.alive()]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, which only root can make."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=800m", "optin-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.stack
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("no_named_servers")
def test_a_full_disk_stops_everything_cleanly_and_it_comes_back(tmp_path: Path) -> None:
    """`status` says what is full; once there is room Kafka and ClickHouse answer again, with all they had."""
    with small_disk(tmp_path / "disk") as disk, Stack(disk / "data", roles={}) as stack:
        assert ask(stack.clickhouse_url, "SELECT 1").rows == [(1,)]
        filler = disk / "filler"
        with filler.open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - (16 << 20))
        wait_for(lambda: {one.state for one in stack.statuses()} == {OUT_OF_ROOM}, "rest")
        state = read_state(disk / "data")
        assert state is not None
        assert {part.state for part in state.parts} == {OUT_OF_ROOM}
        with pytest.raises(PartFailed, match=rf"the disk of {disk}/data is full \(\d+ MB free\)"):
            stack.check()
        filler.unlink()
        wait_for(lambda: {one.state for one in stack.statuses()} == {"running"}, "end of the rest")
        assert ask(stack.clickhouse_url, "SELECT 1").rows == [(1,)]
        assert asyncio.run(answers_metadata(stack.kafka_bootstrap))


def test_named_servers_are_used_as_they_are(
    stack: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both servers named, only roles are started."""
    monkeypatch.setenv("OPTIN_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    monkeypatch.setenv("OPTIN_CLICKHOUSE_URL", stack.clickhouse_url)
    with Stack(tmp_path, roles={"metrics": 1}, command=python(TELLS_ITS_ENVIRONMENT)) as named:
        named.start_roles()

        assert named.servers == stack
        assert list(named.pids()) == ["metrics-0"]
