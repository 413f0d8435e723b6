"""A schema registry of our own: the part of Confluent's HTTP API that readers and writers of Avro use."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.request import Request, urlopen

MIME: Final = "application/vnd.schemaregistry.v1+json"
ANSWER_S_MAX: Final = 20


class FakeRegistry:
    """A registry on a free local port; use as a context manager. `down` makes it answer 503 to everything."""

    def __init__(self, password: str | None = None) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.asked: list[int] = []
        self.raw: dict[int, tuple[int, str, bytes]] = {}
        """What to answer for an id instead: status, content type, body."""
        self.down = False
        self.authorization = (
            None if password is None else "Basic " + base64.b64encode(f"optin:{password}".encode()).decode()
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Its URL, without user and password."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def register(self, **schema: Any) -> int:
        """As `POST /subjects/x/versions` does: the same schema keeps its id."""
        if schema not in self.schemas:
            self.schemas.append(schema)
        return self.schemas.index(schema) + 1

    def answer(self, schema_id: int) -> tuple[int, str, bytes]:
        """As `GET /schemas/ids/ID` does."""
        self.asked.append(schema_id)
        if schema_id in self.raw:
            return self.raw[schema_id]
        if self.down:
            return 503, "text/html", b"<h1>Service Unavailable</h1>"
        if 1 <= schema_id <= len(self.schemas):
            return 200, MIME, json.dumps(self.schemas[schema_id - 1]).encode()
        problem = {"error_code": 40403, "message": f"Schema {schema_id} not found"}
        return 404, MIME, json.dumps(problem).encode()


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            refused = registry.authorization not in {None, self.headers.get("Authorization")}
            schema_id = int(self.path.removeprefix("/schemas/ids/"))
            self._send(*((401, MIME, b'{"error_code":401}') if refused else registry.answer(schema_id)))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(200, MIME, json.dumps({"id": registry.register(**body)}).encode())

        def _send(self, status: int, mime: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", mime)
            self.send_header("Content-Length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def register(address: str, subject: str, **schema: Any) -> int:
    """Register a schema at any registry with Confluent's API, and return its id."""
    request = Request(
        f"{address}/subjects/{subject}/versions",
        json.dumps(schema).encode(),
        {"Content-Type": MIME},
    )
    with urlopen(request, timeout=ANSWER_S_MAX) as answer:
        return int(json.load(answer)["id"])
