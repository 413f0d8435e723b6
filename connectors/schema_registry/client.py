"""Asks a registry with Confluent's HTTP API for the schema that has an id.

Two answers are final: the schema, and `Poison` (nothing Avro has this id). Everything else, a wrong address
and a refused password included, is `Transient`: a value whose schema can't be had now may be a revocation.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from connectors.errors import Misconfigured, Poison, Transient

ANSWER_S_MAX: Final = 5.0
"""How long one question may take, connecting included."""

ANSWER_BYTES_MAX: Final = 262_144
"""A schema is text in JSON in JSON; a longer answer holds none that we would take."""

CHUNK_BYTES: Final = 16_384
OK: Final = 200
NOT_FOUND: Final = 404
NO_SUCH_SCHEMA: Final = 40_403
"""The registry's own code. A 404 without it comes from something else at that address."""

MIME: Final = "application/vnd.schemaregistry.v1+json, application/json"


class _Registered(msgspec.Struct):
    text: str = msgspec.field(name="schema")
    kind: str | None = msgspec.field(name="schemaType", default=None)
    references: list[msgspec.Raw] | None = None


class _Refused(msgspec.Struct):
    error_code: int


class RegistryClient:
    """The registry at `url`: http(s)://user:password@host:port/path, all but the host optional.

    Raises `Misconfigured` for a bad URL, without quoting it.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            raise Misconfigured("OPTIN_SCHEMA_REGISTRY_URL is no URL") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise Misconfigured("OPTIN_SCHEMA_REGISTRY_URL must look like http://user:password@host:8081")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
        """The URL without user and password: fit for logs."""
        self._headers = {"Accept": MIME, "Accept-Encoding": "identity"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + b64encode(login.encode()).decode()

    async def schema_text(self, schema_id: int) -> str:
        """The Avro schema with this id, as it was registered; at most `ANSWER_BYTES_MAX` long.

        Poison `unknown_schema` when the registry knows no such id, or something else than one plain Avro
        schema has it. Transient when that can't be told just now.
        """
        try:
            # A session for each question: ids are asked for once, and no event loop is tied to another.
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX)) as session,
                session.get(
                    f"{self.address}/schemas/ids/{schema_id}",
                    headers=self._headers,
                    allow_redirects=False,
                ) as answer,
            ):
                body = await _bounded(answer)
                return self._schema_in(answer.status, answer.content_type, body, schema_id)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unanswered(schema_id, type(error).__name__) from None

    def _schema_in(self, status: int, mime: str, body: bytes, schema_id: int) -> str:
        if not mime.endswith("json") or status not in {OK, NOT_FOUND}:
            raise self._unanswered(schema_id, f"status {status}, {mime}")
        if len(body) > ANSWER_BYTES_MAX:
            raise _refused(schema_id, f"takes more than {ANSWER_BYTES_MAX} bytes")
        try:
            if status == NOT_FOUND:
                if msgspec.json.decode(body, type=_Refused).error_code == NO_SUCH_SCHEMA:
                    raise _refused(schema_id, "is not registered")
                raise self._unanswered(schema_id, "status 404 without the registry's own code")
            registered = msgspec.json.decode(body, type=_Registered)
        except (msgspec.DecodeError, RecursionError):
            raise self._unanswered(schema_id, f"status {status}, but not a registry's answer") from None
        if registered.kind not in {None, "AVRO"}:
            raise _refused(schema_id, "is not an Avro schema")
        if registered.references:
            raise _refused(schema_id, "refers to other schemas; register the fact's schema whole")
        return registered.text

    def _unanswered(self, schema_id: int, why: str) -> Transient:
        return Transient(f"the schema registry at {self.address} does not give schema {schema_id}: {why}")


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The body; of one that is too long, only as much as shows it."""
    body = bytearray()
    async for part in answer.content.iter_chunked(CHUNK_BYTES):
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            break
    return bytes(body)


def _refused(schema_id: int, why: str) -> Poison:
    return Poison("unknown_schema", f"schema {schema_id} of the registry {why}")
