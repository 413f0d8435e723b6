"""Values in a registry's framing: read by the schema that their id names there, or refused, or waited for."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from connectors import codec
from connectors.codec import HEADER_BYTES, Codec
from connectors.errors import InvariantBroken, Misconfigured, Poison, Transient
from connectors.schema_registry import writer_schemas as ws
from connectors.schema_registry.client import ANSWER_BYTES_MAX, RegistryClient
from connectors.schema_registry.foreign_schema import SCHEMA_BYTES_MAX, written_with
from connectors.schema_registry.writer_schemas import WriterSchemas
from ledger import facts
from processors.commands.doctor import CHECKS
from processors.registry_framing import writer_schemas
from processors.settings import Settings
from schemas import FACTS, by_fingerprint, fact_schema
from tests.support.fake_registry import MIME, FakeRegistry
from tests.support.given import NOON, fact

PLAIN: Final = fact_schema("PermissionRevoked", 1).record
REVOKED: Final = fact(facts.PermissionRevoked, NOON, event_id="e-1", cause="support")
BODY: Final = codec.encode(REVOKED)[HEADER_BYTES:-1]
"""As a producer of version 1 writes it, which knows no `counter_since`."""


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry without schemas."""
    with FakeRegistry() as fake:
        yield fake


class Reader:
    """A codec that knows a registry."""

    def __init__(self, address: str) -> None:
        self.schemas = WriterSchemas(RegistryClient(address))
        self.codec = Codec(FACTS, facts.FACTS)
        self.codec.accept_registry(self.schemas.resolve)

    def prepare(self, *values: bytes | None) -> bool:
        """Whether all that these values take is there."""
        return asyncio.run(self.schemas.prepare([SimpleNamespace(value=value) for value in values]))

    def decode(self, value: bytes) -> facts.Fact:
        """As a worker does: prepare, then read."""
        assert self.prepare(value)
        return self.codec.decode(value)

    def refusal(self, value: bytes) -> Poison:
        """Why it can't be read."""
        with pytest.raises(Poison) as refused:
            self.decode(value)
        return refused.value


@pytest.fixture
def reader(registry: FakeRegistry) -> Reader:
    """A reader of that registry."""
    return Reader(registry.address)


def framed(schema_id: int, body: bytes = BODY) -> bytes:
    """A value as Confluent's serializers write it."""
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def written(record: dict[str, Any], **changes: Any) -> bytes:
    """REVOKED's bytes as a producer with another schema writes them."""
    fields = {name: getattr(REVOKED, name) for name in REVOKED.__struct_fields__}
    value = io.BytesIO()
    schemaless_writer(value, parse_schema(copy.deepcopy(record)), {**fields, **changes})
    return value.getvalue()


