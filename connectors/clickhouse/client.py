"""A client of the ClickHouse that a URL names, with errors that say what to do.

The URL is `http(s)://user:password@host:port/database`; any part but the host may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from connectors.clickhouse.embedded import DATABASE
from connectors.errors import Misconfigured, Transient

CONNECT_S: Final = 10
ANSWER_S: Final = 300
"""How long one statement may take."""
HTTP_PORT: Final = 8123
HTTPS_PORT: Final = 8443

BAD_URL: Final = (
    "OPTIN_CLICKHOUSE_URL is no URL like http://user:password@host:8123/optin: write / # ? @ : of the"
    " password as %2F %23 %3F %40 %3A"
)
OPERATORS_CODES: Final = {
    16: "a column is missing: run `optin migrate`",
    60: "a table is missing: run `optin migrate`",
    81: "the database is missing: run `optin migrate`",
    192: "the user is unknown: check OPTIN_CLICKHOUSE_URL",
    497: "the user lacks a privilege: grant it",
    516: "the user or the password is wrong: check OPTIN_CLICKHOUSE_URL",
}
"""Server errors that trying again does not mend, and what does. Codes: ClickHouse's ErrorCodes.cpp."""


def connect(url: str, *, create: bool = False) -> Client:
    """A client, after a first answer of the server; `create` makes the database if it is not there.

    Raises `Misconfigured` for a bad URL, user or password, and `Transient` where nothing answers. A client
    keeps no session, so threads may share one.
    """
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (HTTPS_PORT if secure else HTTP_PORT)
    except ValueError:  # its text may hold a part of the password
        raise Misconfigured(BAD_URL) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise Misconfigured(BAD_URL)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured("OPTIN_CLICKHOUSE_URL must look like http://user:password@host:8123/optin")

    def client(database: str) -> Client:
        return clickhouse_connect.get_client(
            host=parts.hostname or "",
            port=port,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            database=database,
            secure=secure,
            connect_timeout=CONNECT_S,
            send_receive_timeout=ANSWER_S,
            autogenerate_session_id=False,
        )

    database = parts.path.strip("/") or DATABASE
    if not database.isidentifier():
        raise Misconfigured("the database's name in OPTIN_CLICKHOUSE_URL must be a plain word")
    with sorted_errors():
        if create:
            with client("default") as first:
                first.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        return client(database)


@contextmanager
def sorted_errors() -> Iterator[None]:
    """Turn the client's errors into ours: `Misconfigured` for what a person must mend, else `Transient`."""
    try:
        yield
    except DatabaseError as error:
        if error.code is None:  # the client's own OperationalError: no server spoke
            raise Transient(f"ClickHouse does not answer: {_first_line(error)}") from error
        remedy = OPERATORS_CODES.get(error.code)
        if remedy is not None:
            raise Misconfigured(f"ClickHouse refused: {remedy} (code {error.code})") from error
        raise Transient(f"ClickHouse failed: {_first_line(error)}") from error
    except (ClickHouseError, OSError) as error:
        raise Transient(f"ClickHouse does not answer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
