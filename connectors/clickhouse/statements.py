"""What the HTTP interface must know of an SQL text before the engine sees it; not a parser of SQL.

Finds the place where the data of `INSERT .. FORMAT ..` and `INSERT .. VALUES` begin in a stream of bytes.
What it finds decides nothing about who may do what: see `admission`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

COMMENTS: Final = re.compile(rb"(?:\s|(?:--|#[ !])[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
WORD: Final = re.compile(rb"[A-Za-z]+")

_NAME: Final = rb'(?:`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*"|\w+)'
_COLUMNS: Final = rb'\((?:[^()`"]|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")*\)'
INSERT_OF_DATA: Final = re.compile(
    rb"(INSERT\s+INTO\s+(?:TABLE\s+)?" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?\s*"
    rb"(?:" + _COLUMNS + rb"\s*)?(?:\bSETTINGS\s+[^()]*?\s)?)"
    rb"\s*\b(?:FORMAT\s+(\w+)[ \t]*;?[ \t]*(\r?\n|$)|(VALUES)\s*(?=[^\s\w]))",
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


def data_insert(sql: bytes, *, complete: bool) -> DataInsert | None:
    """The INSERT of data at the head of `sql`, None if it is not one, or not whole yet.

    `complete`: nothing follows, so that the format's name may end the text.
    """
    found = INSERT_OF_DATA.match(sql, _start(sql))
    if found is None or not (found[3] or found[4] or complete):
        return None
    return DataInsert(found[1].decode(errors="replace"), (found[2] or found[4]).decode(), found.end())


def _start(sql: bytes) -> int:
    leading = COMMENTS.match(sql)
    return leading.end() if leading else 0
