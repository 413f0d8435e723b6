"""A real ClickHouse engine on this machine, without Docker.

`python -m connectors.clickhouse.embedded DATA PORT` runs it: the engine (`chdb`) in a process of its
own behind ClickHouse's HTTP interface, so every client speaks to it as to a server. Listens on the
loopback address only and keeps everything in one data folder, which belongs to one such process at a
time. Survives `kill -9`: the next start on the folder finds every acknowledged insert. Prints
`READY port=N` when it answers (PORT 0: a free one).

Who may do what stands in `accounts.py` and `grants.py`; the passwords are in `DATA/accounts.json`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import msgspec

from connectors import child
from connectors.clickhouse.accounts import READERS_ENV, USERS_ENV, Role, accounts_of, stored_accounts
from connectors.confinement import confine
from connectors.errors import Misconfigured, Transient
from connectors.extras import require
from connectors.loopback import HOST, choose_port, free_port

MODULE: Final = "connectors.clickhouse.embedded"
DATABASE: Final = "optin"
START_S: Final = 60.0
"""How long a start may take; usually about 1 s."""
STOP_S: Final = 15.0
"""How long a clean stop may take before SIGKILL."""
FINISH_S: Final = 5.0
"""How long a stopping server waits for the statements that run."""
ANSWER_S: Final = 5.0
POLL_S: Final = 0.02
LOG_LINES: Final = 15
ENGINE_FILES: Final = ("owner.lock", "users.xml", "config.xml")
"""What the engine's process writes in its data folder, beside `engine/` and `tmp/`."""
READ_OF_THE_MACHINE: Final = (
    *("/usr", "/lib", "/lib64", "/etc/localtime", "/etc/timezone", "/etc/ld.so.cache"),
    *(f"/proc/self/{name}" for name in ("maps", "statm", "cgroup", "mounts", "mountinfo")),
    *(f"/proc/{name}" for name in ("meminfo", "cpuinfo", "stat", "mounts")),
    *("/sys/fs/cgroup", "/sys/devices/system"),
)
"""Libraries, zones, and how much memory and how many cores there are; no environment of any process."""
MISCONFIGURED_EXIT: Final = 78
"""EX_CONFIG of sysexits.h: starting again won't help."""


class _Port(msgspec.Struct, frozen=True):
    port: int


