"""What the HTTP interface must know of an SQL text before the engine sees it; not a parser of SQL.

Finds the first word (may a reader run it?), the output format at the end, and the place where the
data of `INSERT .. FORMAT ..` begin in a stream of bytes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

COMMENTS: Final = re.compile(rb"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
WORD: Final = re.compile(rb"[A-Za-z]+")
FORMAT_AT_END: Final = re.compile(rb"\bFORMAT\s+(\w+)[\s;]*$", re.IGNORECASE)

_NAME: Final = rb'(?:`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*"|\w+)'
_COLUMNS: Final = rb'\((?:[^()`"]|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")*\)'
INSERT_OF_DATA: Final = re.compile(
    rb"(INSERT\s+INTO\s+(?:TABLE\s+)?" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?\s*"
    rb"(?:" + _COLUMNS + rb"\s*)?(?:\bSETTINGS\s+[^()]*?\s)?)"
    rb"\s*\bFORMAT\s+(\w+)[ \t]*;?[ \t]*(\r?\n|$)",
    re.IGNORECASE | re.DOTALL,
)
"""Ends at the first line end: a Native block may itself begin with a byte that is white space."""


class DataInsert(NamedTuple):
    """An INSERT whose data follow: the statement, the format of the data, where they begin."""

    statement: str
    data_format: str
    data_at: int


def first_word(sql: bytes) -> str:
    """The first word of the statement in upper case, '' if there is none."""
    found = WORD.match(sql, _start(sql))
    return found[0].decode().upper() if found else ""


def output_format(sql: bytes, default: str) -> tuple[str, str]:
    """Split the statement into its text and the format that it asks its answer in."""
    trimmed = sql.rstrip()
    found = FORMAT_AT_END.search(trimmed)
    if found is None:
        return trimmed.decode(), default
    return trimmed[: found.start()].decode(), found[1].decode()


def data_insert(sql: bytes, *, complete: bool) -> DataInsert | None:
    """The INSERT of data at the head of `sql`, None if it is not one, or not whole yet.

    `complete`: nothing follows, so that the format's name may end the text.
    """
    found = INSERT_OF_DATA.match(sql, _start(sql))
    if found is None or not (found[3] or complete):
        return None
    return DataInsert(found[1].decode(), found[2].decode(), found.end())


def _start(sql: bytes) -> int:
    leading = COMMENTS.match(sql)
    return leading.end() if leading else 0
