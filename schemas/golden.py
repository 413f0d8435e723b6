"""Writes the bytes of golden examples that have none yet; bytes that are there are never rewritten.

`python -m schemas.golden`, after an example's `fact` was written by hand: the fact as JSON, bytes in base64.
"""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

MARKER: Final = b"\xc3\x01"
"""What single-object encoding begins with; the schema's fingerprint and the record follow."""


def fill_in(folder: Path) -> list[str]:
    """Add `hex` to each example of `folder` that lacks it; their paths. ValueError if one does not fit."""
    filled = []
    for file in sorted((folder / "examples").glob("*/*.json")):
        example = json.loads(file.read_text(encoding="utf-8"))
        if "hex" not in example:
            path = file.relative_to(folder / "examples").with_suffix(".avsc")
            record = json.loads((folder / "facts" / path).read_text(encoding="utf-8"))
            example["hex"] = _bytes_of(example["fact"], record).hex()
            file.write_text(json.dumps(example, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            filled.append(file.relative_to(folder).as_posix())
    return filled


def _bytes_of(fact: dict[str, Any], record: dict[str, Any]) -> bytes:
    names = [field["name"] for field in record["fields"]]
    if list(fact) != names:
        raise ValueError(f"the example of {record['name']} must spell out {names}, in this order")
    values = {
        field["name"]: base64.b64decode(fact[field["name"]])
        if "bytes" in field["type"] and fact[field["name"]] is not None
        else fact[field["name"]]
        for field in record["fields"]
    }
    value = BytesIO()
    value.write(MARKER)
    value.write(bytes.fromhex(fingerprint(to_parsing_canonical_form(record), "CRC-64-AVRO")))
    schemaless_writer(value, parse_schema(record), values, strict=True)
    return value.getvalue()


if __name__ == "__main__":
    for path in fill_in(Path(__file__).parent):
        sys.stdout.write(f"wrote the bytes of {path}\n")