class EmbeddedClickHouse:
    """A server process over the folder `data`; `start` and `stop` may be called again and again.

    `port` 0: chosen free and remembered in the folder; once started, an object keeps to its port.
    Usable as a context manager. The server is killed when the thread that called `start` ends (see
    `connectors.leash`).
    """

    def __init__(
        self,
        data: Path,
        port: int = 0,
        progress: Callable[[str], None] = lambda _: None,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data.resolve()
        self.log = log or self.data / "clickhouse.log"
        self._asked = port
        self._port = 0
        self._progress = progress
        self._env = dict(env or {})
        self._process: child.Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients find our database, as admin and with the password; after `start`."""
        return self.url_of("admin")

    def url_of(self, account: Role) -> str:
        """The same as another account."""
        return url_of(self.data, self.address, account)

    @property
    def address(self) -> str:
        """Where clients find our database, without an account; after `start`."""
        if not self._port:
            raise RuntimeError("start the server first")
        return f"http://{HOST}:{self._port}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """The server's process, None if it is not running."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> str:
        """Start the server and wait until the engine answers; returns `url`. Idempotent.

        Raises Misconfigured if another owner's server runs on this folder or a named port is taken,
        and Transient, with the server's last words, if it ends or does not answer within `START_S`.
        """
        if self.pid is not None:
            return self.url
        require("local")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.chmod(0o700)
        accounts_of(self.data, {**os.environ, **self._env})
        child.claim(self.data / "pid.json", "ClickHouse")
        self._choose_port()
        self._progress(f"Starting ClickHouse at {self.address}")
        self._process = child.spawn(
            child.python_module(MODULE, str(self.data), str(self._port)),
            log=self.log,
            pid_file=self.data / "pid.json",
            env={**child.import_path(), **self._env, USERS_ENV: "", READERS_ENV: ""},
        )
        deadline = time.monotonic() + START_S
        while self.pid is not None and time.monotonic() < deadline:
            if answers_query(f"http://{HOST}:{self._port}/"):
                self._asked = self._port  # clients know it by now
                return self.url
            time.sleep(POLL_S)
        words = child.last_lines(self.log, LOG_LINES)
        failure = Misconfigured if self._process.poll() == MISCONFIGURED_EXIT else Transient
        self.stop()
        raise failure(f"ClickHouse did not start. Its last words ({self.log}):\n{words}")

    def stop(self) -> None:
        """End the server cleanly, within `STOP_S` and a kill. Idempotent."""
        if self._process is not None:
            child.stop(self._process, STOP_S)
            self._process = None
            (self.data / "pid.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone; for tests of crashes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(child.KILL_S)

    def _choose_port(self) -> None:
        file = self.data / "ports.json"
        try:
            before = msgspec.json.decode(file.read_bytes(), type=_Port).port
        except (OSError, msgspec.MsgspecError):
            before = 0
        self._port = choose_port(self._asked, before)
        child.write_atomically(file, msgspec.json.encode(_Port(self._port)))


def url_of(data: Path, address: str, account: Role) -> str:
    """An address of the server over `data` with an account and its password in it."""
    password = quote(stored_accounts(data)[account].password, safe="")
    return address.replace("://", f"://{account}:{password}@", 1)


def answers_query(url: str, timeout_s: float = ANSWER_S) -> bool:
    """Whether a ClickHouse at `url` answers (a refused password is an answer too)."""
    scheme, _, rest = url.rstrip("/").partition("://")
    where = rest.rpartition("@")[2]  # nobody's password is needed for this
    request = urllib.request.Request(f"{scheme}://{where}/?query=SELECT%201")  # noqa: S310 - http only
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return bool(answer.status == 200)  # noqa: PLR2004
    except urllib.error.HTTPError as refused:
        return "X-ClickHouse-Exception-Code" in refused.headers
    except OSError:
        return False


def serve(data: Path, port: int) -> None:
    """Serve `data` until SIGTERM or SIGINT; then let running statements finish, and close."""
    from connectors.clickhouse.engine import Engine
    from connectors.clickhouse.http_interface import Server

    os.umask(0o077)
    data.mkdir(parents=True, exist_ok=True)
    accounts = accounts_of(data, os.environ)
    _confine(data)
    engine = Engine(data)
    server = Server(engine, port or free_port(), accounts)

    def stop(*_: Any) -> None:
        # From a thread: `shutdown` waits for the loop that this signal interrupted.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"READY port={server.server_port}", flush=True)  # noqa: T201 - for whoever started us
    server.serve_forever(poll_interval=0.1)
    if server.wait_until_idle(FINISH_S):
        engine.close()
    sys.stdout.flush()
    os._exit(0)  # threads of connections may still wait for their clients


def _confine(data: Path) -> None:
    """Leave the process the engine's files, the libraries, and what says how large the machine is.

    One statement that gets by the allow-list opens no other file then, not even the passwords beside the
    engine's, and no connection.
    """
    written = [data / name for name in ENGINE_FILES]
    for path in written:
        path.touch(mode=0o600, exist_ok=True)
    for folder in (data / "engine", data / "tmp"):
        folder.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(data / "tmp")
    libraries = [Path(one) for one in sys.path if "site-packages" in one or one.startswith(sys.base_prefix)]
    ours = [Path(__file__).parents[2] / name for name in ("connectors", "ledger", "schemas")]
    read = [*map(Path, (sys.prefix, sys.base_prefix, *READ_OF_THE_MACHINE)), *libraries, *ours]
    devices = [Path("/dev") / name for name in ("null", "zero", "random", "urandom")]
    if not confine(read, [*written, data / "engine", data / "tmp", *devices]):
        print("this kernel has no Landlock: the engine can open every file of its user", flush=True)  # noqa: T201


def main(argv: list[str]) -> None:
    """Run `serve` from the command line; exits with 78 for what only a person can mend."""
    try:
        serve(Path(argv[0]), int(argv[1]))
    except (Misconfigured, ValueError, IndexError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(MISCONFIGURED_EXIT) from error


if __name__ == "__main__":
    main(sys.argv[1:])
