"""The codec writes what the contract says, reads every version, and refuses the rest with a reason."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import codec
from connectors.codec import HEADER_BYTES, MARKER, MAX_FACT_BYTES, decode, encode, topic_of
from connectors.errors import InvariantBroken, Poison
from ledger import facts
from schemas import FACTS, fact_schema

GRANTED = facts.PermissionGranted(
    event_id="e-1",
    app="shop",
    occurred_at=1_790_000_000_000,
    source="device",
    sequence=7,
    subject="s-1",
    installation="i-1",
    level="authorized",
)
HEADER = MARKER + fact_schema("PermissionGranted").fingerprint
GRANTED_BODY = b"\x06e-1\x08shop\x80\xb0\x83\xc5\x98\x68\x0cdevice\x02\x0e\x06s-1\x06i-1\x04\x00\x00"
"""Written by hand: texts after their length, numbers zig-zag, `authorized` is the third symbol."""


def _strategy(avro: Any) -> st.SearchStrategy[Any]:
    """Any value of an Avro type, as the core's classes hold it."""
    if isinstance(avro, list):
        return st.one_of(*map(_strategy, avro))
    if isinstance(avro, str):
        return {
            "null": st.none(),
            "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
            "long": st.integers(-(2**63), 2**63 - 1),
            "boolean": st.booleans(),
            "bytes": st.binary(max_size=40),
        }[avro]
    if avro["type"] == "enum":
        return st.sampled_from(avro["symbols"])
    if avro["type"] == "array":
        return st.lists(_strategy(avro["items"]), max_size=4).map(tuple)
    if avro["type"] == "map":
        return st.dictionaries(_strategy("string"), _strategy(avro["values"]), max_size=4)
    fields = {field["name"]: _strategy(field["type"]) for field in avro["fields"]}
    return st.builds(facts.CheckResult, **fields)


def _facts(fact_type: type[facts.Fact]) -> st.SearchStrategy[facts.Fact]:
    fields = fact_schema(fact_type.__name__).record["fields"]
    return st.builds(fact_type, **{field["name"]: _strategy(field["type"]) for field in fields})


ORDERED = facts.OrderPlaced(
    event_id="e-1",
    app="shop",
    occurred_at=1,
    source="server",
    subject="s-1",
    order_id="o-1",
    items=("item-1",),
)
ITEMS_OF_ORDERED = b"\x02\x0citem-1\x00"
"""A block of one item, the item, and the end of the list."""

ANY_FACT = st.one_of(*map(_facts, facts.FACTS))


def _reason(value: bytes | None) -> str:
    with pytest.raises(Poison) as caught:
        decode(value)
    return caught.value.reason


class TestRoundTrip:
    """What is written is read back."""

    @given(ANY_FACT)
    def test_every_fact_comes_back_as_it_was(self, fact: facts.Fact) -> None:
        """decode(encode(fact)) is the fact, with tuples and nested values of the same classes."""
        back = decode(encode(fact))

        assert back == fact
        assert str(back) == str(fact)

    def test_the_bytes_are_those_of_the_specification(self) -> None:
        """A fact that is assembled by hand from Avro's rules is the same, byte for byte."""
        assert encode(GRANTED) == HEADER + GRANTED_BODY
        assert decode(HEADER + GRANTED_BODY) == GRANTED

    def test_a_fact_knows_its_topic(self) -> None:
        """Names are full, ready for a producer."""
        assert topic_of(facts.PermissionRevoked) == "optin.permissions"
        assert topic_of(facts.RecordDeadLettered) == "optin.dead-letters"
        assert topic_of(facts.InstallationClaimed) == "optin.links"


