"""The wire form of facts: bytes on a topic to frozen values of the core, and back.

A value is Avro single-object encoding (`C3 01`, the 8-byte fingerprint of the schema that wrote it,
the record). Any version in `schemas/facts` is read; the newest is written. Where a schema registry is used,
values in its framing (`00`, a 4-byte id, the record) are read, too, as the newest version of their fact.
Nothing that anybody can put on a topic makes `decode` raise anything but `Poison`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, Final, NamedTuple

import msgspec
from fastavro import schemaless_reader, schemaless_writer
from fastavro.validation import validate

from connectors.errors import InvariantBroken, Poison
from connectors.flat_decoder import Reader as FlatReader
from connectors.flat_decoder import compile_reader
from ledger import facts
from ledger.facts import Fact, PushDecided, RecordDeadLettered
from schemas import FACTS, FactSchema

MARKER: Final = b"\xc3\x01"
"""What a value in single-object encoding begins with."""

HEADER_BYTES: Final = 10
"""The marker and the fingerprint."""

CONFLUENT_MARKER: Final = 0
"""The first byte of a value in the framing of Confluent's serializers."""

CONFLUENT_HEADER_BYTES: Final = 5
"""That byte and the id that the registry gave the schema, big-endian."""

MAX_FACT_BYTES: Final = 65_536
"""No fact is longer on the wire, its header included; but for the two below."""

MAX_DECISION_BYTES: Final = 131_072
"""A decision carries its snapshot, of as many installations as the ledger keeps of one subject."""

MAX_LETTER_BYTES: Final = 2_031_616
"""A dead letter carries another record whole; 64 KiB below its topic's `max.message.bytes`."""

CONTINUES: Final = 0x80
"""This bit of a byte of an Avro number says that another byte follows."""

Record = dict[str, Any]


class Written(NamedTuple):
    """The schema that wrote a value: which fact it describes, and its record as fastavro parsed it."""

    fact: str
    schema: dict[str, Any]


Resolver = Callable[[bytes], Written]
"""From a value's header to the schema that wrote it. Raises `Poison` where there is none."""


class _Reader(NamedTuple):
    """How to read one version of one fact."""

    fact_type: type[Fact]
    written: dict[str, Any]
    newest: dict[str, Any] | None
    """What to read it as; None when it was written with the newest version."""
    limit: int
    begins: int
    """Where the record begins in the value."""
    flat: FlatReader | None = None
    """The quick way, for a flat record of the newest version in single-object encoding."""


class _Writer(NamedTuple):
    """How to write one fact, always with its newest version."""

    header: bytes
    schema: FactSchema
    record_of: Callable[[Fact], Record]
    limit: int


