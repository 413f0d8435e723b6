"""The wire contract agrees with the classes of the core, its examples and its reference pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastavro.schema import to_parsing_canonical_form

import schemas
from connectors.codec import MARKER, decode, encode
from ledger import facts
from schemas import FACTS, FactSchema, by_fingerprint, fact_schema, reference, topics

CONTRACT = Path(schemas.__file__).parent
PAGES = Path(__file__).parents[2] / "docs" / "reference"
CLASSES = {fact_type.__name__: fact_type for fact_type in facts.FACTS}
VERSIONS = [pytest.param(schema, id=f"{schema.name}-v{schema.version}") for schema in FACTS.values()]
NEWEST = [pytest.param(fact_schema(name), id=name) for name in CLASSES]


class TestFactsAndClasses:
    """Two descriptions of each fact, one meaning."""

    def test_every_class_has_a_schema_and_every_schema_a_class(self) -> None:
        """The wire contract and the core know the same facts."""
        assert {name for name, _ in FACTS} == CLASSES.keys()

    @pytest.mark.parametrize("schema", NEWEST)
    def test_fields_agree_in_name_order_type_and_default(self, schema: FactSchema) -> None:
        """A class and its newest schema have the same fields, null where the other has None."""
        assert _fields_of_record(schema.record) == _fields_of_class(CLASSES[schema.name])

    def test_nested_records_agree_too(self) -> None:
        """What the gate's checks found has the same fields on both sides."""
        fields = {field["name"]: field for field in fact_schema("PushDecided").record["fields"]}

        assert _fields_of_record(fields["checks"]["type"]["items"]) == _fields_of_class(facts.CheckResult)

    def test_the_closed_vocabularies_are_those_of_the_core(self) -> None:
        """A symbol that the core knows can be written, and none is written that it doesn't know."""
        enums = {enum["name"]: enum["symbols"] for enum in _enums()}

        assert set(enums["Permission"]) == {*facts.PERMISSIONS, "unknown"}
        assert set(enums["GrantLevel"]) < set(enums["Permission"])
        assert enums["CapWindow"] == [*facts.WINDOWS, "unknown"]

    def test_every_vocabulary_survives_a_newer_symbol(self) -> None:
        """Each enum has the symbol `unknown` and falls back to it."""
        lasting = [e for e in _enums() if e.get("default") == "unknown" and "unknown" in e["symbols"]]

        assert lasting == list(_enums())
        assert lasting

    def test_an_enum_means_the_same_wherever_it_is_used(self) -> None:
        """Facts that share a vocabulary's name share its definition: code generators need that."""
        definitions: dict[str, Any] = {}
        for enum in _enums():
            assert definitions.setdefault(enum["name"], enum) == enum

    @pytest.mark.parametrize("schema", VERSIONS)
    def test_everything_has_a_doc(self, schema: FactSchema) -> None:
        """Each record, field and vocabulary says what it means."""
        assert [node["name"] for node in _named(schema.record) if not node.get("doc")] == []


class TestExamplesAndFingerprints:
    """What is on the wire is fixed, byte for byte."""

    @pytest.mark.parametrize("schema", VERSIONS)
    def test_a_golden_example_reads_as_the_fact_that_it_says(self, schema: FactSchema) -> None:
        """Bytes of every version that was ever released still decode to the same fact."""
        example = _example(schema)

        assert decode(bytes.fromhex(example["hex"])) == _fact_in(example, schema)

    @pytest.mark.parametrize("schema", NEWEST)
    def test_a_fact_is_written_to_its_golden_bytes(self, schema: FactSchema) -> None:
        """The newest version of each fact encodes to exactly the bytes of its example."""
        example = _example(schema)

        assert encode(_fact_in(example, schema)).hex() == example["hex"]

    @pytest.mark.parametrize("schema", NEWEST)
    def test_an_example_spells_out_every_field(self, schema: FactSchema) -> None:
        """A reader in another language sees each field, and bytes as base64."""
        names = [field["name"] for field in schema.record["fields"]]

        assert list(_example(schema)["fact"]) == names

    @pytest.mark.parametrize("schema", VERSIONS)
    def test_a_fingerprint_is_the_specifications_crc(self, schema: FactSchema) -> None:
        """The 8 bytes on the wire are CRC-64-AVRO of the canonical form, little-endian."""
        canonical = to_parsing_canonical_form(schema.record).encode()

        assert schema.fingerprint == _crc_64_avro(canonical).to_bytes(8, "little")
        assert by_fingerprint[schema.fingerprint] is schema
        assert _example(schema)["hex"].startswith((MARKER + schema.fingerprint).hex())

    def test_our_crc_gives_a_published_value(self) -> None:
        """The CRC that the test above relies on gives Avro's own value for the schema "int"."""
        assert _crc_64_avro(b'"int"') == 0x7275D51A3F395C8F


