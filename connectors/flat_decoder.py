"""A faster way to read most facts: straight-line code for records that are flat.

Nearly all facts consist of strings, longs, booleans and enums, plain or nullable. For such a schema
`compile_reader` makes a function that reads exactly one record and nothing else, with a third of the work of
the general reader, which was two fifths of the consent role's. It knows only the plain form that encoders
write. Whatever it does not know, or finds wrong, is an error, and the caller asks fastavro, which judges: so
this module never decides that a value is bad. A property test compares the two on good and damaged bytes.

The format: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.facts import Fact

Reader = Callable[[bytes], Fact]
"""Reads a whole value, header included; a ValueError or IndexError for all that it does not know."""

LONG_BYTES_MAX: Final = 10
"""A 64-bit number in groups of seven bits."""


class NotFlat(ValueError):  # noqa: N818 - named for what was met
    """The general reader has to look at this value."""


def compile_reader(schema: Mapping[str, Any], fact_type: type[Fact], header_bytes: int) -> Reader | None:
    """A reader of records that were written with `schema`; None when a field of it is not flat.

    `schema`: a parsed Avro record with the same fields as `fact_type`. Its text is ours (the schemas in this
    distribution), never a producer's.
    """
    names: dict[str, Any] = {"fact_type": fact_type, "NotFlat": NotFlat, "rest_of_long": _rest_of_long}
    lines = ["def read(value):", f" at = {header_bytes}"]
    for number, field in enumerate(schema["fields"]):
        found = _field(f"f{number}", field["type"], names)
        if found is None:
            return None
        lines += (f" {line}" for line in found)
    lines.append(" if at != len(value): raise NotFlat")
    arguments = ", ".join(f"{field['name']}=f{number}" for number, field in enumerate(schema["fields"]))
    lines.append(f" return fact_type({arguments})")
    exec("\n".join(lines), names)  # noqa: S102 - made of field numbers and of our own schemas' field names
    reader: Reader = names["read"]
    return reader


def _field(name: str, kind: Any, names: dict[str, Any]) -> list[str] | None:
    """The lines that read one field into the variable `name`."""
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null":  # noqa: PLR2004 - nullable: null and one more
            return None
        inner = _field(name, kind[1], names)
        if inner is None:
            return None
        return [
            "branch = value[at]; at += 1",
            f"if branch == 0: {name} = None",
            "elif branch == 2:",  # the second branch, zigzag
            *(f" {line}" for line in inner),
            "else: raise NotFlat",
        ]
    if isinstance(kind, dict) and kind["type"] == "enum":
        names[f"symbols_{name}"] = {2 * number: symbol for number, symbol in enumerate(kind["symbols"])}
        return [
            f"{name} = symbols_{name}.get(value[at]); at += 1",
            f"if {name} is None: raise NotFlat",
        ]
    match kind["type"] if isinstance(kind, dict) and "logicalType" not in kind else kind:
        case "string":
            return [
                "size = value[at]; at += 1",
                "if size > 127: size, at = rest_of_long(value, at, size)",
                "if size & 1: raise NotFlat",  # a negative length
                "end = at + (size >> 1)",
                f"{name} = value[at:end].decode(); at = end",
            ]
        case "long":
            return [
                "number = value[at]; at += 1",
                "if number > 127: number, at = rest_of_long(value, at, number)",
                f"{name} = (number >> 1) ^ -(number & 1)",
            ]
        case "boolean":
            return [
                f"{name} = value[at]; at += 1",
                f"if {name} > 1: raise NotFlat",
                f"{name} = {name} == 1",
            ]
        case _:
            return None


def _rest_of_long(value: bytes, at: int, number: int) -> tuple[int, int]:
    """Go on reading a number whose first byte said that another one follows: (number, where it ends)."""
    number &= 127
    for shift in range(7, 7 * LONG_BYTES_MAX, 7):
        byte = value[at]
        at += 1
        number |= (byte & 127) << shift
        if byte <= 127:  # noqa: PLR2004 - the highest bit says that another byte follows
            if number >> 64:
                break
            return number, at
    raise NotFlat
