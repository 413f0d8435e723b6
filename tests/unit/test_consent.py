"""Consent by example: whose word counts, and what makes somebody reachable."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import facts as f
from ledger.consent import (
    EMPTY,
    INSTALLATIONS_MAX,
    SKEW_MS,
    SUPPRESSIONS_MAX,
    TOPICS_MAX,
    Consent,
    evolve,
    token_id,
)
from ledger.consent_fold import refusal, take_in
from ledger.effective import Effective, current_token, effective
from ledger.snapshot import consent_view
from tests.support.given import HOUR, NOON, fact

LATER = NOON + HOUR


def after(*facts: f.SubjectFact) -> Consent:
    """The state after facts that were appended when they happened."""
    state = EMPTY
    for one in facts:
        state = evolve(state, one, one.occurred_at)
    return state


def permission(*facts: f.SubjectFact) -> Effective:
    """The permission of the phone that counts."""
    return effective(after(*facts).installations["shop/phone"])


def granted(at: int = NOON, **fields: Any) -> f.SubjectFact:
    """A grant."""
    return fact(f.PermissionGranted, at, **{"level": "authorized", **fields})


def revoked(at: int = NOON, **fields: Any) -> f.SubjectFact:
    """A revocation."""
    return fact(f.PermissionRevoked, at, **{"cause": "os_settings", **fields})


class TestWhoseWordCounts:
    """Each clock keeps its last word; the effective permission is computed from them."""

    def test_a_later_grant_of_the_device_stands(self) -> None:
        """Somebody who changed their mind in the settings of the phone."""
        assert permission(revoked(), granted(LATER)).permission == "authorized"

    def test_at_the_same_time_the_refusal_stands(self) -> None:
        """A tie goes to privacy."""
        assert permission(granted(), revoked()).permission == "denied"
        assert permission(revoked(), granted()).permission == "denied"

    def test_a_backend_cannot_undo_a_refusal_within_the_skew(self) -> None:
        """Clocks that differ by minutes must not turn a no into a yes."""
        late = NOON + SKEW_MS

        assert permission(revoked(), granted(late, source="server")).permission == "denied"
        assert permission(revoked(), granted(late + 1, source="server")).permission == "authorized"

    def test_a_backends_refusal_beats_the_devices_earlier_grant(self) -> None:
        """A person who said no on the phone line."""
        counted = permission(granted(), revoked(LATER, source="server:hotline", cause="hotline"))

        assert counted == Effective("denied", LATER, "server", (LATER, 0))

    def test_a_backends_old_refusal_does_not_beat_a_newer_grant(self) -> None:
        """It was said before the person agreed."""
        assert permission(revoked(source="server"), granted(LATER)).permission == "authorized"

    def test_a_devices_numbers_count_more_than_its_clock(self) -> None:
        """A phone whose clock was set back still knows what came last."""
        first, second = granted(LATER, sequence=1), revoked(NOON, sequence=2)

        assert permission(first, second).permission == "denied"
        assert permission(second, first).permission == "denied"

    def test_an_import_speaks_only_where_nobody_else_did(self) -> None:
        """Back-fills come last: they stand in for silence."""
        assert permission(granted(source="import")).register == "import"
        assert permission(granted(LATER, source="import"), granted()).register == "device"

    def test_an_unknown_word_is_read_as_a_refusal(self) -> None:
        """A newer app's level is no licence."""
        assert permission(granted(level="whispering")).permission == "denied"

    def test_an_observed_state_counts_like_a_change(self) -> None:
        """Apps often report what they find, not what they saw happen."""
        observed = fact(f.PermissionObserved, LATER, permission="denied")

        assert permission(granted(), observed) == Effective("denied", LATER, "device", (LATER, 0))


class TestTokens:
    """An address lives while nobody called it dead after its registration."""

    def test_the_latest_registered_address_is_the_current_one(self) -> None:
        """Whatever became of the earlier one."""
        state = after(
            fact(f.TokenRegistered, NOON, provider="apns", token="old"),
            fact(f.TokenRegistered, LATER, provider="apns", token="new"),
            fact(f.TokenInvalidated, LATER, token_id=token_id("apns", "old"), reason="gone"),
        )

        token = current_token(state.installations["shop/phone"])
        assert token is not None
        assert (token.token_id, token.live) == (token_id("apns", "new"), True)

    def test_a_registration_after_the_end_revives_the_address(self) -> None:
        """A provider's 410 that is older than the app's last start means nothing."""
        name = token_id("apns", "t")
        dead = fact(f.TokenInvalidated, NOON, token_id=name, reason="gone")
        again = fact(f.TokenRegistered, NOON + 1, provider="apns", token="t")

        for state in (after(dead, again), after(again, dead)):
            token = current_token(state.installations["shop/phone"])
            assert token is not None
            assert token.live

    def test_news_of_many_dead_addresses_leaves_the_current_one(self) -> None:
        """A provider's clean-up of old tokens makes nobody unreachable."""
        old = [fact(f.TokenInvalidated, LATER + n, token_id=f"old{n}", reason="gone") for n in range(20)]
        state = after(fact(f.TokenRegistered, NOON, provider="apns", token="mine"), *old)

        token = current_token(state.installations["shop/phone"])
        assert token is not None
        assert (token.token_id, token.live) == (token_id("apns", "mine"), True)

    def test_no_address_means_no_token(self) -> None:
        """A dead letterbox alone is no address."""
        state = after(fact(f.TokenInvalidated, token_id="x", reason="gone"))

        assert current_token(state.installations["shop/phone"]) is None


