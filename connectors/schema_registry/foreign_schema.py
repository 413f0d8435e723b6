"""Checks a schema that somebody else registered, before any value is read with it.

It must describe one of our facts, and reading with it must stay within the value's own length: Avro allows
schemas (recursive ones, lists of nothing, names that multiply) with which a few bytes keep a reader busy for
ever or overrun its stack.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from connectors.codec import Written
from connectors.errors import Poison
from schemas import FactSchema

SCHEMA_BYTES_MAX: Final = 65_536
DEPTH_MAX: Final = 32
"""Of the JSON, and of the types in each other once names are followed."""
TYPES_MAX: Final = 2_000
"""Types in a schema once names are followed; our largest has some fifty."""
FIXED_BYTES_MAX: Final = 65_536
NAMESPACE: Final = "optin."

LEAST_BYTES: Final = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
"""The least that a value of each plain type takes on the wire."""


def written_with(text: str, ours: Mapping[bytes, FactSchema]) -> Written:
    """The schema in `text`, fit to read with; one of `ours` (by fingerprint) where it is the same.

    Poison `unknown_schema` when it describes none of our facts or could not be read with safely; the detail
    quotes nothing of it.
    """
    if len(text.encode("utf-8", "replace")) > SCHEMA_BYTES_MAX:
        raise _refused(f"takes more than {SCHEMA_BYTES_MAX} bytes")
    try:
        raw = json.loads(text)
        _refuse_deep(raw)
        # All that says how values were written is in the canonical form; docs, defaults and logical types,
        # which would turn numbers into dates, are not.
        canonical = to_parsing_canonical_form(parse_schema(raw))
        parsed: Any = parse_schema(json.loads(canonical))
    except Poison:
        raise
    except Exception:  # noqa: BLE001 - whatever json and fastavro raise for a bad schema
        raise _refused("is not a valid Avro schema") from None
    known = ours.get(bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO")))
    if known is not None:
        return Written(known.name, known.parsed)
    facts = {f"{NAMESPACE}{schema.name}": schema.name for schema in ours.values()}
    name = facts.get(parsed.get("name", "")) if isinstance(parsed, dict) else None
    if name is None or parsed["type"] != "record":
        raise _refused("describes none of our facts")
    _Types().least_bytes(parsed, 0)
    return Written(name, parsed)


def _refuse_deep(raw: Any) -> None:
    """Refuse JSON that is nested deep: fastavro follows it in C, where nothing guards the stack."""
    level = [raw]
    for _ in range(DEPTH_MAX * 2):
        level = [
            inner
            for node in level
            if isinstance(node, dict | list)
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise _refused("is nested too deep")


class _Types:
    """Walks all types of a schema, following names, within bounds."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}
        self._seen = 0

    def least_bytes(self, node: Any, depth: int) -> int:
        """The least that a value takes on the wire. Poison when a bound is passed."""
        self._seen += 1
        if depth > DEPTH_MAX or self._seen > TYPES_MAX:
            raise _refused("is recursive, or too large once its names are followed")
        if isinstance(node, list):
            return 1 + min((self.least_bytes(branch, depth + 1) for branch in node), default=0)
        if isinstance(node, str):
            plain = LEAST_BYTES.get(node)
            return self.least_bytes(self._named[node], depth + 1) if plain is None else plain
        return self._least_of_complex(node, depth)

    def _least_of_complex(self, node: dict[str, Any], depth: int) -> int:
        kind = node["type"]
        if "name" in node:
            self._named[node["name"]] = node
        if kind == "record":
            return sum(self.least_bytes(field["type"], depth + 1) for field in node["fields"])
        if kind == "enum":
            return 1
        if kind == "fixed":
            if not 0 <= node["size"] <= FIXED_BYTES_MAX:
                raise _refused("holds a fixed type of an unfit size")
            return int(node["size"])
        if kind == "map":
            self.least_bytes(node["values"], depth + 1)
            return 1
        if kind == "array":
            if self.least_bytes(node["items"], depth + 1) == 0:
                raise _refused("holds lists of items that take no bytes")
            return 1
        return self.least_bytes(kind, depth + 1)


def _refused(why: str) -> Poison:
    return Poison("unknown_schema", f"the schema in the registry {why}")
