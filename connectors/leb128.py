"""Numbers of variable length (unsigned LEB128), as in protocol buffers and ClickHouse's Native format."""

from __future__ import annotations

from typing import Final

_MORE: Final = 0x80
"""The bit of a byte that says that another follows."""


def number(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins `at`, and where it ends. Raises ValueError where the data end within it."""
    value, shift = 0, 0
    while True:
        if at >= len(data):
            raise ValueError("the data end in the middle of a number")
        byte = data[at]
        value |= (byte & ~_MORE) << shift
        shift, at = shift + 7, at + 1
        if byte < _MORE:
            return value, at
