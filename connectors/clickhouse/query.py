"""Asks ClickHouse one statement that a person wrote, and says clearly what was wrong with it."""

from __future__ import annotations

import dataclasses
from typing import Any

from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.clickhouse.client import OPERATORS_CODES, connect, sorted_errors
from connectors.errors import Misconfigured


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The columns of an answer and its rows; both empty for a statement that answers nothing."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def ask(url: str, statement: str) -> Answer:
    """Run one statement. Raises `Misconfigured` with ClickHouse's words for a bad one, and `Transient`."""
    with connect(url) as client, sorted_errors():
        try:
            result = client.query(statement)
        except DatabaseError as error:
            # No code: no server spoke. A missing table or column may as well be misspelt.
            if error.code is None or (error.code in OPERATORS_CODES and error.code not in {16, 60}):
                raise
            raise Misconfigured(f"ClickHouse did not run it: {error}") from error
        return Answer(tuple(result.column_names), [tuple(row) for row in result.result_rows])
