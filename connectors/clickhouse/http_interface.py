"""ClickHouse's HTTP interface over the engine in this process, for this machine only.

Speaks what `clickhouse-connect` (any mode), the JDBC, Go and Node clients by their defaults, and `curl` do:
SQL in the URL or the body, settings and `param_x` in the URL, sessions, bodies compressed both ways (HTTP's
and ClickHouse's own), Native with and without a revision and all other formats, errors as a server sends.
Not spoken: external data (multipart), progress headers, the native TCP protocol.

Listens on the loopback address, asks for the password of an account (see `accounts.py`), and refuses what a
web page in a browser could send there. A GET only reads, whoever asks.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from connectors.clickhouse import admission
from connectors.clickhouse.access import (
    AUTHENTICATION_FAILED,
    FORBIDDEN,
    authenticate,
    refuse_browsers,
)
from connectors.clickhouse.accounts import Account
from connectors.clickhouse.engine import (
    SESSION_S,
    Answer,
    Engine,
    EngineError,
    admitted,
    insert,
    query,
    settings_for_one_statement,
)
from connectors.clickhouse.http_bodies import (
    PIECE_BYTES,
    BrokenBody,
    chained,
    compressed,
    decompressed,
    raw_pieces,
)
from connectors.clickhouse.native_blocks import with_revision
from connectors.clickhouse.native_frames import framed, unframed
from connectors.clickhouse.statements import data_insert, first_word
from connectors.loopback import HOST

TRANSPORT: Final = frozenset(
    {
        *("database", "query", "query_id", "session_id", "session_timeout", "session_check", "user"),
        *("password", "default_format", "client_protocol_version", "compress", "decompress", "role"),
        *("wait_end_of_query", "buffer_size", "quota_key", "send_progress_in_http_headers"),
        *("http_headers_progress_interval_ms", "enable_http_compression", "close_session"),
    }
)
"""URL parameters of the transport; all others (but `param_x`) are settings of the statement."""
SQL_BYTES_MAX: Final = 64 << 20
"""The longest statement (an INSERT .. VALUES carries its data in it)."""
DRAIN_BYTES_MAX: Final = 64 << 20
"""What is read of a refused request's body to keep the connection; beyond, it is closed."""
CONNECTIONS_MAX: Final = 512
LOOK_S: Final = 0.3
"""How often it is looked for clients that hung up."""
IDLE_S: Final = 600.0
"""A connection that says nothing for so long is closed."""

NOT_IMPLEMENTED: Final = 48
TOO_LARGE: Final = 62
BROKEN_DATA: Final = 354
HTTP_STATUS: Final[Mapping[int, int]] = {
    **dict.fromkeys((16, 46, 47, 60, 81, 115, 372), 404),
    **dict.fromkeys((62, 26, 27, 41, 53, 69, 130), 400),
    **dict.fromkeys((AUTHENTICATION_FAILED, FORBIDDEN), 403),
    NOT_IMPLEMENTED: 501,
}
"""The status a server answers for an error's code; 500 for the rest."""


