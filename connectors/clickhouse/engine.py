"""The ClickHouse engine in this process (`chdb`), with sessions and settings as a server has them.

One data folder belongs to one process at a time. What is answered is built in memory; what is
inserted streams. `kill -9` at any moment loses no acknowledged insert.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from connectors.clickhouse import admission
from connectors.clickhouse.accounts import Role
from connectors.clickhouse.grants import bounds_of, write_configuration
from connectors.errors import Misconfigured

SESSIONS_MAX: Final = 1_000
"""Sessions kept at once; the one that rested longest makes room."""
SESSION_S: Final = 60.0
"""How long a session rests before it is forgotten, unless it asks for another time."""
SESSION_S_MAX: Final = 3_600.0
UNKNOWN_ERROR: Final = 1002
SESSION_NOT_FOUND: Final = 372
SESSION_IS_LOCKED: Final = 373
CODE: Final = re.compile(r"Code: (\d+)\.")
NAME: Final = re.compile(r"[A-Za-z_]\w*")
PARSED_BY: Final = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\. \()", re.DOTALL)
"""What the engine adds to an error of a text that we let it print."""


class EngineError(Exception):
    """The engine refused; `code` is ClickHouse's, the text is as a server would send it."""

    def __init__(self, message: str, code: int | None = None) -> None:
        if code is None:
            found = CODE.search(message)
            code = int(found[1]) if found else UNKNOWN_ERROR
            text = message[found.start() :] if found else f"Code: {code}. DB::Exception: {message}"
        else:
            text = f"Code: {code}. DB::Exception: {message}"
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: the bytes in the format, and the counts for the summary."""

    body: bytes
    counts: Mapping[str, int]


@dataclass(slots=True)
class _Session:
    """One chdb connection: USE, SET and temporary tables stay in it."""

    handle: Any
    rests_s: float
    last_used_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Engine:
    """The engine over the data folder `path`; safe to use from many threads.

    Raises Misconfigured if another process has the folder.
    """

    def __init__(self, path: Path) -> None:
        import chdb

        path.mkdir(parents=True, exist_ok=True)
        self._lock_file = (path / "owner.lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise Misconfigured(
                f"another process has the ClickHouse data in {path}: stop it (`optin down`) or choose "
                "another folder. Many clients may share one server, not one folder."
            ) from None
        config = write_configuration(path)
        address = f"{path / 'engine'}?config-file={config}"
        self._connect: Callable[[], Any] = partial(chdb.connect, address)
        self._root = self._connect()  # keeps the engine open between requests; ends statements
        self._root_lock = threading.Lock()
        with contextlib.suppress(RuntimeError):
            self._root.query("CREATE DATABASE IF NOT EXISTS optin")
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close all sessions and the engine; nothing may run any more."""
        with self._guard:
            for session in self._sessions.values():
                session.handle.close()
            self._sessions.clear()
            self._root.close()
        self._lock_file.close()

    @contextlib.contextmanager
    def session(
        self, user: str, name: str | None, *, must_exist: bool, rests_s: float, role: Role
    ) -> Iterator[_Session]:
        """The session `name` of `user`, for one statement at a time; without a name one for now only.

        Raises EngineError if the session is busy, or does not exist although it must.
        """
        if name is None:
            session = _Session(self._open(role), 0.0)
            try:
                yield session
            finally:
                session.handle.close()
            return
        session = self._named(user, name, must_exist=must_exist, rests_s=rests_s, role=role)
        try:
            yield session
        finally:
            session.last_used_s = time.monotonic()
            session.lock.release()

    def end_statement(self, tag: str) -> None:
        """End the statement that runs with this tag, if one does."""
        with self._root_lock, contextlib.suppress(RuntimeError):
            self._root.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(tag)} ASYNC")

    def _open(self, role: Role) -> Any:
        """A connection that may do what the role may, within its bounds: the engine refuses all else."""
        handle = self._connect()
        try:
            handle.query(f"SET ROLE {role}")
            bounds = ", ".join(f"{name} = {value}" for name, value in bounds_of(role).items())
            handle.query(f"SET {bounds}")
            if role == "analyst":
                handle.query("SET readonly = 2")
            with contextlib.suppress(RuntimeError):  # somebody dropped it
                handle.query("USE optin")
        except BaseException:
            handle.close()
            raise
        return handle

    def _named(self, user: str, name: str, *, must_exist: bool, rests_s: float, role: Role) -> _Session:
        """The named session with its lock taken."""
        with self._guard:
            self._forget_rested()
            session = self._sessions.get((user, name))
            if session is None:
                if must_exist:
                    raise EngineError(f"Session {name} not found. (SESSION_NOT_FOUND)", SESSION_NOT_FOUND)
                session = _Session(self._open(role), 0.0)
                self._sessions[user, name] = session
            if not session.lock.acquire(blocking=False):
                raise EngineError(
                    f"Session {name} is locked by a concurrent client. (SESSION_IS_LOCKED)",
                    SESSION_IS_LOCKED,
                )
            session.rests_s = min(rests_s, SESSION_S_MAX)
            return session

    def _forget_rested(self) -> None:
        """Close what rested too long, and beyond `SESSIONS_MAX` what rested longest."""
        now = time.monotonic()
        idle = sorted(
            (
                (session.last_used_s, key)
                for key, session in self._sessions.items()
                if not session.lock.locked()
            ),
        )
        surplus = len(self._sessions) - SESSIONS_MAX + 1
        for place, (last_used_s, key) in enumerate(idle):
            if place < surplus or now - last_used_s > self._sessions[key].rests_s:
                self._sessions.pop(key).handle.close()


