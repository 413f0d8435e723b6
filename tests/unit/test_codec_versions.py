"""The codec reads every version of a fact as the newest, and insists that classes fit schemas."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from fastavro import schemaless_writer
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from connectors.codec import MARKER, Codec
from connectors.errors import InvariantBroken
from ledger import facts
from schemas import FACTS, FactSchema, fact_schema


class PermissionRevoked(facts.SubjectFact, frozen=True, kw_only=True):
    """As a later release might have it: one field more, one less."""

    cause: str
    device_model: str | None = None
    reports: tuple[str, ...] = ()


FIRST = fact_schema("PermissionRevoked", 1)


def _second() -> FactSchema:
    """Version 2 of PermissionRevoked: two fields added, one removed, one symbol retired."""
    record: dict[str, Any] = copy.deepcopy(dict(FIRST.record))
    by_name = {field["name"]: field for field in record["fields"]}
    by_name["cause"]["type"]["symbols"].remove("uninstall")
    by_name["device_model"] = {"name": "device_model", "type": ["null", "string"], "default": None}
    strings = {"type": "array", "items": "string"}
    by_name["reports"] = {"name": "reports", "type": strings, "default": []}
    record["fields"] = [by_name[name] for name in PermissionRevoked.__struct_fields__]
    parsed = parse_schema(record)
    assert isinstance(parsed, dict)
    digest = bytes.fromhex(fingerprint(to_parsing_canonical_form(record), "CRC-64-AVRO"))
    return FactSchema(FIRST.name, 2, FIRST.topic, record, parsed, digest)


SECOND = _second()
CODEC = Codec({(FIRST.name, 1): FIRST, (FIRST.name, 2): SECOND}, [PermissionRevoked])


def _written_with(schema: FactSchema, **fields: Any) -> bytes:
    record = {
        "event_id": "e-1",
        "app": "shop",
        "occurred_at": 1,
        "source": "device",
        "subject": "s-1",
        **fields,
    }
    value = io.BytesIO()
    schemaless_writer(value, schema.parsed, record)
    return MARKER + schema.fingerprint + value.getvalue()


def _revoked(**fields: Any) -> PermissionRevoked:
    return PermissionRevoked(
        event_id="e-1", app="shop", occurred_at=1, source="device", subject="s-1", **fields
    )


class TestVersions:
    """Records outlive the release that wrote them."""

    def test_an_older_record_gets_the_defaults_of_the_newer_class(self) -> None:
        """What a version did not have yet is its default; what is gone is left out."""
        value = _written_with(FIRST, installation="i-1", cause="support")

        assert CODEC.decode(value) == _revoked(cause="support", device_model=None, reports=())

    def test_a_retired_symbol_reads_as_unknown(self) -> None:
        """A vocabulary may lose a symbol without making old records unreadable."""
        value = _written_with(FIRST, installation="i-1", cause="uninstall")

        assert CODEC.decode(value) == _revoked(cause="unknown")

    def test_the_newest_version_is_read_and_written(self) -> None:
        """Facts are written with the newest version, whatever else can be read."""
        fact = _revoked(cause="support", device_model="X1", reports=("a", "b"))

        assert CODEC.encode(fact).startswith(MARKER + SECOND.fingerprint)
        assert CODEC.decode(CODEC.encode(fact)) == fact


class TestFit:
    """A codec is made only of schemas and classes that belong together."""

    def test_a_class_with_other_fields_is_refused(self) -> None:
        """Drift between a class and its newest schema ends the start, not a record."""
        with pytest.raises(InvariantBroken, match="PermissionRevoked has the fields"):
            Codec({(FIRST.name, 1): FIRST}, [PermissionRevoked])

    def test_a_schema_without_a_class_is_refused(self) -> None:
        """A fact that the core can't hold is not half supported."""
        with pytest.raises(InvariantBroken, match=r"AppOpened is missing from ledger\.facts\.FACTS"):
            Codec(FACTS, [fact for fact in facts.FACTS if fact is not facts.AppOpened])

    def test_a_class_without_a_schema_is_refused(self) -> None:
        """A fact that no other process could read is not half supported."""
        with pytest.raises(InvariantBroken, match="PermissionRevoked is missing from schemas/facts"):
            Codec({}, [PermissionRevoked])
