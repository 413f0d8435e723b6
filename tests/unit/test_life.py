"""A life on the core goes by a clock that never goes back."""

from __future__ import annotations

from ledger import facts as f
from ledger.life import Life
from tests.support.given import ANN, DAY, HOUR, NOON, fact, setting


def test_what_is_due_already_when_a_fact_arrives_happens_then() -> None:
    """A cart of noon that is heard of at three is spoken of at three, not at one."""
    life = Life(ANN, setting())
    life.fold_all(
        (one, one.occurred_at)
        for one in (
            fact(f.InstallationSeen, NOON - DAY, platform="ios", time_zone="Europe/Berlin"),
            fact(f.PermissionGranted, NOON - DAY, level="authorized"),
            fact(f.TokenRegistered, NOON - DAY, provider="console", token="t"),
        )
    )

    life.fold(fact(f.CartUpdated, NOON, item="boots", change="added"), NOON + 3 * HOUR, NOON + 3 * HOUR)
    life.pass_until(float("inf"))

    (decided,) = (one for one in life.said if isinstance(one, f.PushDecided))
    assert (decided.verdict, decided.candidate_at, decided.occurred_at) == (
        "send",
        NOON + 3 * HOUR,
        NOON + 3 * HOUR,
    )