class Codec:
    """Both directions, for one set of schemas and the classes that they are read into.

    InvariantBroken when the two do not fit: every fact needs a class with the same fields.
    """

    __slots__ = ("_newest", "_readers", "_resolve_id", "_types", "_writers")

    def __init__(
        self, schemas: Mapping[tuple[str, int], FactSchema], fact_types: Iterable[type[Fact]]
    ) -> None:
        types = {fact_type.__name__: fact_type for fact_type in fact_types}
        newest = {name: schema for (name, _), schema in sorted(schemas.items())}
        _check_fit(newest, types)
        self._types = types
        self._newest = newest
        self._resolve_id: Resolver | None = None
        self._readers = {
            MARKER + schema.fingerprint: self._reader(Written(name, schema.parsed), HEADER_BYTES)
            for (name, _), schema in schemas.items()
        }
        for name, schema in newest.items():
            header = MARKER + schema.fingerprint
            flat = compile_reader(schema.parsed, types[name], HEADER_BYTES)
            self._readers[header] = self._readers[header]._replace(flat=flat)
        self._writers = {
            fact_type: _Writer(
                MARKER + newest[name].fingerprint,
                newest[name],
                _flattening(fact_type),
                _limit(fact_type),
            )
            for name, fact_type in types.items()
        }

    def accept_registry(self, resolve: Resolver | None) -> None:
        """From now on read registry framing with what `resolve` gives for its 5-byte header; None: refuse it.

        `resolve` answers from memory: `decode` is synchronous.
        """
        self._resolve_id = resolve

    def encode(self, fact: Fact) -> bytes:
        """The fact's bytes, written with the newest version of its schema.

        Poison: `unencodable` when a field does not hold what its schema says (the detail names the
        fields, never their values), `oversized` when the value would be longer than its limit.
        """
        writer = self._writers.get(type(fact))
        if writer is None:
            raise _no_fact(type(fact))
        header, schema, record_of, limit = writer
        value = BytesIO()
        value.write(header)
        try:
            record = record_of(fact)
            # Refuses what fastavro would quietly bend: 1.5 to 1, "ab" to ("a", "b"), 0 to False.
            msgspec.convert(record, type(fact))
            schemaless_writer(value, schema.parsed, record)
        except Exception:  # noqa: BLE001 - whatever fastavro and msgspec raise for a wrong value
            raise Poison("unencodable", _wrong_fields(fact, schema)) from None
        encoded = value.getvalue()
        if len(encoded) > limit:
            raise Poison("oversized", f"{schema.name} takes {len(encoded)} bytes, the limit is {limit}")
        return encoded

    def decode(self, value: bytes | None) -> Fact:
        """The fact in `value`, as the newest version of its class.

        Poison, with one of these reasons: `empty` (no value, or none at all), `oversized`,
        `not_single_object`, `unknown_schema`, `truncated`, `trailing_bytes`, `undecodable`.
        Bits that were flipped on the way may read as another fact; Kafka's own checksum is the
        guard against that, not this format.
        """
        if not value:
            raise Poison("empty", "the record has no value")
        reader = self._readers.get(value[:HEADER_BYTES])
        if reader is None:
            reader = self._reader_by_id(value)
        fact_type, written, newest, limit, begins, flat = reader
        if len(value) > limit:
            raise _oversized(value, limit)
        if flat is not None:
            try:
                return flat(value)
            except (ValueError, IndexError):
                pass  # not plain, or broken: the general reader finds out and says why
        stream = BytesIO(value)
        stream.seek(begins)
        try:
            record = schemaless_reader(stream, written, newest)
            if stream.tell() == len(value):
                return msgspec.convert(record, fact_type)
        except Exception as error:  # noqa: BLE001 - bytes decide what fastavro raises
            # Without its cause: fastavro's and msgspec's messages quote the record.
            raise _unreadable(error, value, stream.tell(), written) from None
        left = len(value) - stream.tell()
        raise Poison("trailing_bytes", f"{left} bytes follow the {written['name']} record")

    def _reader_by_id(self, value: bytes) -> _Reader:
        """The reader of a value that is not in single-object encoding with a schema of ours."""
        if value[0] != CONFLUENT_MARKER or len(value) > MAX_FACT_BYTES:
            raise _unknown(value)
        if self._resolve_id is None:
            raise Poison(
                "not_single_object",
                "the value does not begin with C3 01 but with 00, as in the framing of a schema registry: "
                "that is read where OPTIN_SCHEMA_REGISTRY_URL is set",
            )
        if len(value) < CONFLUENT_HEADER_BYTES:
            raise Poison("truncated", f"{len(value)} bytes do not hold a marker and an id")
        return self._reader(self._resolve_id(value[:CONFLUENT_HEADER_BYTES]), CONFLUENT_HEADER_BYTES)

    def _reader(self, written: Written, begins: int) -> _Reader:
        name, schema = written
        newest = self._newest[name].parsed
        fact_type = self._types[name]
        as_newest = None if schema is newest else newest
        return _Reader(fact_type, schema, as_newest, _limit(fact_type), begins)

    def topic_of(self, fact_type: type[Fact]) -> str:
        """The full name of the topic that carries these facts (`optin.permissions`)."""
        writer = self._writers.get(fact_type)
        if writer is None:
            raise _no_fact(fact_type)
        return writer.schema.topic