class TestRefusedBytes:
    """Whatever is on a topic, decoding gives a fact or Poison."""

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (None, "empty"),
            (b"", "empty"),
            (b"{}", "not_single_object"),
            (b"\x00\x00\x00\x00\x01" + GRANTED_BODY, "not_single_object"),
            (b"\xc3", "truncated"),
            (HEADER[:-1], "truncated"),
            (HEADER, "truncated"),
            (HEADER + b"\xff", "truncated"),
            (MARKER + bytes(8) + GRANTED_BODY, "unknown_schema"),
            (HEADER + GRANTED_BODY + b"\x00", "trailing_bytes"),
            (HEADER + GRANTED_BODY.replace(b"e-1", b"e\xff1"), "undecodable"),
            (HEADER + GRANTED_BODY[:-2] + b"\x7e\x00", "undecodable"),
            (HEADER + GRANTED_BODY[:-1] + b"\x7e", "undecodable"),
            (bytes(MAX_FACT_BYTES + 1), "oversized"),
            (HEADER + bytes(MAX_FACT_BYTES), "oversized"),
        ],
    )
    def test_each_kind_of_bad_value_has_its_reason(self, value: bytes | None, reason: str) -> None:
        """The reason is one fixed word, fit for a metric's label and a dead letter."""
        assert _reason(value) == reason

    @given(ANY_FACT, st.data())
    def test_every_shortened_fact_is_truncated(self, fact: facts.Fact, data: st.DataObject) -> None:
        """Wherever a value is cut, it is known for what it is and never read as a shorter fact."""
        value = encode(fact)
        length = data.draw(st.integers(1, len(value) - 1))

        assert _reason(value[:length]) == "truncated"

    @given(st.binary(max_size=200))
    def test_any_bytes_after_a_good_header_are_read_or_refused(self, body: bytes) -> None:
        """Nothing but Poison comes out of random bytes, whichever fact they claim to be."""
        for schema in FACTS.values():
            _reads_or_refuses(MARKER + schema.fingerprint + body)

    @given(st.binary(max_size=200))
    def test_any_bytes_at_all_are_refused(self, value: bytes) -> None:
        """Random bytes have no known header."""
        assert _reason(value) in {"empty", "not_single_object", "truncated", "unknown_schema"}

    @given(ANY_FACT, st.data())
    def test_a_damaged_fact_is_read_or_refused(self, fact: facts.Fact, data: st.DataObject) -> None:
        """A good record with bytes replaced gives a fact that can be written again, or Poison."""
        value = bytearray(encode(fact))
        for _ in range(data.draw(st.integers(1, 4))):
            value[data.draw(st.integers(HEADER_BYTES, len(value) - 1))] = data.draw(st.integers(0, 255))

        _reads_or_refuses(bytes(value))

    @pytest.mark.parametrize(
        "claim",
        [
            pytest.param(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", id="2**62"),
            pytest.param(b"\x80\x80\x80\x80\x80\x40", id="2**40"),
            pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="-2**63"),
        ],
    )
    @pytest.mark.parametrize("field", ["event_id", "items"])
    def test_a_claimed_length_allocates_nothing(self, claim: bytes, field: str) -> None:
        """A few bytes that claim a huge text or list cost no memory before they are refused."""
        if field == "event_id":
            value = HEADER + claim
        else:
            assert ITEMS_OF_ORDERED in encode(ORDERED)
            claimed = claim + ITEMS_OF_ORDERED[1:]
            value = encode(ORDERED).replace(ITEMS_OF_ORDERED, claimed)

        tracemalloc.start()
        try:
            reason = _reason(value)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert reason in {"truncated", "undecodable"}
        assert peak_bytes < 1_000_000

    def test_a_refusal_quotes_nothing_of_the_record(self) -> None:
        """Details and causes end up in logs, so they hold nothing that a person could be in."""
        with pytest.raises(Poison) as caught:
            decode(HEADER + GRANTED_BODY.replace(b"s-1", b"s\xff1").replace(b"shop", b"priv"))

        assert "priv" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def _reads_or_refuses(value: bytes) -> None:
    try:
        fact = decode(value)
    except Poison:
        return
    assert decode(encode(fact)) == fact


class TestRefusedFacts:
    """Whatever a caller passes, nothing that no reader would take is written."""

    @pytest.mark.parametrize(
        ("field", "wrong"),
        [
            ("occurred_at", 1_790_000_000_000.5),
            ("occurred_at", True),
            ("occurred_at", 2**63),
            ("occurred_at", None),
            ("sequence", "7"),
            ("level", "allowed"),
            ("subject", b"s-1"),
            ("subject", "\ud800"),
            ("context", "half \udfff"),
        ],
    )
    def test_a_wrong_value_is_refused_by_the_name_of_its_field(self, field: str, wrong: Any) -> None:
        """The detail names the field alone, and never what was in it."""
        with pytest.raises(Poison) as caught:
            encode(msgspec.structs.replace(GRANTED, **{field: wrong}))

        assert caught.value.reason == "unencodable"
        assert caught.value.detail.startswith(f"PermissionGranted: {field} does not hold")

    def test_a_text_is_no_list_of_letters(self) -> None:
        """One item given as a text is refused, not written as many."""
        with pytest.raises(Poison, match="items does not hold"):
            encode(msgspec.structs.replace(ORDERED, items="item-1"))

    def test_a_fact_that_is_too_long_is_refused(self) -> None:
        """No fact is written that no reader would take."""
        with pytest.raises(Poison) as caught:
            encode(msgspec.structs.replace(GRANTED, context="x" * MAX_FACT_BYTES))

        assert caught.value.reason == "oversized"

    def test_the_longest_fact_is_read_and_written(self) -> None:
        """The limit itself is allowed on both sides."""
        room = MAX_FACT_BYTES - len(encode(msgspec.structs.replace(GRANTED, context="x" * 10_000)))
        longest = msgspec.structs.replace(GRANTED, context="x" * (10_000 + room))

        assert len(encode(longest)) == MAX_FACT_BYTES
        assert decode(encode(longest)) == longest

    def test_a_letter_may_carry_a_whole_record(self) -> None:
        """A dead letter holds a value that is itself too long for a fact."""
        letter = _letter(value=bytes(1_048_576))

        assert decode(encode(letter)) == letter

    def test_a_letter_has_a_limit_too(self) -> None:
        """A letter that its topic would refuse is refused here."""
        with pytest.raises(Poison, match="oversized"):
            encode(_letter(value=bytes(codec.MAX_LETTER_BYTES)))

    def test_what_is_no_fact_is_a_bug(self) -> None:
        """Writing a value of another class is our mistake, not the data's."""

        class SubjectSurprised(facts.SubjectFact, frozen=True, kw_only=True):
            """Not in the contract."""

        with pytest.raises(InvariantBroken, match="SubjectSurprised is no fact"):
            encode(SubjectSurprised(event_id="", app="", occurred_at=0, source="", subject=""))
        with pytest.raises(InvariantBroken, match="SubjectSurprised is no fact"):
            topic_of(SubjectSurprised)


def _letter(value: bytes) -> facts.RecordDeadLettered:
    return facts.RecordDeadLettered(
        event_id="e-1",
        app="",
        occurred_at=1,
        source="processor",
        topic="optin.permissions",
        partition=0,
        offset=0,
        appended_at=1,
        key=None,
        value=value,
        reason="oversized",
        detail="",
    )
