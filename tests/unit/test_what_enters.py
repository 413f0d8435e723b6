"""Places, topics and tellings: what a fact may say of where, where it may stand, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from connectors import codec
from ledger import facts as f
from ledger.consent import EMPTY
from ledger.consent_fold import LedgerFact
from ledger.fold import fold
from ledger.gate import decide
from ledger.subject import NEW, Subject
from ledger.unreadable import FormerlyTaken
from ledger.verify import folded
from processors.agents import intake
from processors.agents.intake import Accepted, Refused
from tests.support.given import (
    ANN,
    DAY,
    HOUR,
    NOON,
    ZONES,
    changed,
    consent_view,
    fact,
    installation,
    journey,
    policy,
    setting,
    snapshot,
)

NIGHT_IN_LA = NOON - HOUR
"""03:00 in Los Angeles, 06:00 in New York."""


class TestPlaces:
    """Zones and countries."""

    @pytest.mark.parametrize(
        "zone", ["UTC", "GMT", "Etc/UTC", "Etc/GMT+8", "EST5EDT", "Factory", "GMT-8", None]
    )
    def test_what_is_no_place_does_not_outweigh_the_country(self, zone: str | None) -> None:
        """Then all zones of the country are looked at."""
        assert ZONES.plausible(zone, "US", ()) == ZONES.countries["US"]

    def test_alone_it_is_what_it_was(self) -> None:
        """And a place outweighs whatever country beside it: people travel."""
        assert ZONES.plausible("UTC", None, ("Asia/Tokyo",)) == ("UTC",)
        assert ZONES.plausible("Europe/Berlin", "US", ()) == ("Europe/Berlin",)
        assert ZONES.plausible("GMT+2", None, ("Asia/Tokyo",)) == ("Asia/Tokyo",)

    def test_somebody_who_hides_is_not_spoken_to_at_night(self) -> None:
        """Decisions of before say otherwise, and still derive so."""
        here = consent_view(installation(time_zone="UTC", country="US"))
        told = changed(snapshot(here), rules=1)
        quiet = policy(zones_otherwise=())

        assert decide(told, quiet, ZONES, NIGHT_IN_LA).reason == "quiet_hours"
        assert decide(changed(told, rules=0), quiet, ZONES, NIGHT_IN_LA).verdict == "send"

    @pytest.mark.parametrize(
        ("zone", "country", "nearest"),
        [
            ("Europe/Berln", None, "Europe/Berlin"),
            ("Berlin", None, "Europe/Berlin"),
            ("america/new york", None, "America/New_York"),
            (None, "UK", "GB"),
        ],
    )
    def test_what_does_not_exist_is_refused_with_the_nearest(
        self, zone: str | None, country: str | None, nearest: str
    ) -> None:
        """In the detail of the dead letter, which never repeats what was said."""
        refused = ZONES.refusal(zone, country)

        assert refused is not None
        assert refused[0] == ("unknown_time_zone" if zone else "unknown_country")
        assert refused[1].endswith(f"; nearest: {nearest}")

    @pytest.mark.parametrize("zone", ["Mars/Phobos", "Pacific Standard Time", "x" * 64])
    def test_no_name_is_better_than_a_wrong_one(self, zone: str) -> None:
        """Nothing is near."""
        refused = ZONES.refusal(zone, None)

        assert refused is not None
        assert "nearest" not in refused[1]

    def test_every_zone_and_country_is_taken(self) -> None:
        """And what some say instead of a zone."""
        for zone in ZONES.zones:
            assert ZONES.refusal(zone, None) is None
        for country in (*ZONES.countries, "us", "XK"):
            assert ZONES.refusal(None, country) is None
        for offset in ("GMT+2", "GMT+02:00", "UTC-0330"):
            assert ZONES.refusal(offset, None) is None


def read(one: f.Fact, topic: str) -> Accepted | Refused:
    """A fact as a record of a topic."""
    record = SimpleNamespace(
        topic=topic,
        key=ANN.encode(),
        value=codec.encode(one),
        headers=(),
        timestamp=NOON,
        partition=0,
        offset=7,
    )
    return intake.read(record)[1]


class TestTopics:
    """Where a fact stands."""

    @pytest.mark.parametrize(
        ("one", "topic"),
        [
            (fact(f.CartUpdated, item="boots", change="added"), "optin.permissions"),
            (fact(f.TokenRegistered, provider="apns", token="t"), "optin.permissions"),
            (fact(f.AppOpened), "optin.tokens"),
            (fact(f.TokenRegistered, provider="apns", token="t"), "optin.activity"),
        ],
    )
    def test_on_another_topic_it_is_refused(self, one: f.Fact, topic: str) -> None:
        """Naming where it belongs."""
        found = read(one, topic)

        assert isinstance(found, Refused)
        assert found.reason == "wrong_topic"
        assert found.detail == f"{type(one).__name__} belongs on {codec.topic_of(type(one))}"

    @pytest.mark.parametrize("topic", ["optin.permissions", "optin.tokens", "optin.activity"])
    def test_what_belongs_on_permissions_counts_anywhere(self, topic: str) -> None:
        """A no is never lost."""
        assert isinstance(read(fact(f.PermissionRevoked, cause="os_settings"), topic), Accepted)


class TestRulesOfBefore:
    """What a row folded, or did not, by the admission of before; `rule_from`: where today's begins."""

    LEDGER: tuple[LedgerFact, ...] = (
        (FormerlyTaken(fact(f.InstallationSeen, platform="ios", time_zone="Berlin")), "permissions", 0, NOON),
        (fact(f.PermissionGranted, level="authorized", installation="{8A}"), "permissions", 1, NOON),
        (fact(f.PermissionGranted, level="authorized", context="a\u3000b"), "permissions", 2, NOON),
    )

    def test_before_it_marks_stand_for_what_is_taken_today(self) -> None:
        """And what is refused today was folded."""
        row = folded(self.LEDGER, 3, upgrade=True)

        assert row.installations["shop/phone"].time_zone == "Berlin"
        assert [mark.first_offset for mark in row.unreadable] == [1, 2]

    def test_after_it_today_s_rule_counts(self) -> None:
        """For the same records."""
        row = folded(self.LEDGER, 0, upgrade=True)

        assert set(row.installations) == {"shop/phone", "shop/{8A}"}
        assert row.installations["shop/phone"].time_zone is None
        assert row.unreadable == EMPTY.unreadable