class Server(ThreadingHTTPServer):
    """Serves `engine` on `port` of the loopback address; a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, engine: Engine, port: int, accounts: Mapping[str, Account]) -> None:
        self.engine = engine
        self.accounts = accounts
        self._running = 0
        self._statements: dict[str, tuple[Any, str, str]] = {}
        self._looked_at = 0.0
        self._connections = 0
        self._changed = threading.Condition()
        super().__init__((HOST, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection is taken: there are at most `CONNECTIONS_MAX`."""
        del request, client_address
        return self._connections < CONNECTIONS_MAX

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, counted."""
        with self._changed:
            self._connections += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._connections -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the client's affair; its thread ends."""

    @contextlib.contextmanager
    def watched(self, connection: Any, user: str, query_id: str) -> Iterator[str]:
        """Watch a client while its statement runs: one that hangs up ends it. Gives the statement's tag."""
        tag = f"{uuid.uuid4()}"
        with self._changed:
            self._statements[tag] = (connection, user, query_id)
        try:
            yield tag
        finally:
            with self._changed:
                self._statements.pop(tag, None)

    def end_abandoned(self) -> None:
        """End the statements whose clients hung up; called again and again."""
        with self._changed:
            statements = list(self._statements.items())
        for tag, (connection, _, _) in statements:
            if _hung_up(connection):
                self.engine.end_statement(tag)

    def service_actions(self) -> None:
        """Part of the server's loop."""
        super().service_actions()
        now = time.monotonic()
        if now - self._looked_at > LOOK_S:
            self._looked_at = now
            self.end_abandoned()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a statement that runs, so that a stop can wait for it."""
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no statement runs; False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True  # else a small answer waits 40 ms
    timeout = IDLE_S
    server: Server
    parameters: Mapping[str, str]
    query_id: str

    def log_message(self, *_: object) -> None:
        """Requests are not logged: they hold data, and there are many."""

    def do_GET(self) -> None:
        """Answer one request; a GET may only read."""
        self._request(read_only=True)

    def do_POST(self) -> None:
        """Answer one request."""
        self._request(read_only=False)

    def _request(self, *, read_only: bool) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.parameters = dict(
            urllib.parse.parse_qsl(url.query, keep_blank_values=True, errors="surrogateescape")
        )
        self.query_id = self.parameters.get("query_id") or str(uuid.uuid4())
        started_ns = time.monotonic_ns()
        received = raw_pieces(self.rfile, self.headers)
        body = decompressed(received, self.headers.get("Content-Encoding", ""))
        if self.parameters.get("decompress") == "1":
            body = unframed(body)
        try:
            refuse_browsers(self.headers)
            if url.path == "/ping" or not (self.parameters.get("query") or self.command == "POST"):
                self._drain(received)  # else it would be taken for the next request
                self._answer(200, b"Ok.\n", {})
                return
            with self.server.at_work():
                asked_format, answer = self._run(body, read_only=read_only)
                data = self._as_asked(answer.body, asked_format)
        except BrokenBody as error:
            self.close_connection = True
            told = EngineError(f"{error}. (CANNOT_DECOMPRESS)", BROKEN_DATA)
            self._refuse(told)
            return
        except EngineError as error:
            self._drain(received)
            self._refuse(error)
            return
        summary = {**answer.counts, "elapsed_ns": time.monotonic_ns() - started_ns}
        self._answer(
            200,
            data,
            {
                "X-ClickHouse-Format": asked_format,
                "X-ClickHouse-Summary": json.dumps({key: str(n) for key, n in summary.items()}),
            },
        )

    def _as_asked(self, data: bytes, asked_format: str) -> bytes:
        """The answer for the client's revision of the protocol, and in frames, if it asked for them."""
        if asked_format == "Native":
            try:
                data = with_revision(data, _revision(self.parameters.get("client_protocol_version")))
            except ValueError as error:
                raise EngineError(f"In Native: {error}. (NOT_IMPLEMENTED)", NOT_IMPLEMENTED) from None
        return framed(data) if self.parameters.get("compress") == "1" else data

    def _run(self, body: Iterator[bytes], *, read_only: bool) -> tuple[str, Answer]:
        """Run the request's statement; returns the format and the answer. Raises EngineError."""
        user, account = authenticate(self.server.accounts, self.headers, self.parameters)
        if self.headers.get_content_maintype() == "multipart":
            raise EngineError("External data is not supported here. (NOT_IMPLEMENTED)", NOT_IMPLEMENTED)
        head, rest = self._statement(body)
        settings = self._settings()
        if settings.get("readonly") in {"1", "2"}:
            read_only = bool(settings.pop("readonly"))
        try:
            admission.refuse_settings([*settings])
        except admission.Refused as refused:
            raise EngineError(f"{refused}. (ACCESS_DENIED)", admission.REFUSED) from None
        with (
            self.server.engine.session(
                user,
                self.parameters.get("session_id"),
                must_exist=self.parameters.get("session_check") == "1",
                rests_s=_seconds(self.parameters.get("session_timeout")),
                role=account.role,
            ) as session,
            self.server.watched(self.connection, user, self.query_id) as tag,
        ):
            database = self.parameters.get("database") or self.headers.get("X-ClickHouse-Database")
            if database and database != "default":  # that one is the machine's files; ours is meant
                query(session, f"USE `{_without_ticks(database)}`")
            found = data_insert(head, complete=True)
            text = (
                f"{found.statement} FORMAT {found.data_format}"
                if found
                else head.decode(errors="surrogateescape")
            )
            parameters = self._query_parameters()
            statement = admitted(
                session, account.role, text, parameters, read_only=read_only, has_data=found is not None
            )
            # A SET of the client lasts; nothing is put back behind it.
            with settings_for_one_statement(session, {**settings, "log_comment": tag}):
                if found is not None:
                    data = chained(head[found.data_at :], rest)
                    return "Null", insert(session, found.statement, found.data_format, data)
                default = self.headers.get("X-ClickHouse-Format", "TabSeparated")
                text, asked = admission.output_format(
                    statement, self.parameters.get("default_format", default)
                )
                return asked, query(session, text, asked, parameters)

    def _statement(self, body: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
        """The SQL of the request, and what of its body is data behind the SQL."""
        sql = self.parameters.get("query", "").encode(errors="surrogateescape")
        if sql and data_insert(sql, complete=True) is not None:
            return sql, body
        head = bytearray(sql + b"\n" if sql else b"")
        for piece in body:
            head += piece
            if len(head) > SQL_BYTES_MAX:
                raise EngineError("The statement is too long. (SYNTAX_ERROR)", TOO_LARGE)
            if first_word(bytes(head[:PIECE_BYTES])) == "INSERT":
                found = data_insert(bytes(head[:PIECE_BYTES]), complete=False)
                if found is not None:
                    return bytes(head), body
        return bytes(head), iter(())

    def _settings(self) -> dict[str, str]:
        return {
            key: value
            for key, value in self.parameters.items()
            if key not in TRANSPORT and not key.startswith("param_")
        }

    def _query_parameters(self) -> dict[str, str]:
        start = len("param_")
        return {k[start:]: v for k, v in self.parameters.items() if k.startswith("param_")}

    def _drain(self, received: Iterator[bytes]) -> None:
        """Read what is left of a refused request, so that the next one on this connection is found."""
        size = 0
        try:
            for piece in received:
                size += len(piece)
                if size > DRAIN_BYTES_MAX:
                    self.close_connection = True
                    return
        except (BrokenBody, OSError):
            self.close_connection = True

    def _refuse(self, error: EngineError) -> None:
        self._answer(
            HTTP_STATUS.get(error.code, 500),
            f"{error}\n".encode(errors="replace"),
            {"X-ClickHouse-Exception-Code": str(error.code)},
        )

    def _answer(self, status: int, data: bytes, more: Mapping[str, str]) -> None:
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Server-Display-Name": "optin-embedded",
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Query-Id": self.query_id,
            **more,
        }
        if self.parameters.get("enable_http_compression") == "1":
            data, encoding = compressed(data, self.headers.get("Accept-Encoding", ""))
            if encoding is not None:
                headers["Content-Encoding"] = encoding
        if self.close_connection:
            headers["Connection"] = "close"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, _one_line(value))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the client has closed the connection; never waits."""
    try:
        looked = select.poll()
        looked.register(connection, select.POLLIN)
        return bool(looked.poll(0)) and not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (OSError, ValueError):
        return True


def _without_ticks(name: str) -> str:
    return name.replace("\\", "").replace("`", "")


def _one_line(value: str) -> str:
    """A header's value can't hold a line end; one from the client must not smuggle a header in."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace").decode("latin-1")


def _revision(asked: str | None) -> int:
    return int(asked) if asked and asked.isascii() and asked.isdecimal() else 0


def _seconds(asked: str | None) -> float:
    try:
        return float(asked) if asked else SESSION_S
    except ValueError:
        raise EngineError(f"session_timeout {asked!r} is not a number. (BAD_ARGUMENTS)", 36) from None
