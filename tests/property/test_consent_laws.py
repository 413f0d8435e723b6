"""Laws of the consent fold: order and repetition change nothing, and a refusal wins."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ledger import facts as f
from ledger.consent import (
    EMPTY,
    REFUSALS,
    REGISTERS,
    SKEW_MS,
    Consent,
    Installation,
    evolve,
    installation_key,
)
from ledger.consent_fold import effective_time, take_in
from ledger.effective import effective
from tests.support.fact_strategies import CONSENT_FACTS, HISTORIES, PERMISSION_FACTS, TIMES, Dated
from tests.support.given import NOON, PHONE, fact

ERASURE = TIMES.map(lambda at: (fact(f.SubjectErased, at), at))
WITH_ERASURE = st.lists(st.one_of(CONSENT_FACTS, CONSENT_FACTS, CONSENT_FACTS, ERASURE), max_size=20)
LATEST = NOON + 100 * SKEW_MS


def fold(history: Iterable[Dated], start: Consent = EMPTY) -> Consent:
    """The state after a history."""
    state = start
    for one, appended in history:
        state = evolve(state, one, effective_time(one, appended))
    return state


@given(WITH_ERASURE, st.data())
def test_order_and_duplicates_change_nothing(history: list[Dated], data: st.DataObject) -> None:
    """Any permutation of a history with any of its facts repeated gives the same state."""
    repeated = data.draw(st.lists(st.sampled_from(history), max_size=10)) if history else []
    shuffled = data.draw(st.permutations([*history, *repeated]))

    assert fold(shuffled) == fold(history)


@given(HISTORIES, st.integers(0, 20))
def test_replaying_a_prefix_changes_nothing(history: list[Dated], length: int) -> None:
    """A crash that repeats any prefix leaves the state of one run."""
    once = fold(history)

    assert fold(history[:length], start=once) == once
    assert fold([*history[:length], *history]) == once


@given(st.lists(st.tuples(CONSENT_FACTS, st.integers(0, 20)), max_size=12))
def test_a_later_copy_of_a_fact_changes_nothing(history: list[tuple[Dated, int]]) -> None:
    """A producer's retry has a later append; it must not move the fact behind what was said in between."""
    firsts: dict[str, Dated] = {}
    for (one, appended), _ in history:
        firsts.setdefault(one.event_id, (one, appended))
    once = sorted(firsts.values(), key=lambda dated: dated[1])
    copies = [
        (firsts[one.event_id][0], firsts[one.event_id][1] + later * 60_000)
        for (one, _), later in history
        if later
    ]
    everything = sorted([*once, *copies], key=lambda dated: dated[1])
    state, repeated = EMPTY, EMPTY
    for one, appended in once:
        state = take_in(state, one, appended)
    for one, appended in everything:
        repeated = take_in(repeated, one, appended)

    assert repeated == state


def phone(state: Consent) -> Installation:
    """The state of the phone."""
    return state.installations.get(installation_key("shop", PHONE)) or Installation()


def latest_word(installation: Installation) -> int:
    """When any clock last said anything: a grant that counts, or that may come to count, is no later."""
    words = installation.device_counted, installation.device, installation.server, installation.imported
    return max((word.at for word in words if word), default=NOON)


@given(st.lists(PERMISSION_FACTS, max_size=12), st.integers(0, 5), st.data())
def test_a_refusal_at_or_after_the_effective_grant_wins(
    history: list[Dated], later: int, data: st.DataObject
) -> None:
    """Whatever was said before, and whoever says it now: from then on nobody may push."""
    state = fold(history)
    source = data.draw(st.sampled_from(["device", "server", "import"]))
    at = latest_word(phone(state)) + later * 50_000
    kinds: list[f.SubjectFact] = [
        fact(f.PermissionDenied, at, source=source),
        fact(f.PermissionRevoked, at, source=source, cause="os_settings"),
        fact(f.PermissionObserved, at, source=source, permission="denied"),
    ]

    after = effective(phone(evolve(state, data.draw(st.sampled_from(kinds)), at)))

    assert after.permission in REFUSALS


@given(st.lists(PERMISSION_FACTS, max_size=12), st.integers(6, 9))
def test_a_refusal_with_the_highest_number_wins_unless_it_is_older(
    history: list[Dated], sequence: int
) -> None:
    """A device that numbers its facts is believed in the order of its numbers."""
    state = fold(history)
    at = latest_word(phone(state))
    refusal = fact(f.PermissionRevoked, at, sequence=sequence, cause="os_settings")

    assert effective(phone(evolve(state, refusal, at))).permission in REFUSALS


@given(st.lists(PERMISSION_FACTS, max_size=12))
def test_no_refusal_at_or_after_what_counts_is_passed_over(history: list[Dated]) -> None:
    """If a grant counts, the last word of every clock that refuses is older."""
    installation = phone(fold(history))
    counted = effective(installation)
    words = dict(
        zip(
            REGISTERS,
            (
                installation.device_counted,
                installation.device,
                installation.server,
                installation.imported,
            ),
            strict=True,
        )
    )

    if counted.permission not in REFUSALS:
        refusals = [word.at for word in words.values() if word and word.permission in REFUSALS]
        assert all(at < counted.at for at in refusals)
        if counted.register in {"server", "import"}:
            device = [w for n, w in words.items() if w and n.startswith("device")]
            spoke_last = max(device, key=lambda w: w.at, default=None)
            assert spoke_last is None or counted.at > spoke_last.at + SKEW_MS
    elif counted.register:
        assert words[counted.register] is not None


@given(HISTORIES)
def test_erasure_leaves_nothing(history: list[Dated]) -> None:
    """After it, and before it, no fact adds anything to the state."""
    erased = fact(f.SubjectErased, NOON), LATEST

    state = fold([*history, erased, *history])

    assert state == Consent(erased_at=NOON)
