"""Cart abandonment by example, and what opens and orders are credited to."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import facts as f
from ledger.attribution import opened, ordered
from ledger.definitions import UnknownDefinition, held_out
from ledger.ids import push_id
from ledger.journey import Holdout, Match
from ledger.journeys import fire
from ledger.subject import Contact, Subject, wake_at
from ledger.unreadable import mark
from tests.property.test_journey_laws import Life
from tests.support.given import ANN, DAY, HOUR, MINUTE, NOON, changed, fact, journey, policy, setting


def reachable() -> list[f.SubjectFact]:
    """What it takes to be pushed to."""
    return [
        fact(f.InstallationSeen, NOON - DAY, platform="ios", time_zone="Europe/Berlin"),
        fact(f.PermissionGranted, NOON - DAY, level="authorized"),
        fact(f.TokenRegistered, NOON - DAY, provider="console", token="t"),
    ]


def added(at: int, item: str = "boots", **fields: Any) -> f.SubjectFact:
    """An item put into the cart."""
    return fact(f.CartUpdated, at, item=item, change="added", **fields)


def bought(at: int, *items: str) -> f.SubjectFact:
    """An order."""
    return fact(f.OrderPlaced, at, order_id=f"o{at}", items=items)


def live(*facts: f.SubjectFact, until: float = float("inf"), **changes: Any) -> Life:
    """A reachable person's life up to an instant; `mark_at`: the offset of a record nobody could read."""
    mark_at = changes.pop("mark_at", None)
    life = Life(setting(changes.pop("rules", None), **changes))
    if mark_at is not None:
        life.subject = changed(life.subject, consent=mark(life.subject.consent, mark_at, NOON))
    return life.live([(one, one.occurred_at) for one in [*reachable(), *facts]]).pass_until(until)


def ends(life: Life) -> list[str]:
    """How instances ended."""
    return [one.outcome for one in life.said if isinstance(one, f.JourneyEnded)]