class TestLookups:
    """How the other packages ask for schemas and topics."""

    def test_a_schema_is_found_by_name_and_version(self) -> None:
        """Without a version the newest is meant."""
        assert fact_schema("AppOpened") is FACTS["AppOpened", fact_schema("AppOpened").version]
        assert fact_schema("AppOpened", 1).version == 1

    @pytest.mark.parametrize(("name", "version"), [("AppOpened", 99), ("NeverHappened", None)])
    def test_an_unknown_schema_is_refused_with_a_remedy(self, name: str, version: int | None) -> None:
        """Asking for a fact or version that is not there says where it would be."""
        with pytest.raises(LookupError, match=f"schemas/facts/{name}/"):
            fact_schema(name, version)

    def test_a_topic_has_its_full_name_and_text_settings(self) -> None:
        """What a broker is told is text, whatever the file says, and the name has its prefix."""
        ledger = topics()[0]

        assert ledger.name == "optin.permissions"
        assert ledger.config["retention.ms"] == "-1"
        assert fact_schema("PermissionRevoked").topic == ledger.name


@pytest.mark.parametrize("page", reference.pages())
def test_a_reference_page_equals_the_contract(page: str) -> None:
    """The pages in docs/reference are what `python -m schemas.reference` writes today."""
    assert (PAGES / page).read_text(encoding="utf-8") == reference.pages()[page]


def _example(schema: FactSchema) -> dict[str, Any]:
    file = CONTRACT / "examples" / schema.name / f"v{schema.version}.json"
    example: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert example.keys() == {"fact", "hex"}
    return example


def _fact_in(example: dict[str, Any], schema: FactSchema) -> facts.Fact:
    """The example's JSON, where bytes are base64, as a value of the core."""
    return msgspec.convert(example["fact"], CLASSES[schema.name])


def _named(node: Any) -> Iterator[dict[str, Any]]:
    """Everything in a schema that has a name: records, their fields, enums."""
    if isinstance(node, dict):
        if "name" in node:
            yield node
        for part in ("type", "items", "values"):
            yield from _named(node.get(part))
        for field in node.get("fields", ()):
            yield from _named(field)


def _enums() -> Iterator[dict[str, Any]]:
    for name in CLASSES:
        for node in _named(fact_schema(name).record):
            if node["type"] == "enum":
                yield node


def _fields_of_record(record: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(name, type as Python spells it, default) of each field, in order."""
    return [
        (field["name"], _python_type(field["type"]), _value(field.get("default", "required")))
        for field in record["fields"]
    ]


def _python_type(avro: Any) -> str:
    if isinstance(avro, list):
        null, other = avro
        assert null == "null"
        return f"{_python_type(other)} | None"
    if isinstance(avro, str):
        return {"string": "str", "long": "int", "boolean": "bool", "bytes": "bytes"}[avro]
    if avro["type"] == "array":
        return f"tuple[{_python_type(avro['items'])}, ...]"
    if avro["type"] == "map":
        return f"dict[str, {_python_type(avro['values'])}]"
    return "str" if avro["type"] == "enum" else str(avro["name"])


def _value(default: Any) -> Any:
    return tuple(default) if isinstance(default, list) else default


def _fields_of_class(struct: type[msgspec.Struct]) -> list[tuple[str, str, Any]]:
    return [
        (
            field.name,
            field.type.__name__ if type(field.type) is type else _spelt(field.type),
            _default_of(field),
        )
        for field in msgspec.structs.fields(struct)
    ]


def _default_of(field: Any) -> Any:
    if field.required:
        return "required"
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _spelt(annotation: Any) -> str:
    return str(annotation).replace(f"{facts.__name__}.", "")


def _crc_64_avro(data: bytes) -> int:
    """CRC-64-AVRO as the Avro specification's pseudo code has it, bit by bit."""
    empty = 0xC15D213AA4D7A795
    crc = empty
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (empty if crc & 1 else 0)
    return crc