def _check_fit(newest: Mapping[str, FactSchema], types: Mapping[str, type[Fact]]) -> None:
    for name in sorted(newest.keys() ^ types.keys()):
        where = "ledger.facts.FACTS" if name in newest else "schemas/facts"
        raise InvariantBroken(f"{name} is missing from {where}: a fact needs a schema and a class")
    for name, schema in newest.items():
        fields = tuple(field["name"] for field in schema.record["fields"])
        if fields != types[name].__struct_fields__:
            raise InvariantBroken(
                f"{name} has the fields {fields} in its newest schema, but its class has "
                f"{types[name].__struct_fields__}: make them equal"
            )


def _limit(fact_type: type[Fact]) -> int:
    if issubclass(fact_type, RecordDeadLettered):
        return MAX_LETTER_BYTES
    return MAX_DECISION_BYTES if issubclass(fact_type, PushDecided) else MAX_FACT_BYTES


def _flattening(fact_type: type[Fact]) -> Callable[[Fact], Record]:
    """The cheapest way to this fact's record: only some facts hold structs of their own."""
    if _holds_structs(fact_type):
        return _flatten_deep
    return msgspec.structs.asdict


def _holds_structs(fact_type: type[Fact]) -> bool:
    info = msgspec.inspect.type_info(fact_type)
    assert isinstance(info, msgspec.inspect.StructType)
    return any(
        isinstance(field.type, msgspec.inspect.VarTupleType)
        and isinstance(field.type.item_type, msgspec.inspect.StructType)
        for field in info.fields
    )


def _flatten_deep(fact: Fact) -> Record:
    record: Record = msgspec.to_builtins(fact, builtin_types=(bytes,))
    return record


def _no_fact(fact_type: type) -> InvariantBroken:
    return InvariantBroken(
        f"{fact_type.__name__} is no fact: add it to ledger.facts.FACTS and to schemas/facts"
    )


def _wrong_fields(fact: Fact, schema: FactSchema) -> str:
    """Which fields are refused; slow, and only for a fact that was refused."""
    fields = schema.parsed["fields"]
    wrong = [f["name"] for f in fields if not _holds(f["type"], getattr(fact, f["name"]))]
    named = ", ".join(wrong) or "one of the fields"
    return f"{schema.name}: {named} does not hold what schemas/facts/{schema.name} says"


def _holds(field_type: Any, value: Any) -> bool:
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,))
        schemaless_writer(BytesIO(), field_type, plain)
        return validate(plain, field_type, raise_errors=False)
    except (TypeError, ValueError, OverflowError):
        return False


def _unknown(value: bytes) -> Poison:
    if len(value) > MAX_FACT_BYTES:
        return _oversized(value, MAX_FACT_BYTES)
    if not MARKER.startswith(value[: len(MARKER)]):
        return Poison("not_single_object", "the value does not begin with C3 01")
    if len(value) < HEADER_BYTES:
        return Poison("truncated", f"{len(value)} bytes do not hold a marker and a fingerprint")
    fingerprint = value[len(MARKER) : HEADER_BYTES].hex()
    return Poison(
        "unknown_schema",
        f"no schema here has the fingerprint {fingerprint}: upgrade the readers before the writers",
    )


def _oversized(value: bytes, limit: int) -> Poison:
    return Poison("oversized", f"the value takes {len(value)} bytes, the limit is {limit}")


def _unreadable(error: Exception, value: bytes, read: int, written: Mapping[str, Any]) -> Poison:
    """Tells a record that ends too early from one that makes no sense."""
    in_a_number = read == len(value) and value[-1] & CONTINUES
    if isinstance(error, EOFError) or (isinstance(error, IndexError) and in_a_number):
        return Poison("truncated", f"the value ends within the {written['name']} record")
    return Poison("undecodable", f"{type(error).__name__} while reading {written['name']}")


_CODEC: Final = Codec(FACTS, facts.FACTS)

encode: Final = _CODEC.encode
decode: Final = _CODEC.decode
accept_registry: Final = _CODEC.accept_registry
topic_of: Final = _CODEC.topic_of
