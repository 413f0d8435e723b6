"""Brings the tables and views of a database up to date by numbered SQL files, each applied once.

Files are `migrations/NNNN_name.sql`; a statement ends at a line that ends in `;`. ClickHouse has no
transactions over DDL, so each statement can be run again (`IF NOT EXISTS`, `OR REPLACE`): after a crash in
the middle of a file, the file is run from its beginning. A file that was applied is never edited: its
checksum is kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from importlib import resources
from typing import Final

from clickhouse_connect.driver.client import Client

from connectors.clickhouse.client import connect, sorted_errors
from connectors.errors import Misconfigured

FOLDER: Final = "migrations"
FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
RECORD: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number     UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, 64 hex digits."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements; a comment that stands above one belongs to it, whatever signs are in it."""
        found, lines = [], []
        for line in self.sql.splitlines():
            lines.append(line)
            if line.rstrip().endswith(";") and not line.startswith("--"):
                found.append("\n".join(lines).strip().removesuffix(";"))
                lines = []
        return found


def shipped() -> list[Migration]:
    """The migrations of this package by number. Raises `Misconfigured` if numbers are missing or doubled."""
    found = []
    for file in resources.files("connectors.clickhouse").joinpath(FOLDER).iterdir():
        match = FILE_NAME.fullmatch(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise Misconfigured("the package's migrations are not numbered 1, 2, 3...: install it again")
    return found


def migrate(url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Apply what is missing to the URL's database, which is created; the names of what was applied.

    Several processes may do so at once. Raises `Misconfigured` when the database was made by a newer version,
    or by an edited file, and `Transient`.
    """
    known = shipped() if migrations is None else migrations
    with connect(url, create=True) as client, sorted_errors():
        client.command(RECORD)
        applied = _applied(client)
        _refuse_strangers(known, applied)
        missing = [migration for migration in known if migration.number not in applied]
        for migration in missing:
            for statement in migration.statements:
                client.command(statement)
            client.insert(
                "schema_migrations",
                [[migration.number, migration.name, migration.checksum]],
                column_names=["number", "name", "checksum"],
                settings={"async_insert": 0},
            )
    return [f"{migration.number:04} {migration.name}" for migration in missing]


def _applied(client: Client) -> dict[int, str]:
    rows = client.query("SELECT number, checksum FROM schema_migrations FINAL").result_rows
    return {row[0]: row[1] for row in rows}


def _refuse_strangers(known: list[Migration], applied: dict[int, str]) -> None:
    newest = len(known)
    if any(number > newest for number in applied):
        raise Misconfigured(
            f"the ClickHouse database is at migration {max(applied)}, this version knows {newest}: run the"
            " newer version of optin"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise Misconfigured(
                f"migration {migration.number:04} {migration.name} was edited after it was applied here:"
                " restore the file and put the change into a new one"
            )
