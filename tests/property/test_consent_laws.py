"""Laws of the consent fold: order and repetition change nothing, and a refusal wins."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.consent import EMPTY, SKEW_MS, Consent, Installation, evolve, installation_key, register_of
from ledger.consent_fold import effective_time, take_in
from ledger.effective import comes_after, effective
from ledger.words import COUNTED, DEVICES_END, REFUSALS, REFUSALS_MAX, REGISTERS
from tests.support.fact_strategies import CONSENT_FACTS, HISTORIES, PERMISSION_FACTS, TIMES, Dated
from tests.support.given import NOON, PHONE, changed, fact

ERASURE = TIMES.map(lambda at: (fact(f.SubjectErased, at), at))
WITH_ERASURE = st.lists(st.one_of(CONSENT_FACTS, CONSENT_FACTS, CONSENT_FACTS, ERASURE), max_size=20)
LATEST = NOON + 100 * SKEW_MS


Placed = tuple[f.SubjectFact, int, int]
"""A fact with its first append (ms) and the offset of its record."""


def placed(history: Iterable[Dated]) -> list[Placed]:
    """A history in the order of the broker: each fact once, with its first append and an offset."""
    firsts: dict[str, Dated] = {}
    for one, appended in history:
        if one.event_id not in firsts or firsts[one.event_id][1] > appended:
            firsts[one.event_id] = one, appended
    ordered = sorted(firsts.values(), key=lambda dated: dated[1])
    return [(one, appended, offset) for offset, (one, appended) in enumerate(ordered)]


def fold(history: Iterable[Placed], start: Consent = EMPTY) -> Consent:
    """The state after a history."""
    state = start
    for one, appended, offset in history:
        state = evolve(state, one, effective_time(one, appended), (appended, offset))
    return state


@given(WITH_ERASURE, st.data())
def test_order_and_duplicates_change_nothing(history: list[Dated], data: st.DataObject) -> None:
    """Any permutation of facts with their first appends, any of them repeated, gives the same state."""
    facts = placed(history)
    repeated = data.draw(st.lists(st.sampled_from(facts), max_size=10)) if facts else []
    shuffled = data.draw(st.permutations([*facts, *repeated]))

    assert fold(shuffled) == fold(facts)


@given(HISTORIES, st.integers(0, 20))
def test_replaying_a_prefix_changes_nothing(history: list[Dated], length: int) -> None:
    """A crash that repeats any prefix leaves the state of one run."""
    facts = placed(history)
    once = fold(facts)

    assert fold(facts[:length], start=once) == once
    assert fold([*facts[:length], *facts]) == once


def gives_way(one: f.SubjectFact, history: Iterable[Placed]) -> bool:
    """Whether there are more refusals of its clock in a history than are kept for their append."""
    kinds = (f.PermissionGranted, f.PermissionDenied, f.PermissionRevoked, f.PermissionObserved)
    if not isinstance(one, kinds):
        return False
    alike = (o for o, *_ in history if isinstance(o, kinds) and o.installation == one.installation)
    return sum(register_of(o) == register_of(one) for o in alike) > REFUSALS_MAX


@given(st.lists(st.tuples(CONSENT_FACTS, st.integers(0, 20)), max_size=12))
def test_a_later_copy_of_a_fact_changes_nothing(history: list[tuple[Dated, int]]) -> None:
    """A producer's retry has a later append; it must not move the fact behind what was said in between."""
    once = placed(dated for dated, _ in history)
    firsts = {one.event_id: (one, appended) for one, appended, _ in once}
    copies = [
        (firsts[one.event_id][0], firsts[one.event_id][1] + later * 60_000)
        for (one, _), later in history
        if later and not gives_way(one, once)
    ]
    log = sorted([*((one, appended) for one, appended, _ in once), *copies], key=lambda dated: dated[1])
    offsets: dict[str, int] = {}
    state, repeated = EMPTY, EMPTY
    for offset, (one, appended) in enumerate(log):
        repeated = take_in(repeated, one, appended, offset)
        if one.event_id not in offsets:
            offsets[one.event_id] = offset
            state = take_in(state, one, appended, offset)

    assert repeated == state


