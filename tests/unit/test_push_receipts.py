"""What a phone says of a push: journeys may hear of it, and nobody used the app for it."""

from __future__ import annotations

import pytest

from ledger import facts as f
from ledger.journeys import react
from ledger.subject import NEW
from tests.support.given import ANN, HOUR, NOON, fact, setting


@pytest.mark.parametrize("kind", [f.PushDelivered, f.PushDismissed])
def test_a_receipt_is_no_activity(kind: type[f.SubjectFact]) -> None:
    """Neither recency nor a profile's counts move, and no place among the last events is taken."""
    seen, _ = react(NEW, ANN, fact(f.AppOpened, NOON), NOON, setting())

    after, said = react(seen, ANN, fact(kind, NOON + HOUR, push_id="push-1"), NOON + HOUR, setting())

    assert after == seen
    assert said == ()


def test_an_open_is_activity() -> None:
    """The same push, tapped."""
    seen, _ = react(NEW, ANN, fact(f.AppOpened, NOON), NOON, setting())

    after, _ = react(seen, ANN, fact(f.PushOpened, NOON + HOUR, push_id="push-1"), NOON + HOUR, setting())

    assert after.profile.opens == 1
    assert after.profile.last_active == NOON + HOUR
