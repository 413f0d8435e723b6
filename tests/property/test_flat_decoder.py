"""The quick decoder never says anything but what fastavro says."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
import pytest
from fastavro import schemaless_reader
from hypothesis import given
from hypothesis import strategies as st

from connectors import codec
from connectors.flat_decoder import NotFlat, compile_reader
from ledger import facts as f
from schemas import FACTS

TYPES: Final = {kind.__name__: kind for kind in f.FACTS}
READERS: Final = {
    name: (schema, reader)
    for (name, _), schema in sorted(FACTS.items())
    if (reader := compile_reader(schema.parsed, TYPES[name], codec.HEADER_BYTES)) is not None
}
EXAMPLES: Final = Path(__file__).parents[2] / "schemas" / "examples"
VALUES: Final = {
    name: bytes.fromhex(json.loads((EXAMPLES / name / f"v{schema.version}.json").read_text())["hex"])
    for name, (schema, _) in READERS.items()
}


def by_fastavro(name: str, value: bytes) -> f.Fact | None:
    """The fact as the general reader sees it, None for anything but exactly one record."""
    stream = BytesIO(value)
    stream.seek(codec.HEADER_BYTES)
    try:
        record = schemaless_reader(stream, READERS[name][0].parsed, None)
        return msgspec.convert(record, TYPES[name]) if stream.tell() == len(value) else None
    except Exception:  # noqa: BLE001 - whatever it was, it is no record
        return None


def by_flat(name: str, value: bytes) -> f.Fact | None:
    """The fact as the quick reader sees it, None where it leaves the judgement to the other."""
    try:
        return READERS[name][1](value)
    except (ValueError, IndexError):
        return None


def test_nearly_all_facts_are_flat() -> None:
    """Those with lists or structs in them are read the general way."""
    assert {"PermissionGranted", "PermissionRevoked", "CartUpdated", "TokenRegistered"} <= READERS.keys()
    assert not {"PushDecided", "OrderPlaced"} & READERS.keys()


@pytest.mark.parametrize("name", READERS)
def test_a_golden_example_is_read_the_quick_way(name: str) -> None:
    """And says the same."""
    found = by_flat(name, VALUES[name])

    assert found is not None
    assert found == by_fastavro(name, VALUES[name])


@given(name=st.sampled_from(sorted(READERS)), data=st.data())
def test_what_it_reads_of_damaged_bytes_fastavro_reads_too(name: str, data: st.DataObject) -> None:
    """Cut, flipped, lengthened or random: it never accepts more, and never reads it as something else."""
    good = VALUES[name]
    place = data.draw(st.integers(codec.HEADER_BYTES, len(good)))
    width = data.draw(st.integers(0, 3))
    bad = good[:place] + data.draw(st.binary(max_size=12)) + good[place + width :]
    found = by_flat(name, bad)

    assert found is None or found == by_fastavro(name, bad)


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.text(max_size=300))
def test_numbers_and_texts_of_any_size_are_read(number: int, text: str) -> None:
    """The whole range of a long, and texts whose length takes more than one byte."""
    name = "PermissionDenied"
    fact = f.PermissionDenied(
        app="a",
        source="s",
        subject="x",
        event_id=text,
        occurred_at=number,
        sequence=number,
        installation=text,
        counter_since=number,
    )
    value = codec.encode(fact)

    assert by_flat(name, value) == fact


def test_a_number_of_too_many_bytes_is_left_to_the_general_reader() -> None:
    """Eleven bytes hold no long."""
    fact = f.MarketingResumed(event_id="", app="", occurred_at=0, source="", subject="")
    value = codec.encode(fact)
    place = codec.HEADER_BYTES + 2  # behind two empty texts
    bad = value[:place] + b"\x80" * 10 + value[place:]

    with pytest.raises(NotFlat):
        READERS["MarketingResumed"][1](bad)