@contextlib.contextmanager
def settings_for_one_statement(session: _Session, settings: Mapping[str, str]) -> Iterator[None]:
    """Apply the settings, and put back what was there before.

    A deduplication token, left behind in a session, would silently drop the next insert.
    """
    if not settings:
        yield
        return
    names = ", ".join(quoted(name) for name in settings)
    changed = f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})"  # noqa: S608
    found = query(session, changed, "TSV").body.decode()
    before = {name: unescaped(value) for name, value in (line.split("\t", 1) for line in found.splitlines())}
    try:
        query(session, "SET " + ", ".join(f"{_name(k)} = {quoted(v)}" for k, v in settings.items()))
        yield
    finally:
        with contextlib.suppress(EngineError):  # a setting that SET refused can't be reset either
            query(
                session,
                "SET "
                + ", ".join(
                    f"{name} = {quoted(before[name]) if name in before else 'DEFAULT'}" for name in settings
                ),
            )


def query(
    session: _Session,
    text: str,
    output_format: str = "Null",
    parameters: Mapping[str, str] | None = None,
) -> Answer:
    """Run one statement; raises EngineError."""
    try:
        if parameters:
            result = session.handle.query(text, output_format, params=dict(parameters))
        else:
            result = session.handle.query(text, output_format)
    except Exception as error:
        raise EngineError(str(error)) from error
    return Answer(
        result.bytes() or b"",
        {
            "read_rows": result.storage_rows_read(),
            "read_bytes": result.storage_bytes_read(),
            "result_rows": result.rows_read(),
        },
    )


def admitted(
    session: _Session,
    role: Role,
    text: str,
    parameters: Mapping[str, str],
    *,
    read_only: bool,
    has_data: bool = False,
) -> str:
    """The statement as the engine prints it; raises EngineError unless the role may run it.

    Refuses a text of several statements. What is judged is what is returned, so run that.
    """
    try:
        printed = query(
            session,
            "SELECT formatQuerySingleLine({statement:String})",
            "TSVRaw",
            {"statement": admission.escaped(text)},
        ).body.decode(errors="surrogateescape")
    except EngineError as error:
        raise EngineError(PARSED_BY.sub("", str(error))) from None
    printed = printed.removesuffix("\n")
    explained = query(session, f"EXPLAIN AST {printed}", "TSVRaw", parameters).body.decode(errors="replace")
    try:
        admission.check(role, printed, explained, read_only=read_only, has_data=has_data)
    except admission.Refused as refused:
        raise EngineError(f"{refused}. (ACCESS_DENIED)", admission.REFUSED) from None
    return printed


def insert(session: _Session, statement: str, data_format: str, data: Iterable[bytes]) -> Answer:
    """Stream `data` into an INSERT; returns when it is durable, raises EngineError.

    An error or a reader that breaks off in the middle cancels the insert.
    """
    try:
        stream = session.handle.send_insert(statement, data_format)
    except Exception as error:
        raise EngineError(str(error)) from error
    done = False
    try:
        for piece in data:
            stream.append(piece)
        written = stream.finish()
        done = True
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    finally:
        if not done:
            stream.cancel()
    return Answer(b"", {"written_rows": written.rows_written, "written_bytes": written.bytes_written})


def quoted(value: str) -> str:
    """A string literal of ClickHouse's SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def unescaped(value: str) -> str:
    """A value of tab-separated text as it was."""
    return value.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in value else value


def _name(setting: str) -> str:
    if NAME.fullmatch(setting) is None:
        raise EngineError(f"Setting {setting!r} is not a name. (UNKNOWN_SETTING)", 115)
    return setting
