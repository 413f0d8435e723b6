"""Laws of identity: the order of claims decides, every subject's own fold agrees, and nobody overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.consent import EMPTY, Consent, Installation
from ledger.consent_fold import take_in
from ledger.effective import UNLINKED, current_token, effective, unlinked
from ledger.links import NOBODYS, RECENT_IDS_MAX, Link, claim
from ledger.words import REFUSALS
from tests.support.fact_strategies import PERMISSION_FACTS, Dated
from tests.support.given import NOON, PHONE, changed, fact

GRANTING = frozenset(f.PERMISSIONS) - REFUSALS
PEOPLE = ("ann", "bob", "cid")

Claimed = tuple[f.InstallationClaimed, int]
"""A claim and its append (ms)."""


@st.composite
def claims(draw: st.DrawFn) -> list[Claimed]:
    """Claims of one phone in the order of their topic; clocks and numbers may say something else."""
    found, appended = [], NOON
    for number in range(draw(st.integers(0, 12))):
        appended += draw(st.sampled_from([0, 0, 1, 1_000]))
        one = f.InstallationClaimed(
            event_id=f"claim-{number}",
            app="shop",
            occurred_at=appended + draw(st.sampled_from([-3_600_000, -1, 0, 200_000])),
            source="device",
            sequence=draw(st.none() | st.integers(0, 6)),
            installation=PHONE,
            subject=draw(st.sampled_from([*PEOPLE, None])),
        )
        found.append((one, appended))
    return found


def follow(history: Iterable[Claimed], start: Link = NOBODYS) -> tuple[Link, list[f.LinkFact]]:
    """The row after a history, and everything that followed."""
    row, told = start, list[f.LinkFact]()
    for one, appended in history:
        row, facts = claim(row, one, appended)
        told += facts
    return row, told


def consents(told: Iterable[f.LinkFact], appended: int) -> dict[str, Installation]:
    """The phone as each subject's own fold sees it, the facts appended at `appended`."""
    states: dict[str, Consent] = dict.fromkeys(PEOPLE, EMPTY)
    for one in told:
        states[one.subject] = take_in(states[one.subject], one, appended)
    return {name: state.installations.get(f"shop/{PHONE}", Installation()) for name, state in states.items()}


def linked(told: Sequence[f.LinkFact], appended: int) -> set[str]:
    """Who was ever told of the phone and has it now."""
    subjects = {one.subject for one in told}
    return {
        name for name, phone in consents(told, appended).items() if name in subjects and not unlinked(phone)
    }


@given(claims(), st.data())
def test_every_subjects_fold_agrees_with_the_order_of_the_claims(
    history: list[Claimed], data: st.DataObject
) -> None:
    """In whatever order and however often the facts are read: whoever the row names has it, nobody else."""
    row, told = follow(history)
    again = data.draw(st.lists(st.sampled_from(told), max_size=6)) if told else []
    shuffled = data.draw(st.permutations([*told, *again]))

    assert linked(shuffled, NOON) == ({row.subject} if row.subject else set())
    assert consents(shuffled, NOON) == consents(told, NOON)
    later = consents(told, NOON + 7_200_000)
    assert {name: (one.linked_at, one.unlinked_at) for name, one in consents(shuffled, NOON).items()} == {
        name: (one.linked_at, one.unlinked_at) for name, one in later.items()
    }


@given(claims(), st.data())
def test_nobody_overlaps_at_any_moment(history: list[Claimed], data: st.DataObject) -> None:
    """Unlinks of a chunk first, then its links: after each append, one subject at most."""
    row, everything = NOBODYS, list[f.LinkFact]()
    while history:
        length = data.draw(st.integers(1, len(history)))
        chunk, history = history[:length], history[length:]
        row, told = follow(chunk, row)
        unlinks = [one for one in told if isinstance(one, f.InstallationUnlinked)]
        for one in (*unlinks, *(one for one in told if one not in unlinks)):
            everything.append(one)
            assert len(linked(everything, NOON)) <= 1
        assert linked(everything, NOON) == ({row.subject} if row.subject else set())


@given(claims(), st.integers(0, 12))
def test_whoever_repeats_claims_repeats_the_same_facts(history: list[Claimed], length: int) -> None:
    """A former owner, or one after a crash, says what was said: same ids, times and subjects."""
    row, told = follow(history)
    halfway, before = follow(history[:length])

    rest = follow(history[length:], halfway)
    assert (rest[0], [*before, *rest[1]]) == (row, told)
    assert len({one.event_id for one in told}) == len(told)


@given(claims(), st.data())
def test_a_second_copy_of_a_claim_changes_nothing(history: list[Claimed], data: st.DataObject) -> None:
    """Wherever behind its first it comes, as long as it is among the last claims."""
    assert len(history) <= RECENT_IDS_MAX
    doubled = list(history)
    for one, appended in data.draw(st.lists(st.sampled_from(history), max_size=4)) if history else []:
        first = next(i for i, (known, _) in enumerate(doubled) if known.event_id == one.event_id)
        place = data.draw(st.integers(first + 1, len(doubled)))
        doubled.insert(place, (one, appended + 500))

    assert follow(doubled)[1] == follow(history)[1]
    assert follow(doubled)[0].subject == follow(history)[0].subject


@given(st.lists(PERMISSION_FACTS, max_size=10), st.integers(-2, 12), st.booleans())
def test_nothing_said_before_the_handover_counts_after_it(
    history: list[Dated], later: int, relinked: bool
) -> None:
    """While unlinked nothing is usable; once linked again, only words and addresses from after the unlink.

    A refusal is from after it also if only its append is.
    """
    at = NOON + later * 100_000
    first: dict[str, int] = {}
    for one, appended in history:
        first.setdefault(one.event_id, appended)
    # A later copy of a fact has a later append, and the first one's time counts.
    said = [(one, max(appended, first[one.event_id])) for one, appended in history]
    token = fact(f.TokenRegistered, NOON, provider="console", token="t")
    said.append((token, NOON))
    facts = [*said, (fact(f.InstallationUnlinked, at, claim="c", source="processor"), at)]
    if relinked:
        facts.append((fact(f.InstallationLinked, at + 1, claim="d", source="processor"), at + 1))
    state, fresh = EMPTY, EMPTY
    for one, appended in facts:
        state = take_in(state, one, appended)
    for one, appended in said:
        known = first.get(one.event_id, appended)
        refused = getattr(one, "level", "") not in GRANTING and getattr(one, "permission", "") not in GRANTING
        if min(one.occurred_at, known) > at or (one is not token and refused and known > at):
            fresh = take_in(fresh, one, appended)

    phone = state.installations[f"shop/{PHONE}"]
    if not relinked:
        assert effective(phone).permission == UNLINKED
        assert current_token(phone) is None
    else:
        anew = fresh.installations.get(f"shop/{PHONE}", Installation())
        assert effective(phone) == effective(anew)
        assert current_token(phone) == current_token(anew)


def test_a_copy_that_is_forgotten_is_the_price_of_a_bound() -> None:
    """After more claims than are remembered, an old one counts as new: the bound is where it is said."""
    first = f.InstallationClaimed(
        event_id="first", app="shop", occurred_at=NOON, source="device", installation=PHONE, subject="ann"
    )
    others = [
        (changed(first, event_id=f"other-{number}", subject="bob"), NOON) for number in range(RECENT_IDS_MAX)
    ]
    remembered, _ = follow([(first, NOON), *others[1:], (first, NOON)])
    forgotten, _ = follow([(first, NOON), *others, (first, NOON)])

    assert (remembered.subject, forgotten.subject) == ("bob", "ann")
