"""Versions of stored rows: an older binary must not write over what it can't keep.

Rows are arrays that only grow at their end. A binary that does not know the newest element still reads the
row, and drops that element when it writes the row again. So a row's version is raised with every element that
it gets, and with every change of what one means; a missing element is read as its default.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

Row = TypeVar("Row")


class NewerState(ValueError):  # noqa: N818 - named for what was met
    """A row was written by a newer binary.

    Operator action: run the newer version; this one must not write over what it can't keep.
    """


def check(version: int, known: int) -> None:
    """Raise `NewerState` if a row of `version` is not known here."""
    if version > known:
        raise NewerState(
            f"it was written as state version {version}, this binary knows {known}: run the version of optin"
            " that wrote it, or a later one"
        )


def decode(decoder: msgspec.msgpack.Decoder[Row], raw: bytes, place: int, known: int) -> Row:
    """Decode a row whose version stands at index `place` (missing: 1).

    Raises `NewerState` for a row of a newer binary, also where its elements make no sense here, and
    `msgspec.DecodeError` for junk.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        elements = msgspec.msgpack.decode(raw)
        if isinstance(elements, list) and len(elements) > place and type(elements[place]) is int:
            check(elements[place], known)
        raise
