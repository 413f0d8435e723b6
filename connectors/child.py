"""Child processes: started on a leash, found again by an identity that pid reuse can't fake, ended.

Used by the embedded servers and by the supervisor. Only processes that we started (or whose identity
we wrote down when we started them) are ever signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

import connectors
from connectors import leash
from connectors.errors import Misconfigured

STOP_S: Final = 10.0
"""How long a process may take to end by itself after SIGTERM, before SIGKILL."""
KILL_S: Final = 10.0
"""How long the kernel may take to end a killed process."""
DYING_S: Final = 1.0
"""How long we look whether a process that is in the way is just ending."""
POLL_S: Final = 0.02
LOG_BYTES_MAX: Final = 8 << 20
"""A log file larger than this is set aside as `<name>.1` (one generation) at the next start."""
TAIL_BYTES: Final = 64 << 10
STATE: Final = 0
THREADS: Final = 17
START: Final = 19
"""Places of these values in `/proc/PID/stat`, counted behind the command's name."""


Process: TypeAlias = subprocess.Popen[bytes]
"""A child of ours."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that pid reuse can't be mistaken for: its pid, and its start as the kernel tells it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of the running process `pid`, None if there is none.

        A zombie is none, unless threads of it still run: they still hold its files and ports.
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (OSError, ValueError):
            return None
        ended = stat[STATE] in "ZX" and int(stat[THREADS]) <= 1
        return None if ended else cls(pid, f"{boot}:{stat[START]}")

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def end(self, stop_s: float = STOP_S) -> None:
        """SIGTERM, and SIGKILL after `stop_s`; for a process that is not our child. Idempotent."""
        for kind, bound_s in ((signal.SIGTERM, stop_s), (signal.SIGKILL, KILL_S)):
            deadline = time.monotonic() + bound_s
            if self.alive():
                os.kill(self.pid, kind)
            while self.alive() and time.monotonic() < deadline:
                time.sleep(POLL_S)


class _Owned(msgspec.Struct, frozen=True):
    """What a pid file holds: the process, and the process that started it."""

    process: Identity
    owner: Identity


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, wherever the caller stands.

    `-P`: the current folder is no place to import from; a user's `schemas/` there is not ours.
    """
    return [sys.executable, "-P", "-m", name, *arguments]


def import_path() -> dict[str, str]:
    """The environment in which `python_module` finds our packages, installed or not."""
    ours = str(Path(connectors.__file__).parents[1])
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (ours, before)))}


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    pid_file: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start `argv` on a leash, its output appended to `log`, its identity written to `pid_file`.

    `env` is added to our own environment. The child has its own session, so a Ctrl-C at the terminal
    reaches only us, and we end the children in order. Call it from a thread that outlives the child.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(log.name + ".1"))
    with open(log, "ab", opener=_private) as output:
        process = subprocess.Popen(  # noqa: S603 - the caller names the program, no shell
            [sys.executable, "-IS", leash.__file__, str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    if pid_file is not None and (child := Identity.of(process.pid)) is not None:
        owner = Identity.of(os.getpid())
        assert owner is not None
        write_atomically(pid_file, msgspec.json.encode(_Owned(child, owner)))
    return process


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def stop(process: Process, stop_s: float = STOP_S) -> int:
    """End a child: SIGTERM, after `stop_s` SIGKILL. Returns its exit code. Idempotent."""
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(KILL_S)


def claim(pid_file: Path, what: str) -> None:
    """Make sure that the process which `pid_file` names does not run any more.

    One whose owner is dead is an orphan of ours and is ended. One whose owner lives is somebody's:
    raises Misconfigured.
    """
    try:
        found = msgspec.json.decode(pid_file.read_bytes(), type=_Owned)
    except (OSError, msgspec.MsgspecError):
        return
    deadline = time.monotonic() + DYING_S
    while found.process.alive() and found.owner.alive():
        if time.monotonic() > deadline:
            raise Misconfigured(
                f"{what} already runs on {pid_file.parent} as process {found.process.pid}, started "
                f"by process {found.owner.pid}. Stop that one (`optin down`) or choose another data "
                "folder."
            )
        time.sleep(POLL_S)
    found.process.end()
    pid_file.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a crash, sees the old file or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_bytes(content)
    draft.replace(path)


def last_lines(log: Path, count: int) -> str:
    """The last `count` lines of a log file, '' if there is none; reads at most `TAIL_BYTES`."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