def changed(**by_field: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of PermissionRevoked with other fields; None takes one away."""
    fields = {field["name"]: field for field in PLAIN["fields"]}
    for name, change in by_field.items():
        fields[name] = {**fields.get(name, {"name": name}), **(change or {"gone": True})}
    return {**PLAIN, "fields": [field for field in fields.values() if "gone" not in field]}


class TestReading:
    """The writer's schema is the registry's, the reader's is our newest."""

    def test_a_value_is_read_by_the_schema_that_its_id_names(
        self, registry: FakeRegistry, reader: Reader
    ) -> None:
        """The same schema as ours gives the same fact as single-object encoding does."""
        registry.register(schema='"string"')
        schema_id = registry.register(schema=json.dumps(PLAIN))

        assert reader.decode(framed(schema_id)) == REVOKED
        assert reader.decode(codec.encode(REVOKED)) == REVOKED

    def test_another_version_of_the_producer_is_resolved_to_our_newest(
        self, registry: FakeRegistry, reader: Reader
    ) -> None:
        """A field that we do not know is passed over, one that we know gets our default, an int is a long."""
        record = changed(
            sequence=None,
            occurred_at={"type": "int"},
            model={"type": {"type": "array", "items": "string"}},
        )
        schema_id = registry.register(schema=json.dumps(record))

        read = reader.decode(framed(schema_id, written(record, occurred_at=7, model=["a", "b"])))

        assert read == fact(facts.PermissionRevoked, 7, event_id="e-1", cause="support", sequence=None)

    def test_a_logical_type_changes_nothing(self, registry: FakeRegistry, reader: Reader) -> None:
        """A producer that says "timestamp-millis" writes the same long, and the core takes a long."""
        record = changed(
            occurred_at={"type": {"type": "long", "logicalType": "timestamp-millis"}},
            model={"type": "string"},
        )
        schema_id = registry.register(schema=json.dumps(record))

        read = reader.decode(framed(schema_id, written(changed(model={"type": "string"}), model="x")))

        assert read == REVOKED

    def test_a_schema_that_our_newest_cannot_read_is_refused_with_its_values(
        self, registry: FakeRegistry, reader: Reader
    ) -> None:
        """A required field is missing: a dead letter, which can be replayed once that is mended."""
        record = changed(installation=None)
        schema_id = registry.register(schema=json.dumps(record))

        assert reader.refusal(framed(schema_id, written(record))).reason == "undecodable"

    def test_an_id_is_asked_for_once(self, registry: FakeRegistry, reader: Reader) -> None:
        """What an id means never changes."""
        value = framed(registry.register(schema=json.dumps(PLAIN)))

        assert reader.prepare(value, value, None, b"")
        registry.down = True
        assert reader.decode(value) == REVOKED
        assert registry.asked == [1]

    @pytest.mark.parametrize("cut", [1, 4, 5, 20])
    def test_a_shortened_value_is_truncated(self, registry: FakeRegistry, reader: Reader, cut: int) -> None:
        """Wherever it is cut."""
        value = framed(registry.register(schema=json.dumps(PLAIN)))

        assert reader.refusal(value[:cut]).reason == "truncated"
        assert reader.refusal(value + b"\x00").reason == "trailing_bytes"

    def test_reading_before_looking_up_is_a_bug_not_a_bad_record(self, reader: Reader) -> None:
        """It never becomes a dead letter: the record may be a revocation."""
        with pytest.raises(InvariantBroken, match="schema 7 was not looked up"):
            reader.codec.decode(framed(7))


class TestRefusals:
    """What the registry says for good makes a dead letter."""

    def test_without_a_registry_the_refusal_names_the_setting(self) -> None:
        """Somebody who reads the dead letter learns what to do."""
        with pytest.raises(Poison, match="OPTIN_SCHEMA_REGISTRY_URL") as refused:
            codec.decode(framed(7))

        assert refused.value.reason == "not_single_object"

    def test_an_unregistered_id_is_asked_for_again_later(
        self, registry: FakeRegistry, reader: Reader
    ) -> None:
        """A refusal is believed for a while, not for ever: a replica may lag behind."""
        assert reader.refusal(framed(1)).detail == "schema 1 of the registry is not registered"
        registry.register(schema=json.dumps(PLAIN))
        assert reader.refusal(framed(1)).reason == "unknown_schema"
        assert registry.asked == [1]

        reader.schemas._refused = {header: (why, 0.0) for header, (why, _) in reader.schemas._refused.items()}

        assert reader.decode(framed(1)) == REVOKED

    def test_an_id_that_no_registry_gives_out_is_not_asked_for(
        self, registry: FakeRegistry, reader: Reader
    ) -> None:
        """Ids are positive 32-bit numbers; a registry answers nonsense to others."""
        assert reader.refusal(framed(2**32 - 1)).reason == "unknown_schema"
        assert registry.asked == []

    def test_refusals_are_forgotten_before_they_fill_the_memory(
        self, reader: Reader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Anybody may write any id."""
        monkeypatch.setattr(ws, "REFUSED_MAX", 3)
        reader.prepare(*(framed(2**32 - n) for n in range(1, 10)))

        assert len(reader.schemas._refused) == 3

    def test_the_number_of_schemas_is_bounded(
        self, registry: FakeRegistry, reader: Reader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One more than may be held is refused; those that are held go on being read."""
        monkeypatch.setattr(ws, "KNOWN_MAX", 1)
        first = framed(registry.register(schema=json.dumps(PLAIN)))
        second = framed(registry.register(schema=json.dumps({**PLAIN, "doc": "again"})))

        assert reader.decode(first) == REVOKED
        assert "in use already" in reader.refusal(second).detail
        assert reader.decode(first) == REVOKED


def nested(depth: int) -> Any:
    """Lists of lists."""
    return "string" if depth == 0 else {"type": "array", "items": nested(depth - 1)}


def record(name: str, *types: Any) -> dict[str, Any]:
    """A record of fields of these types."""
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": f"f{number}", "type": one} for number, one in enumerate(types)],
    }


MULTIPLYING: Final = [
    record("A", "null", "null"),
    *(record(chr(66 + n), *[chr(65 + n)] * 10) for n in range(5)),
]
UNFIT: Final[dict[str, tuple[Any, str]]] = {
    "no JSON": (None, "not a valid Avro schema"),
    "no schema": ({"type": "recrod"}, "not a valid Avro schema"),
    "a plain type": ("string", "none of our facts"),
    "a list of schemas": ([PLAIN], "none of our facts"),
    "another record": ({**PLAIN, "name": "PermissionTaken"}, "none of our facts"),
    "another namespace": ({**PLAIN, "namespace": "other"}, "none of our facts"),
    "an enum of a fact's name": (
        {"type": "enum", "name": "optin.PermissionRevoked", "symbols": ["a"]},
        "none of our facts",
    ),
    "a recursive record": (changed(extra={"type": ["null", "optin.PermissionRevoked"]}), "is recursive"),
    "names that multiply": (changed(extra={"type": MULTIPLYING}), "too large once its names are followed"),
    "a list of nulls": (changed(extra={"type": {"type": "array", "items": "null"}}), "take no bytes"),
    "a list of empty records": (
        changed(extra={"type": {"type": "array", "items": record("Empty")}}),
        "take no bytes",
    ),
    "a list of nothing, in a map": (
        changed(
            extra={
                "type": {"type": "map", "values": {"type": "array", "items": record("N", "null")}},
            }
        ),
        "take no bytes",
    ),
    "a huge fixed": (changed(extra={"type": {"type": "fixed", "name": "F", "size": 2**31}}), "unfit size"),
    "a negative fixed": (changed(extra={"type": {"type": "fixed", "name": "F", "size": -1}}), "unfit size"),
    "deep nesting": (changed(extra={"type": nested(40)}), "recursive, or too large"),
    "very deep nesting": (changed(extra={"type": nested(200)}), "nested too deep"),
    "a long doc": ({**PLAIN, "doc": "x" * SCHEMA_BYTES_MAX}, "takes more than"),
}


class TestForeignSchemas:
    """A schema that somebody else registered is not trusted."""

    @pytest.mark.parametrize(("schema", "why"), UNFIT.values(), ids=UNFIT)
    def test_a_schema_that_is_unfit_to_read_with_is_refused(self, schema: Any, why: str) -> None:
        """Before a single value is read with it, and without quoting it."""
        text = "{" if schema is None else json.dumps(schema)

        with pytest.raises(Poison, match=why) as refused:
            written_with(text, by_fingerprint)

        assert refused.value.reason == "unknown_schema"
        assert "PermissionTaken" not in refused.value.detail

    def test_brackets_that_would_overrun_the_stack_are_refused(self) -> None:
        """JSON nests as deep as its text is long."""
        with pytest.raises(Poison, match=r"nested too deep|not a valid Avro schema"):
            written_with("[" * 30_000 + "]" * 30_000, by_fingerprint)

    @pytest.mark.parametrize("schema", FACTS.values(), ids=lambda s: f"{s.name}-v{s.version}")
    def test_each_of_our_schemas_is_fit(self, schema: Any) -> None:
        """Registered as it stands it is ours; with a field more it is read as a writer's schema."""
        ours = written_with(json.dumps(schema.record), by_fingerprint)
        more = {**schema.record, "fields": [*schema.record["fields"], {"name": "extra", "type": "string"}]}

        assert ours == (schema.name, schema.parsed)
        assert written_with(json.dumps(more), by_fingerprint).fact == schema.name

    @given(st.text(max_size=100))
    def test_any_text_is_a_schema_or_poison(self, text: str) -> None:
        """Nothing else comes out of it."""
        with pytest.raises(Poison):
            written_with(text, by_fingerprint)


class TestWaiting:
    """A registry that gives no final answer is waited for; its silence makes no dead letter."""

    @pytest.mark.parametrize(
        "answer",
        [
            (500, MIME, b'{"error_code":50001}'),
            (503, "text/html", b"<h1>down</h1>"),
            (401, MIME, b'{"error_code":401}'),
            (429, MIME, b"{}"),
            (301, MIME, b"{}"),
            (404, "text/html", b"<h1>Not Found</h1>"),
            (404, MIME, b'{"error_code":404}'),
            (404, MIME, b"{}"),
            (200, "text/html", b"<h1>Please log in</h1>"),
            (200, MIME, b"not JSON"),
            (200, MIME, b"[" * 50_000),
            (200, MIME, b'{"error_code":40403}'),
        ],
    )
    def test_what_is_no_answer_of_a_registry_is_asked_again(
        self,
        registry: FakeRegistry,
        reader: Reader,
        answer: tuple[int, str, bytes],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A proxy, a wrong path, a refused password: the chunk waits, and the log says for what."""
        registry.raw[1] = answer

        with caplog.at_level(logging.INFO):
            assert not reader.prepare(framed(1))
            del registry.raw[1]
            registry.register(schema=json.dumps(PLAIN))
            assert reader.decode(framed(1)) == REVOKED

        waiting, again = (record.getMessage() for record in caplog.records)
        assert "wait for 1 unknown schema ids" in waiting
        assert registry.address in waiting
        assert again == "the schema registry answers again"

    def test_a_registry_that_is_not_there_is_waited_for(self) -> None:
        """Nothing listens at its address."""
        with FakeRegistry() as gone:
            address = gone.address

        assert not Reader(address).prepare(framed(1))

    def test_other_values_do_not_wait(self, registry: FakeRegistry, reader: Reader) -> None:
        """Only an unknown id is a question."""
        registry.down = True

        assert reader.prepare(codec.encode(REVOKED), None, b"", b"\x00", b"\x00\x00\x00\x01")
        assert registry.asked == []

    def test_a_command_that_reads_once_does_not_wait(self, registry: FakeRegistry, reader: Reader) -> None:
        """It ends with what is wrong."""
        registry.down = True

        with pytest.raises(Transient, match=f"{registry.address} does not give schema 1: status 503"):
            asyncio.run(reader.schemas.look_up([SimpleNamespace(value=framed(1))]))

    def test_an_endless_answer_is_cut(self, registry: FakeRegistry, reader: Reader) -> None:
        """What is longer than any schema of ours is not read to its end, and refused for good."""
        registry.raw[1] = (200, MIME, b"[" * (2 * ANSWER_BYTES_MAX))

        assert "takes more than" in reader.refusal(framed(1)).detail


class TestPasswords:
    """The URL may hold a password, which nothing but the registry ever sees."""

    def test_user_and_password_are_sent_and_not_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither in the log nor in an error."""
        with FakeRegistry(password="s3/cret") as locked:
            with_password = locked.address.replace("//", "//optin:s3%2Fcret@")
            assert locked.authorization == "Basic " + base64.b64encode(b"optin:s3/cret").decode()
            locked.register(schema=json.dumps(PLAIN))

            assert Reader(with_password).decode(framed(1)) == REVOKED

            with caplog.at_level(logging.DEBUG):
                assert not Reader(with_password.replace("s3", "s4")).prepare(framed(1))
            assert "status 401" in caplog.text
            assert "cret" not in caplog.text

    @pytest.mark.parametrize(
        "url",
        [
            "registry:8081",
            "ftp://u:pass@host",
            "http://u:pass@",
            "http://u:pass@host:port",
            "http://u:pass@h?a=b",
        ],
    )
    def test_a_bad_url_is_refused_without_being_quoted(self, url: str) -> None:
        """It ends the start, and names the setting."""
        with pytest.raises(Misconfigured, match="OPTIN_SCHEMA_REGISTRY_URL") as refused:
            RegistryClient(url)

        assert "pass" not in str(refused.value).replace("password", "")

    @pytest.mark.parametrize("unset", [{}, {"schema_registry_url": ""}])
    def test_without_the_setting_no_registry_is_used(self, unset: dict[str, Any]) -> None:
        """Nor with an empty one, which is how some files of settings say nothing."""
        assert writer_schemas(Settings(**unset)) is None


class TestDoctor:
    """`optin doctor` tells before anything waits."""

    def test_it_says_whether_the_registry_answers(
        self, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a registry, with one, and with one that is away."""
        look = CHECKS["schema registry"]
        monkeypatch.delenv("OPTIN_SCHEMA_REGISTRY_URL", raising=False)
        assert "OPTIN_SCHEMA_REGISTRY_URL is unset" in look()

        monkeypatch.setenv("OPTIN_SCHEMA_REGISTRY_URL", registry.address.replace("//", "//u:s3cret@"))
        assert look() == f"{registry.address} answers"

        registry.down = True
        with pytest.raises(Transient, match="status 503"):
            look()