class TestTellings:
    """An order in parts, or again after an edit."""

    def cart(self) -> Subject:
        """Boots and a scarf in the cart, of somebody known."""
        subject = NEW
        for item in ("boots", "scarf"):
            subject, _ = self.step(subject, fact(f.CartUpdated, NOON, item=item, change="added"))
        return subject

    def step(self, subject: Subject, one: f.SubjectFact) -> tuple[Subject, list[str]]:
        """Fold one fact; how journeys ended and began by it."""
        thanks = journey(name="thanks", triggers=(THANKS,), exits=())
        at = one.occurred_at
        subject, facts = fold(subject, ANN, one, at, at, setting(policy(), journey(), thanks))
        ended = [one.outcome for one in facts if isinstance(one, f.JourneyEnded)]
        return subject, ended + [one.journey for one in facts if isinstance(one, f.JourneyStarted)]

    def order(self, minute: int, *items: str, **fields: Any) -> f.OrderPlaced:
        """A telling of the one order."""
        return fact(f.OrderPlaced, NOON + minute * 60_000, order_id="o1", items=items, **fields)

    @pytest.mark.parametrize("second", [("scarf",), ("boots", "scarf")])
    def test_every_telling_takes_its_items_out(self, second: tuple[str, ...]) -> None:
        """By line, or again and whole."""
        subject, first = self.step(self.cart(), self.order(10, "boots"))
        subject, then = self.step(subject, self.order(20, *second))

        assert (first, then) == (["thanks"], ["converted"])
        assert (subject.profile.orders, subject.profile.last_order) == (1, NOON + 600_000)
        assert [one.journey for one in subject.instances] == ["thanks"]

    def test_a_second_copy_of_a_telling_does_nothing(self) -> None:
        """A cart of after the order stays, whenever the copy comes."""
        told = self.order(10, "boots", "scarf")
        subject, _ = self.step(self.cart(), told)
        subject, _ = self.step(subject, fact(f.CartUpdated, NOON + DAY, item="boots", change="added"))

        assert self.step(subject, told) == (subject, [])

    def test_the_latest_amount_counts_in_any_order(self) -> None:
        """A telling without an amount says nothing of it; one in another currency moves it."""
        euro: dict[str, Any] = {"currency": "EUR"}
        first = self.order(10, "boots", amount_minor=5_000, **euro)
        edited = self.order(20, "boots", "scarf", amount_minor=8_000, **euro)
        silent = self.order(30, "hat")
        moved = self.order(40, "hat", amount_minor=9_000, currency="CHF")

        def value(*told: f.OrderPlaced) -> dict[str, int]:
            subject = NEW
            for one in told:
                subject, _ = self.step(subject, one)
            assert subject.profile.orders == 1
            return {name: amount for name, amount in subject.profile.value.items() if amount}

        assert value(first) == {"EUR": 5_000}
        assert value(first, edited) == value(edited, first) == value(first, edited, silent) == {"EUR": 8_000}
        assert value(silent, edited) == {}  # the latest telling stands, and has no amount
        assert value(first, edited, moved) == value(moved, first, edited) == {"CHF": 9_000}

    def test_another_order_counts_for_itself(self) -> None:
        """By its own id."""
        subject, _ = self.step(NEW, self.order(10, "boots", amount_minor=100, currency="EUR"))
        other = msgspec.structs.replace(
            self.order(20, "hat", amount_minor=200, currency="EUR"), order_id="o2", event_id="other"
        )
        subject, _ = self.step(subject, other)

        assert (subject.profile.orders, subject.profile.value) == (2, {"EUR": 300})


THANKS = changed(journey().triggers[0], fact="OrderPlaced", items=None, where={})