class TestTheInstance:
    """Started by an add, re-armed by another, emptied by orders, ended by its due time."""

    def test_a_left_cart_becomes_one_push_after_the_wait(self) -> None:
        """Counted from the last add; the instance carries every item once."""
        life = live(added(NOON), added(NOON + 30 * MINUTE, "scarf"), added(NOON + 40 * MINUTE))

        (decision,) = life.decisions
        assert decision.verdict == "send"
        assert decision.occurred_at == NOON + 100 * MINUTE
        assert decision.items == ("scarf", "boots")
        assert decision.send_before == decision.occurred_at + 15 * MINUTE

    def test_an_order_of_everything_converts(self) -> None:
        """Nothing is left to be reminded of."""
        life = live(added(NOON), added(NOON, "scarf"), bought(NOON + 1, "boots", "scarf", "hat"))

        assert ends(life) == ["converted"]
        assert life.decisions == []

    def test_an_order_of_something_leaves_the_rest(self) -> None:
        """The push speaks of what is still in the cart."""
        life = live(added(NOON), added(NOON, "scarf"), bought(NOON + 1, "boots"))

        assert [decision.items for decision in life.decisions] == [("scarf",)]

    def test_an_item_taken_out_empties_without_converting(self) -> None:
        """That is no sale."""
        life = live(added(NOON), fact(f.CartUpdated, NOON + 1, item="boots", change="removed"))

        assert ends(life) == ["emptied"]

    def test_what_one_journey_lets_go_may_begin_another(self) -> None:
        """A wish that arrives after the same item left the cart is no old add of the cart's journey."""
        wishes = journey(name="wishes", triggers=(Match(fact="ItemSaved", items="item"),), exits=())
        life = Life(setting(None, journey(), wishes)).live([(one, one.occurred_at) for one in reachable()])
        away = fact(f.CartUpdated, NOON + 1, item="boots", change="removed")
        late_wish = fact(f.ItemSaved, NOON, item="boots")

        life.live([(away, NOON + 1), (late_wish, NOON + 2)])

        assert [one.journey for one in life.said if isinstance(one, f.JourneyStarted)] == ["wishes"]

    def test_an_order_at_the_due_instant_comes_first(self) -> None:
        """Facts come before dues at one instant."""
        life = live(added(NOON), bought(NOON + HOUR, "boots"))

        assert ends(life) == ["converted"]

    def test_an_add_at_the_due_instant_rearms(self) -> None:
        """For the same reason."""
        life = live(added(NOON), added(NOON + HOUR, "scarf"))

        assert [decision.occurred_at for decision in life.decisions] == [NOON + 2 * HOUR]

    def test_a_later_add_starts_another_instance(self) -> None:
        """One candidate each."""
        life = live(added(NOON), added(NOON + 2 * HOUR))

        assert ends(life) == ["completed", "completed"]
        assert len({decision.decision_id for decision in life.decisions}) == 2

    def test_a_stale_add_starts_nothing(self) -> None:
        """A fact that was in a drawer for two days is no abandoned cart."""
        stale = added(NOON - 2 * DAY)
        life = Life(setting()).live([(one, one.occurred_at) for one in reachable()])

        from ledger.fold import fold

        after, said = fold(life.subject, ANN, stale, NOON, NOON, life.setting)

        assert after.instances == ()
        assert said == ()

    def test_the_same_fact_twice_counts_once(self) -> None:
        """A producer's retry re-arms nothing."""
        one = added(NOON)
        life = live(one, added(NOON + 10 * MINUTE, "scarf"), changed(one, occurred_at=NOON + 50 * MINUTE))

        assert [decision.occurred_at for decision in life.decisions] == [NOON + 70 * MINUTE]

    def test_a_late_copy_of_a_trigger_begins_nothing_again(self) -> None:
        """Also when the ids of so many other facts came in between that the copy is not recognised."""
        one = added(NOON)
        saves = [fact(f.ItemSaved, NOON + 61 * MINUTE + n, item=f"i{n}") for n in range(40)]
        life = live(one, *saves, changed(one, occurred_at=NOON + 2 * HOUR))

        assert len(ends(life)) == 1
        assert len(life.decisions) == 1

    def test_an_add_that_was_under_way_while_its_item_was_ordered_begins_nothing(self) -> None:
        """The phone was offline: its add arrives after the order that came later."""
        from ledger.fold import fold

        life = live(bought(NOON, "boots"), until=NOON + 1)
        offline = added(NOON - 30 * MINUTE)

        after, said = fold(life.subject, ANN, offline, NOON + HOUR, NOON + HOUR, life.setting)

        assert after.instances == ()
        assert said == ()
        again, _ = fold(life.subject, ANN, added(NOON), NOON + HOUR, NOON + HOUR, life.setting)
        assert len(again.instances) == 1


class TestHeldCandidates:
    """Decided again at the end of the quiet window, all checks."""

    NIGHT = NOON + 9 * HOUR + 30 * MINUTE  # an add at 22:30 in Berlin is due at 23:30
    MORNING = NOON + 19 * HOUR

    def test_a_hold_is_followed_by_a_final_revision(self) -> None:
        """Same decision id, next revision, at 08:00."""
        life = live(added(self.NIGHT))

        assert [(d.verdict, d.revision, d.occurred_at) for d in life.decisions] == [
            ("hold", 0, self.NIGHT + HOUR),
            ("send", 1, self.MORNING),
        ]
        assert len({decision.decision_id for decision in life.decisions}) == 1
        assert len({decision.event_id for decision in life.decisions}) == 2

    def test_what_was_ordered_meanwhile_needs_no_push(self) -> None:
        """withhold: goal_met, and nothing of the items is left."""
        life = live(added(self.NIGHT), bought(self.MORNING - 1, "boots"))

        assert [(d.verdict, d.reason) for d in life.decisions][-1] == ("withhold", "goal_met")

    def test_a_revocation_meanwhile_withholds(self) -> None:
        """The second look sees it."""
        no = fact(f.PermissionRevoked, self.MORNING - 1, cause="os_settings")

        assert [d.reason for d in live(added(self.NIGHT), no).decisions] == ["quiet_hours", "permission"]

    def test_a_hold_reserves_no_slot(self) -> None:
        """Caps count sends: the morning's first push is not stopped by itself."""
        from ledger.policy import Cap

        one_a_day = policy(caps=(Cap(max_pushes=1, window="rolling_day"),))
        life = live(added(self.NIGHT), added(self.NIGHT + 2 * HOUR, "scarf"), rules=one_a_day)

        assert [d.verdict for d in life.decisions] == ["hold", "hold", "send", "withhold"]
        assert life.decisions[-1].reason == "frequency_policy"

    def test_erasure_ends_all_of_it(self) -> None:
        """The open instance ends `erased`, the held candidate is withheld for it, the row keeps nothing."""
        life = live(added(self.NIGHT), added(self.NIGHT + 2 * HOUR, "hat"), until=self.NIGHT + 2 * HOUR)
        life.live([(fact(f.SubjectErased, self.NIGHT + 2 * HOUR + 1), self.NIGHT + 2 * HOUR + 1)])

        assert ends(life)[-1] == "erased"
        assert life.decisions[-1].reason == "erased"
        assert life.subject == Subject(consent=life.subject.consent)
        assert wake_at(life.subject) is None


