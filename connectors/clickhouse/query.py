"""Asks ClickHouse one statement that a person wrote, and says clearly what was wrong with it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.clickhouse.client import OPERATORS_CODES, connect, sorted_errors
from connectors.errors import Misconfigured

READ_ONLY: Final = {"readonly": "2"}
"""ClickHouse's own word for: reads, and settings of this statement."""
NEEDS_WRITE: Final = "\nOnly statements that read are run without --write."


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The columns of an answer and its rows; both empty for a statement that answers nothing."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def ask(url: str, statement: str, *, read_only: bool = False) -> Answer:
    """Run one statement; `read_only`: one that changes anything is refused.

    Raises `Misconfigured` with ClickHouse's words for a bad one, and `Transient`.
    """
    with connect(url) as client, sorted_errors():
        try:
            result = client.query(statement, settings=READ_ONLY if read_only else None)
        except DatabaseError as error:
            changes = read_only and error.code in {164, 497}
            # No code: no server spoke. A missing table or column may as well be misspelt.
            if error.code is None or (error.code in OPERATORS_CODES and error.code not in {16, 60, 497}):
                raise
            raise Misconfigured(f"ClickHouse did not run it: {error}{NEEDS_WRITE * changes}") from error
        return Answer(tuple(result.column_names), [tuple(row) for row in result.result_rows])