class TestBounds:
    """A subject's state has an end; what has no room is refused, what is there can still change."""

    @pytest.mark.parametrize(
        ("limit", "kind", "field", "reason"),
        [
            (INSTALLATIONS_MAX, f.PermissionDenied, "installation", "too_many_installations"),
            (TOPICS_MAX, f.TopicSubscribed, "topic", "too_many_topics"),
            (SUPPRESSIONS_MAX, f.SubjectSuppressed, "reason", "too_many_suppressions"),
        ],
    )
    def test_one_more_than_fits_is_refused(
        self, limit: int, kind: type[f.SubjectFact], field: str, reason: str
    ) -> None:
        """The last that fits is folded, the next is told why not."""

        def named(name: str) -> f.SubjectFact:
            fields: dict[str, Any] = {field: name}
            return fact(kind, **fields)

        state = after(*(named(f"n{number}") for number in range(limit)))

        assert refusal(state, fact(f.OrderPlaced, order_id="o", items=("a",), installation="a65th")) is None
        assert refusal(state, named("n0")) is None
        assert refusal(state, named("one-more")) == reason


class TestLinks:
    """Whose an installation is: after a handover nothing of the former person's time counts."""

    def linked(self, at: int) -> f.SubjectFact:
        """The phone is Ann's."""
        return fact(f.InstallationLinked, at, claim="c", source="processor")

    def unlinked(self, at: int) -> f.SubjectFact:
        """The phone is no longer Ann's."""
        return fact(f.InstallationUnlinked, at, claim="c", source="processor")

    def test_a_phone_that_nobody_claimed_is_as_it_was(self) -> None:
        """An app that never claims installations loses nothing."""
        assert permission(granted()).permission == "authorized"
        assert permission(granted(), self.linked(NOON)).permission == "authorized"

    def test_a_phone_that_changed_hands_is_usable_for_nothing(self) -> None:
        """Neither its grant nor its address, nor what its former owner's app still says."""
        state = after(
            granted(),
            fact(f.TokenRegistered, NOON, provider="apns", token="t"),
            self.unlinked(LATER),
            granted(LATER + 1),
            fact(f.TokenRegistered, LATER + 1, provider="apns", token="t"),
        )

        (view,) = consent_view(state, "shop", "carts").installations
        assert (view.permission, view.token_live) == ("unlinked", False)

    def test_what_was_said_before_does_not_revive(self) -> None:
        """Somebody else held the phone meanwhile: the app must say anew what it finds."""
        back = (granted(), self.unlinked(LATER), self.linked(LATER + 1))

        assert permission(*back).permission == "not_determined"
        assert permission(*back, granted(LATER)).permission == "not_determined"
        assert permission(*back, granted(LATER + 1)).permission == "authorized"

    def test_an_unlink_and_a_link_of_the_same_time_leave_it_unlinked(self) -> None:
        """A tie goes to privacy."""
        for both in ((self.linked(NOON), self.unlinked(NOON)), (self.unlinked(NOON), self.linked(NOON))):
            assert permission(*both).permission == "unlinked"

    def test_an_address_may_come_before_its_link(self) -> None:
        """Tokens and links come by different topics."""
        early = fact(f.TokenRegistered, LATER + 2, provider="apns", token="t")
        state = after(self.unlinked(LATER), early, self.linked(LATER + 1))

        token = current_token(state.installations["shop/phone"])
        assert token is not None
        assert token.live

    def test_a_linkers_fact_counts_from_its_own_time(self) -> None:
        """It is dated by the claims before it, which may be a moment ahead of the broker's clock."""
        state = take_in(take_in(EMPTY, self.unlinked(NOON + 5), NOON), self.linked(NOON + 6), NOON)

        assert state.installations["shop/phone"].linked_at == NOON + 6
        assert state.ahead == {}
