"""Marks of records that nobody could read: what sets them, what takes them away, and what they keep away."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.admission import subject_of
from ledger.consent import EMPTY, INSTALLATIONS_MAX, UNREADABLE_MAX, Consent
from ledger.consent_fold import refusal, take_in
from ledger.reach import Reach, fold, late_refusal, mark_unreadable
from ledger.snapshot import consent_view
from ledger.unreadable import mark
from tests.support.given import ANN, NOON, fact, policy
from tests.unit.test_journeys import added, live, reachable


def settled(first: int, last: int | None = None) -> f.UnreadableFactSettled:
    """Somebody saw to the records at these offsets."""
    last = first if last is None else last
    return fact(
        f.UnreadableFactSettled, letter="l", first_offset=first, last_offset=last, outcome="dismissed"
    )


def marked(*offsets: int) -> Consent:
    """Consent with marks."""
    consent = EMPTY
    for offset in offsets:
        consent = mark(consent, offset, NOON + offset)
    return consent


def spans(consent: Consent) -> list[tuple[int, int]]:
    """The marks by their offsets."""
    return [(one.first_offset, one.last_offset) for one in consent.unreadable]


def test_a_settlement_takes_its_own_mark_away_and_no_other() -> None:
    """A second copy of it changes nothing."""
    consent = marked(3, 8, 9)

    once = take_in(consent, settled(8), NOON)

    assert spans(once) == [(3, 3), (9, 9)]
    assert take_in(once, settled(8), NOON) is once
    assert spans(take_in(once, settled(0, 9), NOON)) == []


def test_a_mark_that_comes_again_changes_nothing() -> None:
    """The same record is read again after a crash."""
    consent = marked(3)

    assert mark(consent, 3, NOON + 99) is consent


def test_without_room_the_last_mark_grows_and_only_all_of_it_can_be_settled() -> None:
    """Settling the letters one by one leaves it: which ones it covers is no longer known."""
    full = marked(*range(UNREADABLE_MAX + 3))
    last = UNREADABLE_MAX - 1

    assert len(full.unreadable) == UNREADABLE_MAX
    assert spans(full)[-1] == (last, last + 3)
    for offset in range(UNREADABLE_MAX + 3):
        full = take_in(full, settled(offset), NOON)
    assert spans(full) == [(last, last + 3)]
    assert spans(take_in(full, settled(0, last + 2), NOON)) == [(last, last + 3)]
    assert spans(take_in(full, settled(0, last + 3), NOON)) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_no_unsettled_record_is_ever_forgotten(history: list[tuple[bool, int]]) -> None:
    """Whatever is marked and settled in whatever order: a record that was not settled is under a mark."""
    consent, open_offsets = EMPTY, set[int]()
    for offset, (bad, back) in enumerate(history):
        if bad:
            consent = mark(consent, offset, NOON)
            open_offsets.add(offset)
        else:
            consent = take_in(consent, settled(offset - back - 1), NOON) if offset > back else consent
            open_offsets.discard(offset - back - 1)
        assert len(consent.unreadable) <= UNREADABLE_MAX
        assert all(any(a <= one <= b for a, b in spans(consent)) for one in open_offsets)


def test_erasure_wins_over_marks() -> None:
    """It takes them away, and nothing marks who is erased."""
    erased = take_in(marked(3), fact(f.SubjectErased), NOON)

    assert erased == Consent(erased_at=NOON)
    assert mark(erased, 9, NOON) is erased


def test_a_mark_withholds_marketing_until_it_is_settled() -> None:
    """By its own name, before the permission that the record may have revoked."""
    (withheld,) = live(added(NOON), mark_at=7).decisions
    (sent,) = live(settled(7), added(NOON), mark_at=7).decisions

    assert (withheld.verdict, withheld.reason) == ("withhold", "unreadable_fact")
    assert sent.verdict == "send"


def test_the_last_look_before_a_send_sees_the_mark() -> None:
    """Marketing that was decided before the record came is withheld late; a transactional push goes out."""
    reach = Reach()
    for one in reachable():
        reach = fold(reach, one, one.occurred_at)
    (decision,) = live(added(NOON)).decisions
    bad = mark_unreadable(reach, 7, NOON)

    def late(row: Reach, category: str = "marketing") -> str | None:
        push = msgspec.structs.replace(decision, category=category)
        return late_refusal(row, push, "phone", policy(), decision.occurred_at)

    assert late(reach) is None
    assert late(bad) == "unreadable_fact"
    assert late(bad, "transactional") is None
    assert late(fold(bad, settled(7), NOON)) is None
    assert mark_unreadable(bad, 7, NOON) is bad


def test_the_gate_sees_how_many_marks_there_are() -> None:
    """The count travels with the decision; offsets and times don't."""
    assert consent_view(marked(3, 8), "shop", "carts").unreadable == 2


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        (b"ann", ANN),
        (b"s-4711", "s-4711"),
        (None, None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"\x00position", None),
        (b"ann@example.org", None),
        (b"+49 151 2345678", None),
        (b"x" * 129, None),
    ],
)
def test_a_key_that_is_no_subject_marks_nobody(key: bytes | None, subject: str | None) -> None:
    """Only what the ledger would take in as a subject's id."""
    assert subject_of(key) == subject


def test_room_for_permissions_is_not_taken_by_addresses() -> None:
    """Which facts of permissions are refused, and so leave marks, depends on permissions alone."""
    consent = EMPTY
    for number in range(INSTALLATIONS_MAX):
        token = fact(f.TokenRegistered, installation=f"t{number}", provider="console", token="t")
        assert refusal(consent, token) is None
        consent = take_in(consent, token, NOON)
    one_more = fact(f.TokenRegistered, installation="more", provider="console", token="t")
    assert refusal(consent, one_more) == "too_many_installations"
    for number in range(INSTALLATIONS_MAX):
        denied = fact(f.PermissionDenied, installation=f"p{number}")
        assert refusal(consent, denied) is None
        consent = take_in(consent, denied, NOON)
    assert refusal(consent, fact(f.PermissionDenied, installation="t0")) == "too_many_installations"
    assert refusal(consent, fact(f.PermissionDenied, installation="p0")) is None
    assert refusal(consent, fact(f.TokenInvalidated, installation="p0", token_id="x", reason="r")) is None
    assert refusal(consent, fact(f.PromptShown, installation="new", prompt="os", context="c")) is None
    assert len(consent.installations) == 2 * INSTALLATIONS_MAX
