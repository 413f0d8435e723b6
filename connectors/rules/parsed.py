"""A compiled rule as a tree: how often it goes through a list, and which patterns it matches by.

The engine gives its tree as bytes alone: a `google.protobuf.Any` around `cel.expr.CheckedExpr`
(https://github.com/google/cel-spec, proto/cel/expr/checked.proto and syntax.proto), whose messages are in no
package. What is read of them here are the few fields that hold expressions, calls and constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from connectors.leb128 import number

_ANY_VALUE: Final = 2
_CHECKED_EXPR: Final = 4
_CONSTANT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 5, 6, 7, 8, 9
_FUNCTION: Final = 2
_ARGUMENTS: Final = 3
_ENTRIES: Final = 2
_STRING: Final = 6
_PARTS: Final = {
    _SELECT: (1,),
    _CALL: (1, 3),
    _LIST: (1,),
    _COMPREHENSION: (2, 4, 5, 6, 7),
}
"""Fields of each kind of expression that hold expressions."""
_ENTRY_PARTS: Final = (3, 4)
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED_64: 8, _FIXED_32: 4}


class Tree(NamedTuple):
    """What a rule does that has to be bounded."""

    comprehensions: int
    """How many macros it has that go through a list (`all`, `exists`, `exists_one`, `map`, `filter`)."""
    patterns: tuple[str | None, ...]
    """The regular expressions of its calls of `matches`; None for one that is no constant."""


def tree(serialized: bytes) -> Tree:
    """The tree of what `Expression.serialize` gives. Raises ValueError for other bytes."""
    checked = b"".join(value for number, value in _fields(serialized) if number == _ANY_VALUE)
    roots = [value for number, value in _fields(checked) if number == _CHECKED_EXPR]
    if len(roots) != 1:
        raise ValueError("no expression of CEL")
    comprehensions = 0
    patterns: list[str | None] = []
    waiting = roots
    while waiting:
        for kind, value in _fields(waiting.pop()):
            if kind == _COMPREHENSION:
                comprehensions += 1
            if kind == _CALL and _function(value) == "matches":
                patterns.append(
                    _constant([one for number, one in _fields(value) if number == _ARGUMENTS][-1])
                )
            if kind == _STRUCT:
                entries = (one for number, one in _fields(value) if number == _ENTRIES)
                waiting += [one for entry in entries for n, one in _fields(entry) if n in _ENTRY_PARTS]
            waiting += [one for number, one in _fields(value) if number in _PARTS.get(kind, ())]
    return Tree(comprehensions, tuple(patterns))


def _function(call: bytes) -> str:
    return b"".join(value for number, value in _fields(call) if number == _FUNCTION).decode()


def _constant(expression: bytes) -> str | None:
    for kind, value in _fields(expression):
        if kind == _CONSTANT:
            texts = [one for number, one in _fields(value) if number == _STRING]
            return texts[-1].decode() if texts else None
    return None


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of the fields that hold bytes; raises ValueError at bytes that are no message."""
    at = 0
    while at < len(message):
        tag, at = number(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = number(message, at)
        elif wire == _BYTES:
            length, at = number(message, at)
            if at + length > len(message):
                raise ValueError("it ends in the middle of a field")
            yield field, message[at : at + length]
            at += length
        elif wire in _WIDTHS:
            at += _WIDTHS[wire]
        else:
            raise ValueError(f"wire type {wire}")