@given(st.lists(PERMISSION_FACTS, max_size=12), st.data())
def test_no_copy_grants_anything(history: list[Dated], data: st.DataObject) -> None:
    """Also of a word that gave way long ago: what may not be pushed to without it may not be with it."""
    facts = placed(history)
    copies = data.draw(st.lists(st.sampled_from(facts), max_size=4)) if facts else []
    late = [(one, LATEST, len(facts) + number) for number, (one, _, _) in enumerate(copies)]

    once, twice = effective(phone(fold(facts))), effective(phone(fold([*facts, *late])))

    assert twice.permission in REFUSALS or once.permission not in REFUSALS


@given(st.lists(PERMISSION_FACTS, max_size=40), st.data())
def test_what_is_kept_is_bounded_and_forgets_no_refusal(history: list[Dated], data: st.DataObject) -> None:
    """A refusal that gave way was older, by every order, than one that stays."""
    facts = placed(history)
    several = [(changed(one, event_id=f"{one.event_id}-{n}"), a, o) for n, (one, a, o) in enumerate(facts)]
    state = phone(fold(data.draw(st.permutations(several))))

    assert len(state.grants) <= len(REGISTERS) + 1
    assert len(state.refusals) <= len(REGISTERS) * (REFUSALS_MAX + 2)
    everything = [phone(fold([one])).refusals for one in several]
    for (word,) in filter(None, everything):
        alike = [one for one in state.refusals if one.clock == word.clock]
        assert any(one.place >= word.place for one in alike)
        assert any(one.at >= word.at for one in alike)
        assert any((one.since, one.number) >= (word.since, word.number) for one in alike)


def phone(state: Consent) -> Installation:
    """The state of the phone."""
    return state.installations.get(installation_key("shop", PHONE)) or Installation()


@given(st.lists(PERMISSION_FACTS, max_size=12), st.integers(-3, 5), st.integers(0, 9), st.data())
def test_a_refusal_that_is_acknowledged_last_wins(
    history: list[Dated], later: int, sequence: int, data: st.DataObject
) -> None:
    """Whatever was said before, whoever says it now, by whatever clock: from then on nobody may push.

    But for a device that counts, where number and own time both say that the refusal is older.
    """
    facts = placed(history)
    state = fold(facts)
    source = data.draw(st.sampled_from(["device", "server", "import"]))
    number = sequence if source == "device" and data.draw(st.booleans()) else None
    at = NOON + later * 400_000
    kinds: list[f.SubjectFact] = [
        fact(f.PermissionDenied, at, source=source, sequence=number),
        fact(f.PermissionRevoked, at, source=source, sequence=number, cause="os_settings"),
        fact(f.PermissionObserved, at, source=source, sequence=number, permission="denied"),
    ]

    refusal = data.draw(st.sampled_from(kinds))
    after = effective(phone(fold([(refusal, LATEST, len(facts))], start=state)))

    newer = [g for g in phone(state).grants if g.clock == COUNTED and g.at > at and g.number > (number or 0)]
    assert after.permission in REFUSALS or (number is not None and newer)


@given(st.lists(PERMISSION_FACTS, max_size=12))
def test_a_grant_that_counts_comes_after_every_refusal_that_stands(history: list[Dated]) -> None:
    """No order that could be right puts a refusal after it, unless its own speaker answered that refusal."""
    installation = phone(fold(placed(history)))
    counted = effective(installation)

    if counted.permission in REFUSALS:
        return
    (grant,) = [g for g in installation.grants if g.place == counted.place]
    for refusal in installation.refusals:
        answers = [
            g
            for g in installation.grants
            if (g.clock == refusal.clock or max(g.clock, refusal.clock) < DEVICES_END)
            and comes_after(g, refusal)
        ]
        assert answers or comes_after(grant, refusal)
        if refusal.clock < DEVICES_END and not answers:
            assert counted.register == "server"
            assert grant.at > refusal.at + SKEW_MS
            assert grant.place > refusal.place


@given(HISTORIES)
def test_erasure_leaves_nothing(history: list[Dated]) -> None:
    """After it, and before it, no fact adds anything to the state."""
    erased = fact(f.SubjectErased, NOON), LATEST, 100
    facts = placed(history)

    state = fold([*facts, erased, *facts])

    assert state == Consent(erased_at=NOON)
