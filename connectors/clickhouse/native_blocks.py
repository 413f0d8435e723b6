"""The Native format for a client that names its protocol's revision, as the Go driver does.

The engine writes Native without one. From revision 51903 on each block begins with its `BlockInfo`, and from
54454 on each column says after its type whether its serialization is a custom one (it never is here). Where a
column ends follows from its type. Source: https://clickhouse.com/docs/native-protocol/server#block and
https://clickhouse.com/docs/native-protocol/columns.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from connectors.leb128 import number

BLOCK_INFO_FROM: Final = 51_903
CUSTOM_FROM: Final = 54_454
BLOCK_INFO: Final = bytes((1, 0, 2, 255, 255, 255, 255, 0))
"""Field 1, `is_overflows`: no; field 2, `bucket_num`: -1; the end."""
NOT_CUSTOM: Final = b"\x00"

_BYTES: Final = {
    **dict.fromkeys(("UInt8", "Int8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("UInt16", "Int16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("UInt32", "Int32", "Float32", "DateTime", "Date32", "IPv4", "Time", "Decimal32"), 4),
    **dict.fromkeys(("UInt64", "Int64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("UInt256", "Int256", "Decimal256"), 32),
}
_DIGITS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))
"""The most digits of a Decimal, and its bytes."""
_OFFSET: Final = struct.Struct("<Q")


def with_revision(native: bytes, revision: int) -> bytes:
    """The same blocks as a client of this revision reads them.

    Raises ValueError for bytes that are no blocks, and for a type whose columns can't be told apart.
    """
    if revision < BLOCK_INFO_FROM or not native:
        return native
    return b"".join(_blocks(native, custom=revision >= CUSTOM_FROM))


def _blocks(native: bytes, *, custom: bool) -> Iterator[bytes]:
    at = 0
    while at < len(native):
        yield BLOCK_INFO
        begins = at
        columns, at = number(native, at)
        rows, at = number(native, at)
        yield native[begins:at]
        for _ in range(columns):
            begins = at
            _, at = _text(native, at)
            kind, at = _text(native, at)
            yield native[begins:at]
            if custom:
                yield NOT_CUSTOM
            begins, at = at, _end(native, at + _prefix(kind), kind, rows) if rows else at
            if at > len(native):
                raise ValueError("a block ends within a column")
            yield native[begins:at]


def _prefix(kind: str) -> int:
    """Bytes before a column's data: the version of each dictionary in it."""
    name, arguments = _parts(kind)
    if name == "LowCardinality":
        return 8
    if name in {"Array", "Map", "Tuple", "Nullable"}:
        return sum(_prefix(_without_name(argument)) for argument in arguments)
    return 0


def _end(native: bytes, at: int, kind: str, rows: int) -> int:
    """Where a column of so many rows ends that begins `at`."""
    name, arguments = _parts(kind)
    if name in _BYTES:
        return at + rows * _BYTES[name]
    match name:
        case "String":
            for _ in range(rows):  # the one loop over values: most are short
                size = native[at]
                if size < 128:  # noqa: PLR2004 - one byte says it
                    at += 1 + size
                else:
                    size, at = number(native, at)
                    at += size
            return at
        case "FixedString":
            return at + rows * int(arguments[0])
        case "Decimal":
            digits = int(arguments[0])
            return at + rows * next(size for most, size in _DIGITS if digits <= most)
        case "Nullable":
            return _end(native, at + rows, arguments[0], rows)
        case "Array" | "Map":
            inner = arguments[0] if name == "Array" else f"Tuple({', '.join(arguments)})"
            count: int = _OFFSET.unpack_from(native, at + 8 * (rows - 1))[0] if rows else 0
            return _end(native, at + 8 * rows, inner, count)
        case "Tuple":
            for argument in arguments:
                at = _end(native, at, _without_name(argument), rows)
            return at
        case "LowCardinality":
            return _end_of_dictionary(native, at, arguments[0], rows)
        case "SimpleAggregateFunction":
            return _end(native, at, arguments[1], rows)
        case _ if name.startswith("Interval"):
            return at + 8 * rows
        case _:
            raise ValueError(f"columns of the type {name} have no end that is known here")


def _end_of_dictionary(native: bytes, at: int, kind: str, rows: int) -> int:
    """Keys of a type, then an index of 1, 2, 4 or 8 bytes for each row."""
    if not rows:
        return at
    flags: int
    keys: int
    flags, keys = struct.unpack_from("<QQ", native, at)
    name, arguments = _parts(kind)
    at = _end(native, at + 16, arguments[0] if name == "Nullable" else kind, keys)
    return at + 8 + rows * (1 << (flags & 0xFF))


def _parts(kind: str) -> tuple[str, list[str]]:
    """A type's name and its arguments: `Map(String, Array(UInt8))` has two."""
    name, _, inner = kind.partition("(")
    arguments, depth, quoted, begins = [], 0, False, 0
    inner = inner.removesuffix(")")
    for at, sign in enumerate(inner):
        if sign in "'`" and (at == 0 or inner[at - 1] != "\\"):
            quoted = not quoted
        elif not quoted:
            depth += (sign == "(") - (sign == ")")
            if sign == "," and depth == 0:
                arguments.append(inner[begins:at].strip())
                begins = at + 1
    if inner[begins:].strip():
        arguments.append(inner[begins:].strip())
    return name, arguments


_NAMED: Final = re.compile(r"(?:\w+|`(?:[^`\\]|\\.)*`) +(?=\w)")


def _without_name(argument: str) -> str:
    """The type of an element of a tuple, which may have a name before it."""
    named = _NAMED.match(argument)
    return argument[named.end() :] if named else argument


def _text(native: bytes, at: int) -> tuple[str, int]:
    size, at = number(native, at)
    return native[at : at + size].decode(), at + size
