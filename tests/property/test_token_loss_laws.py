"""Laws of losses: an interval is ordered and true to what is known, and every death has a cause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.token_loss import _SAID, CAUSES, Interval, cause, interval
from tests.support.given import DAY, NOON

TIMES = st.integers(-400, 400).map(lambda days: NOON + days * DAY) | st.integers(NOON - 3, NOON + 3)
MAYBE = st.none() | TIMES
PROVIDERS = st.sampled_from([*_SAID, "console", ""])
WORDS = st.sampled_from(sorted({word for words in _SAID.values() for word in words})) | st.text(max_size=5)


@given(MAYBE, MAYBE, MAYBE, TIMES)
def test_an_interval_is_ordered_and_as_narrow_as_what_is_known(
    registered: int | None, accepted: int | None, gone: int | None, attempted: int
) -> None:
    """It ends no later than our attempt, and begins at the latest sign of life that is not after its end."""
    ok, first = interval(registered=registered, accepted=accepted, gone=gone, attempted=attempted)

    assert first in (gone, attempted)
    assert first <= attempted
    assert gone is None or first <= gone
    signs = {at for at in (registered, accepted) if at is not None}
    if ok is None:
        assert all(at > first for at in signs)
    else:
        assert ok in signs
        assert ok <= first
        assert not any(ok < at <= first for at in signs)


@given(PROVIDERS, WORDS, MAYBE, TIMES)
def test_every_death_has_a_cause(provider: str, said: str, ok: int | None, gone: int) -> None:
    """Whatever a provider says, also one that nobody has heard of."""
    assert cause(provider, said, Interval(ok, gone)) in CAUSES


@given(PROVIDERS, WORDS, TIMES, TIMES)
def test_only_how_long_it_was_quiet_counts(provider: str, said: str, ok: int, gone: int) -> None:
    """Not when that was: the same death a year later has the same cause."""
    later = Interval(ok + 365 * DAY, gone + 365 * DAY)

    assert cause(provider, said, Interval(ok, gone)) == cause(provider, said, later)
