"""Writes the reference pages of facts and topics from the contract itself.

`python -m schemas.reference [FOLDER]` writes `facts.md` and `topics.md` into FOLDER, by default
`docs/reference`. A test fails when the pages and the contract differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from schemas import FactSchema, Topic, fact_schema, topics

GENERATED: Final = "<!-- Written by `python -m schemas.reference`; change the contract, not this page. -->"
DEFAULT_FOLDER: Final = Path("docs/reference")

UNITS_MS: Final = (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000))
UNITS_BYTES: Final = (("MiB", 1 << 20), ("KiB", 1 << 10))


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {
        "facts.md": "\n".join(_facts_page()) + "\n",
        "topics.md": "\n".join(_topics_page()) + "\n",
    }


def _facts_page() -> Iterator[str]:
    yield from (
        GENERATED,
        "",
        "# Facts",
        "",
        "Every fact that the ledger knows, by the [topic](topics.md) that carries it. The schemas are",
        "in `schemas/facts`, one Avro file per version that never changes; golden examples with their",
        "exact bytes are in `schemas/examples`.",
        "",
        "A record's value is Avro single-object encoding: the bytes `C3 01`, the fingerprint of the",
        "schema that wrote it (8 bytes, shown below as they stand on the wire), then the Avro record.",
        "Write with the newest version. A reader keeps all versions and looks the fingerprint up.",
        "Read a symbol that you don't know as `unknown`, and `unknown` as the most private answer.",
        "",
        "## The envelope",
        "",
        "Every fact begins with these fields; the tables below list what follows them.",
        "",
    )
    envelope = _envelope()
    yield from _field_table(envelope)
    for topic in topics():
        if topic.facts:
            yield from (f"## {topic.name}", "", topic.description, "")
        for name in topic.facts:
            yield from _fact(fact_schema(name), own_from=len(envelope))
    yield from ("## Vocabularies", "", "| name | symbols | meaning |", "|---|---|---|")
    for enum in _enums():
        yield f"| {enum['name']} | {_symbols(enum)} | {_cell(enum['doc'])} |"


def _envelope() -> list[Mapping[str, Any]]:
    """The leading fields that all facts have in common."""
    columns = zip(*(fact_schema(name).record["fields"] for name in _fact_names()), strict=False)
    return [column[0] for column in takewhile(_all_equal, columns)]


def _all_equal(values: tuple[Any, ...]) -> bool:
    return all(value == values[0] for value in values)


def _fact_names() -> list[str]:
    return [name for topic in topics() for name in topic.facts]


def _enums() -> list[Mapping[str, Any]]:
    """Each enum once, in the order in which the page uses them."""
    found = {
        field["type"]["name"]: field["type"]
        for name in _fact_names()
        for field in fact_schema(name).record["fields"]
        if _kind(field["type"]) == "enum"
    }
    return list(found.values())


def _fact(schema: FactSchema, own_from: int) -> Iterator[str]:
    yield from (
        f"### {schema.name}",
        "",
        schema.record["doc"],
        "",
        f"Version {schema.version}, fingerprint `{schema.fingerprint.hex()}`.",
        "",
    )
    for version in range(1, schema.version):
        older = fact_schema(schema.name, version)
        yield from (f"Older: version {version}, fingerprint `{older.fingerprint.hex()}`.", "")
    yield from _field_table(schema.record["fields"][own_from:])
    for field, nested in _nested_records(schema):
        yield from (f"Each of `{field}` is a {nested['name']}: {nested['doc']}", "")
        yield from _field_table(nested["fields"])


def _nested_records(schema: FactSchema) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field in schema.record["fields"]:
        if _kind(field["type"]) == "array" and _kind(field["type"]["items"]) == "record":
            yield field["name"], field["type"]["items"]


def _field_table(own: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in own:
        default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
        yield f"| `{field['name']}` | {_type(field['type'])} | {default} | {_cell(field['doc'])} |"
    yield ""


def _kind(schema: Any) -> str | None:
    return schema["type"] if isinstance(schema, dict) else None


def _type(schema: Any) -> str:
    """The type for people: `string or null`, `array of string`, the symbols of an enum."""
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        return " or ".join(_type(branch) for branch in [*schema[1:], schema[0]])
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}"
    if schema["type"] == "map":
        return f"map of string to {_type(schema['values'])}"
    if schema["type"] == "enum":
        return f"{schema['name']}: {_symbols(schema)}"
    return str(schema["name"])


def _symbols(enum: Mapping[str, Any]) -> str:
    return ", ".join(f"`{symbol}`" for symbol in enum["symbols"])


def _cell(doc: str) -> str:
    return doc.replace("|", "\\|")


def _topics_page() -> Iterator[str]:
    yield from (
        GENERATED,
        "",
        "# Topics",
        "",
        "Every topic of the system, from `schemas/topics.yaml`. `optin topics apply` creates them and",
        "nothing else does. A partition count of `default` is the deployment's, fixed at creation.",
        "",
        "| topic | key | partitions | kept | written by | read by |",
        "|---|---|---|---|---|---|",
    )
    for topic in topics():
        yield (
            f"| [`{topic.name}`](#{topic.name.replace('.', '')}) | {_words(topic.key)} "
            f"| {topic.partitions} | {_kept(topic)} | {_roles(topic.producers)} "
            f"| {_roles(topic.consumers)} |"
        )
    yield ""
    for topic in topics():
        yield from (f"## {topic.name}", "", topic.description, "")
        if topic.facts:
            links = ", ".join(f"[{name}](facts.md#{name.lower()})" for name in topic.facts)
            yield from (f"Facts: {links}.", "")
        yield from ("| setting | value | |", "|---|---|---|")
        for key, value in topic.config.items():
            yield f"| `{key}` | `{value}` | {_readable(key, value)} |"
        yield ""


def _words(key: str) -> str:
    return key.replace("_", " ")


def _roles(roles: tuple[str, ...]) -> str:
    return ", ".join(_words(role) for role in roles)


def _kept(topic: Topic) -> str:
    if topic.config["cleanup.policy"] == "compact":
        return "latest per key"
    return _readable("retention.ms", topic.config["retention.ms"])


def _readable(key: str, value: str) -> str:
    """30 days, 1 MiB, for ever; empty for a setting that reads well as it is."""
    if key.startswith("retention.") and value == "-1":
        return "for ever" if key == "retention.ms" else "without limit"
    units = UNITS_MS if key.endswith(".ms") else UNITS_BYTES if key.endswith("bytes") else ()
    for unit, size in units:
        if int(value) % size == 0:
            count = int(value) // size
            return f"{count} {unit[:-1] if count == 1 and unit.endswith('s') else unit}"
    return ""


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {folder / name}\n")
