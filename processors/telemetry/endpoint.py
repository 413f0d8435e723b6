"""Serves `/metrics`, `/healthz` and `/readyz` of one worker over HTTP, from threads of their own.

A blocked event loop can't answer; these threads can, and say that it is blocked. Nothing but GET, no
parameters, no bodies, nothing personal in any answer. There is no password: the network decides who may ask.
"""

from __future__ import annotations

import io
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from connectors.errors import Misconfigured
from processors.telemetry.exposition import CONTENT_TYPE
from processors.telemetry.health import Health

REQUEST_BYTES_MAX: Final = 8_192
"""What is read of a request, headers included."""
REQUEST_S_MAX: Final = 5.0
"""How long a request may take to come in whole."""
CONNECTIONS_MAX: Final = 16
JSON: Final = "application/json"


class Endpoint(ThreadingHTTPServer):
    """Answers until the process ends. Raises `Misconfigured` if it can't listen there."""

    daemon_threads = True

    def __init__(self, host: str, port: int, role: str, health: Health, text: Callable[[], bytes]) -> None:
        """`text` gives the body of `/metrics`. With port 0 the system chooses one."""
        self.role = role
        self.health = health
        self.text = text
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise Misconfigured(
                f"{host} port {port} can't be listened on ({error.strerror}): change OPTIN_METRICS_PORT or"
                " OPTIN_METRICS_HOST, or stop what uses it"
            ) from error
        threading.Thread(target=self.serve_forever, name="endpoint", daemon=True).start()

    def server_bind(self) -> None:
        """Listen, without the look-up of our own name by which the standard library would wait for DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection is taken: there are at most `CONNECTIONS_MAX`."""
        del request, client_address
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the client's affair."""


class _Bounded(io.RawIOBase):
    """The first `REQUEST_BYTES_MAX` bytes of a connection, within `REQUEST_S_MAX`; then it is at its end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._left = REQUEST_BYTES_MAX
        self._ends_s = time.monotonic() + REQUEST_S_MAX
        self.cut_off = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._ends_s - time.monotonic()
        if not self._left or left_s <= 0:
            self.cut_off = True
            return 0
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer, min(len(buffer), self._left))
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    timeout = REQUEST_S_MAX

    def version_string(self) -> str:
        return "optin"

    def setup(self) -> None:
        super().setup()
        self._request = _Bounded(self.connection)
        self.rfile = io.BufferedReader(self._request)

    def do_GET(self) -> None:
        health, role = self.server.health, self.server.role
        if self._request.cut_off:
            self._answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, JSON, b"{}")
            return
        match self.path:
            case "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE, self.server.text())
            case "/healthz":
                healthy = health.healthy()
                state = {"healthy": healthy, "role": role, "silent_s": round(health.silent_s(), 1)}
                self._tell(state, good=healthy)
            case "/readyz":
                reasons = health.reasons()
                state = {"ready": not reasons, "role": role, "reasons": list(reasons)}
                self._tell(state, good=not reasons)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, JSON, b'{"paths": ["/metrics", "/healthz", "/readyz"]}')

    def _tell(self, state: dict[str, Any], *, good: bool) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, JSON, json.dumps(state).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Requests are not worth a line."""