class TestHoldout:
    """A sticky share of subjects is left alone, for comparison."""

    def test_everybody_or_nobody(self) -> None:
        """The verdict is held_out, recorded at the start already."""
        everybody = journey(holdout=Holdout(salt="s", percent=100))
        life = Life(setting(None, everybody)).live(
            [(one, one.occurred_at) for one in [*reachable(), added(NOON)]]
        )
        life.pass_until(float("inf"))

        started = [one for one in life.said if isinstance(one, f.JourneyStarted)]
        assert [one.holdout for one in started] == [True]
        assert [decision.verdict for decision in life.decisions] == ["hold_out"]

    def test_the_share_is_about_right_and_sticky(self) -> None:
        """10 % of ten thousand, give or take; the same people each time, others under another salt."""
        ten = Holdout(salt="a", percent=10)
        people = [f"p{number}" for number in range(10_000)]
        chosen = [name for name in people if held_out(ten, name)]

        assert 900 < len(chosen) < 1_100
        assert chosen == [name for name in people if held_out(ten, name)]
        assert chosen != [name for name in people if held_out(Holdout(salt="b", percent=10), name)]


class TestAttribution:
    """An open names its push; an order goes to the last push before it, within the window."""

    CONTACTS = tuple(
        Contact(f"d{number}", NOON + number * HOUR, "marketing", "cart", ("shop/phone",), DAY)
        for number in range(2)
    )

    def test_an_open_is_credited_once_to_the_push_that_it_names(self) -> None:
        """The earliest open stays; an unknown push changes nothing."""
        name = push_id("d0", "shop/phone")
        once = opened(self.CONTACTS, name, NOON + 5)

        assert [contact.opened_at for contact in once] == [NOON + 5, -1]
        assert opened(once, name, NOON + 9) == once
        assert opened(once, "nobodys", NOON + 9) == once

    def test_an_order_is_credited_to_the_last_push_before_it(self) -> None:
        """Once, and within a day."""
        first = ordered(self.CONTACTS, NOON + HOUR)
        assert [contact.ordered_at for contact in first] == [-1, NOON + HOUR]
        assert ordered(first, NOON + 2 * HOUR) == first
        assert ordered(self.CONTACTS, NOON + 26 * HOUR) == self.CONTACTS
        assert ordered(self.CONTACTS, NOON - 1) == self.CONTACTS


class TestTheRow:
    """What it cites must be known; its bytes are the business of tests/contract/test_rows.py."""

    def test_an_unknown_definition_is_no_decision(self) -> None:
        """The worker stops rather than decide by rules that it has not read."""
        life = live(added(NOON), until=NOON + 1)
        (instance,) = life.subject.instances
        strange = changed(life.subject, instances=(changed(instance, journey_version="never-published"),))

        with pytest.raises(UnknownDefinition, match="never-published"):
            fire(strange, ANN, NOON + HOUR, life.setting)
