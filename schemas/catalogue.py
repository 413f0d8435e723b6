"""Reads the wire contract from its folder and refuses one that breaks its own rules.

Every rule that fails is a ValueError that names the file and says what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from schemas.topic_table import FACT_KEYS, Topic, read_topics

NAMESPACE: Final = "optin"
SCHEMA_FILE: Final = re.compile(r"v([1-9][0-9]*)\.avsc")


@dataclass(frozen=True, slots=True)
class FactSchema:
    """One version of one fact.

    `topic` is the full name of the topic that carries the fact, `record` the Avro schema as it
    stands in its file, `parsed` the same as fastavro wants it, `fingerprint` the 8 bytes of
    CRC-64-AVRO in the byte order of the wire.
    """

    name: str
    version: int
    topic: str
    record: dict[str, Any]
    parsed: dict[str, Any]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All facts and topics of one wire contract."""

    facts: Mapping[tuple[str, int], FactSchema]
    by_fingerprint: Mapping[bytes, FactSchema]
    topics: tuple[Topic, ...]

    def fact_schema(self, name: str, version: int | None = None) -> FactSchema:
        """The schema of this version of a fact, or of its newest; LookupError when there is none."""
        if version is None:
            version = max((v for n, v in self.facts if n == name), default=0)
        found = self.facts.get((name, version))
        if found is None:
            raise LookupError(
                f"no schema for {name} v{version}: look for its file in schemas/facts/{name}/, or "
                "upgrade this process if the fact is newer than it"
            )
        return found


def load_catalogue(folder: Traversable) -> Catalogue:
    """Read the contract in `folder` (`facts/`, `examples/`, `topics.yaml`); ValueError if broken."""
    records = dict(_records(folder / "facts"))
    _check_examples(folder / "examples", records)
    topics = read_topics(folder / "topics.yaml")
    topic_of = _topic_of_each_fact(topics, records)
    facts: dict[tuple[str, int], FactSchema] = {}
    by_fingerprint: dict[bytes, FactSchema] = {}
    for name, topic in topic_of.items():
        for version, record in enumerate(records[name], start=1):
            schema = _fact_schema(name, version, topic, record)
            twin = by_fingerprint.setdefault(schema.fingerprint, schema)
            if twin is not schema:
                raise ValueError(
                    f"schemas/facts/{name}/v{version}.avsc encodes exactly as {twin.name} "
                    f"v{twin.version} does (docs and defaults don't count): remove it, or change "
                    "a field, a type or a symbol"
                )
            facts[name, version] = schema
    return Catalogue(MappingProxyType(facts), MappingProxyType(by_fingerprint), topics)


def _records(folder: Traversable) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(fact, its records from version 1 on) of each folder of `facts/`."""
    for fact in sorted(folder.iterdir(), key=lambda entry: entry.name):
        versions: dict[int, dict[str, Any]] = {}
        for file in fact.iterdir():
            place = f"schemas/facts/{fact.name}/{file.name}"
            match = SCHEMA_FILE.fullmatch(file.name)
            if match is None:
                raise ValueError(f"{place} is no schema: name it v<N>.avsc or move it away")
            record = json.loads(file.read_text(encoding="utf-8"))
            if (record.get("namespace"), record.get("name")) != (NAMESPACE, fact.name):
                raise ValueError(f"{place} must define the record {NAMESPACE}.{fact.name}")
            versions[int(match[1])] = record
        if sorted(versions) != list(range(1, len(versions) + 1)) or not versions:
            raise ValueError(
                f"schemas/facts/{fact.name} has versions {sorted(versions)}: number them from 1 "
                "without gaps, and never remove one, since the ledger keeps its records for ever"
            )
        yield fact.name, [versions[version] for version in sorted(versions)]


def _check_examples(folder: Traversable, records: Mapping[str, list[dict[str, Any]]]) -> None:
    """Each version has its example and each example its version."""
    wanted = {f"{name}/v{n}.json" for name in records for n in range(1, len(records[name]) + 1)}
    found = {f"{fact.name}/{file.name}" for fact in folder.iterdir() for file in fact.iterdir()}
    for orphan in sorted(found - wanted):
        raise ValueError(
            f"schemas/examples/{orphan} has no schema: remove it or add its version to schemas/facts"
        )
    for missing in sorted(wanted - found):
        raise ValueError(f"schemas/examples/{missing} is missing: add a golden example of that version")


def _topic_of_each_fact(topics: Iterable[Topic], records: Mapping[str, Any]) -> dict[str, str]:
    """Fact -> topic, every fact in exactly one; the key of a topic fits the facts that it carries."""
    placed: dict[str, str] = {}
    for topic in topics:
        for fact in topic.facts:
            if fact not in records:
                raise ValueError(
                    f"topics.yaml puts {fact} on {topic.name}, but schemas/facts/{fact} does not "
                    "exist: add its schema or take it off"
                )
            if fact in placed:
                raise ValueError(
                    f"topics.yaml puts {fact} on {placed[fact]} and on {topic.name}: a fact lives "
                    "on exactly one topic, so take it off the other"
                )
            _check_key(topic, fact, records[fact][-1])
            placed[fact] = topic.name
    for fact in sorted(records.keys() - placed.keys()):
        raise ValueError(f"no topic carries {fact}: put it on exactly one in schemas/topics.yaml")
    return placed


def _check_key(topic: Topic, fact: str, record: Mapping[str, Any]) -> None:
    """A fact has the field that its topic is keyed by; one about a subject is keyed by nothing else."""
    always = {field["name"] for field in record["fields"] if field["type"] == "string"}
    if "subject" in always and topic.key != "subject":
        raise ValueError(
            f"topics.yaml keys {topic.name} by {topic.key}, but {fact} has a subject: facts about a "
            "subject live on topics keyed by subject"
        )
    if topic.key in FACT_KEYS and topic.key not in always:
        raise ValueError(
            f"topics.yaml keys {topic.name} by {topic.key}, but {fact} has no {topic.key}: each fact on "
            f"it needs the field `{topic.key}`, a string"
        )


def _fact_schema(name: str, version: int, topic: str, record: dict[str, Any]) -> FactSchema:
    parsed = parse_schema(record)
    assert isinstance(parsed, dict)
    # fastavro gives the digest's bytes in the order of the wire (little-endian) already.
    digest = fingerprint(to_parsing_canonical_form(record), "CRC-64-AVRO")
    return FactSchema(name, version, topic, record, parsed, bytes.fromhex(digest))
