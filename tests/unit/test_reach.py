"""The delivery role's own look: an installation that changed hands is refused, and its address forgotten."""

from __future__ import annotations

import pytest

from ledger import facts as f
from ledger.reach import NOBODY, Reach, address, fold, late_refusal, trial_refusal
from tests.support.given import HOUR, NOON, changed, fact, policy
from tests.unit.test_journeys import added, live

GRANTED = fact(f.PermissionGranted, NOON, level="authorized")
REGISTERED = fact(f.TokenRegistered, NOON, provider="apns", token="secret")
UNLINKED = fact(f.InstallationUnlinked, NOON + 1, claim="c", source="processor")
LINKED = fact(f.InstallationLinked, NOON + 2, claim="d", source="processor")


def after(*facts: f.SubjectFact) -> Reach:
    """The row after facts that were appended when they happened."""
    row = NOBODY
    for one in facts:
        row = fold(row, one, one.occurred_at)
    return row


def late(row: Reach, category: str) -> str | None:
    """Why a push that was decided for the phone must not go."""
    (decision,) = live(added(NOON)).decisions
    anew = changed(decision, category=category, topic="carts", send_before=NOON + HOUR)
    return late_refusal(row, anew, "phone", policy(), NOON + 3)


@pytest.mark.parametrize("category", ["marketing", "transactional"])
def test_an_unlinked_installation_is_refused_for_everything(category: str) -> None:
    """Also for what needs no consent: it would reach somebody else."""
    assert late(after(GRANTED, REGISTERED), category) is None
    assert late(after(GRANTED, REGISTERED, UNLINKED), category) == "unlinked"


def test_an_unlink_drops_the_address_for_good() -> None:
    """Logging in again does not bring it back; registering it again does."""
    assert after(GRANTED, REGISTERED).addresses != {}
    assert after(GRANTED, REGISTERED, UNLINKED).addresses == {}
    assert after(GRANTED, REGISTERED, UNLINKED, LINKED).addresses == {}
    assert after(UNLINKED, LINKED, REGISTERED).addresses == {}
    again = changed(REGISTERED, event_id="again", occurred_at=NOON + 3)
    for order in ((UNLINKED, LINKED, again), (UNLINKED, again, LINKED)):
        assert address(after(*order), "shop/phone") == ("apns", "secret")
    assert address(after(UNLINKED, again), "shop/phone") is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ((GRANTED, REGISTERED), None),
        ((GRANTED,), "token"),
        ((REGISTERED,), "permission"),
        ((GRANTED, REGISTERED, UNLINKED), "unlinked"),
        ((GRANTED, REGISTERED, fact(f.SubjectErased, NOON + 9)), "erased"),
    ],
)
def test_a_trial_needs_permission_and_an_address(facts: tuple[f.SubjectFact, ...], why: str | None) -> None:
    """An operator's push is no way around a person's no."""
    assert trial_refusal(after(*facts), "shop", "phone", policy()) == why


def test_a_push_that_could_leave_after_its_end_does_not_begin() -> None:
    """Handing it over may take as long as a lease; its end is not inside of one."""
    row = after(GRANTED, REGISTERED)
    (decision,) = live(added(NOON)).decisions
    anew = changed(decision, category="marketing", topic="carts", send_before=NOON + HOUR)

    def why(now: int) -> str | None:
        return late_refusal(row, anew, "phone", policy(), now, takes_ms=10_000)

    assert why(NOON + HOUR - 10_001) is None
    assert why(NOON + HOUR - 10_000) == "expired"
