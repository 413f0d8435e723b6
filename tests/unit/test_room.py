"""Full rows: what gives way, what says so, and that what was granted stays exact."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from connectors import codec
from ledger import facts as f
from ledger.admission import ID_LENGTH_MAX
from ledger.consent import TOKENS_MAX, Consent, token_id
from ledger.journeys import fire
from ledger.policy import Cap
from ledger.subject import (
    CONTACTS_MAX,
    HELD_MAX,
    INSTANCES_MAX,
    ITEMS_MAX,
    Contact,
    wake_at,
)
from ledger.verify import LedgerFact, objections
from ledger.words import RANKS, Word
from processors.definitions import models
from processors.lane.writer import BATCH_BYTES_MAX
from tests.property.test_journey_laws import Life
from tests.support import row_sizes
from tests.support.given import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RECEIPT,
    SECOND,
    ZONES,
    changed,
    fact,
    journey,
    message,
    policy,
    setting,
)
from tests.unit.test_journeys import added, ends, live, reachable

ROOT: Final = Path(__file__).parents[2]
RECORD_BYTES: Final = 1_024
"""A record's key and framing, generously."""


def evictions(life: Life) -> list[tuple[str, int, str]]:
    """What gave way: part, how many, and for what."""
    return [(one.part, one.count, one.cause) for one in life.said if isinstance(one, f.StateEvicted)]


class TestItems:
    """An instance speaks of its newest items."""

    def test_the_oldest_item_gives_way(self) -> None:
        """And is named by the fact that needed the room."""
        adds = [added(NOON + n, f"i{n}") for n in range(ITEMS_MAX + 2)]
        life = live(*adds, until=NOON + HOUR)

        (instance,) = life.subject.instances
        assert instance.items == tuple(f"i{n}" for n in range(2, ITEMS_MAX + 2))
        assert evictions(life) == [("item", 1, adds[-2].event_id), ("item", 1, adds[-1].event_id)]
        assert len({one.event_id for one in life.said if isinstance(one, f.StateEvicted)}) == 2


class TestInstances:
    """Open journeys: one for each app here."""

    def test_the_oldest_ends_evicted(self) -> None:
        """Nothing more comes of it; the others go on."""
        adds = [added(NOON + n, app=f"app{n}") for n in range(INSTANCES_MAX + 1)]
        life = live(*adds, until=NOON + MINUTE)

        assert ends(life) == ["evicted"]
        assert len(life.subject.instances) == INSTANCES_MAX
        assert [instance.app for instance in life.subject.instances][:1] == ["app1"]
        assert evictions(life) == [("instance", 1, adds[-1].event_id)]
        life.pass_until(float("inf"))
        started = [one.instance for one in life.said if isinstance(one, f.JourneyStarted)]
        ended = [one.instance for one in life.said if isinstance(one, f.JourneyEnded)]
        assert sorted(started) == sorted(ended)
        assert len(life.decisions) == INSTANCES_MAX


class TestHeldCandidates:
    """Candidates that wait for the morning."""

    NIGHT = NOON + 10 * HOUR

    def night(self, count: int) -> Life:
        """So many carts that are left in one night, one after the other."""
        rules = policy(caps=())
        quick = journey(wait_ms=SECOND)
        adds = [added(self.NIGHT + n * MINUTE, f"i{n}") for n in range(count)]
        everything = [(one, one.occurred_at) for one in [*reachable(), *adds]]
        life = Life(setting(rules, quick, permissions_next=len(reachable()))).live(everything)
        return life.pass_until(self.NIGHT + count * MINUTE)

    def test_the_oldest_gets_a_final_decision(self) -> None:
        """Withheld for lack of room, once; nobody waits for it any longer."""
        life = self.night(HELD_MAX + 1)

        assert len(life.subject.held) == HELD_MAX
        last = life.decisions[-1]
        assert (last.verdict, last.reason, last.revision) == ("withhold", "evicted", 1)
        assert last.decision_id == life.decisions[0].decision_id
        assert evictions(life) == [("candidate", 1, life.decisions[-2].decision_id)]
        life.pass_until(float("inf"))
        finals = [one.decision_id for one in life.decisions if one.verdict != "hold"]
        assert len(finals) == len(set(finals)) == HELD_MAX + 1
        assert wake_at(life.subject) is None

    def test_it_can_be_derived_again(self) -> None:
        """That there was no room is among the recorded inputs."""
        life = self.night(HELD_MAX + 1)
        ledger: list[LedgerFact] = [
            (one, "permissions", number, one.occurred_at) for number, one in enumerate(reachable())
        ]

        assert all(objections(one, policy(caps=()), ZONES, ledger) == [] for one in life.decisions)


class TestContacts:
    """Slots of the caps are never forgotten: where no more can be kept, no more are granted."""

    FULL = tuple(
        Contact(f"d{n}", NOON - DAY + n, "marketing", "cart", ("shop/phone",), DAY)
        for n in range(CONTACTS_MAX)
    )

    def decided(self, contacts: tuple[Contact, ...], category: str, caps: tuple[Cap, ...] = ()) -> Life:
        """One candidate of somebody with these contacts."""
        said = message() if category == "marketing" else RECEIPT
        life = Life(setting(policy(caps=caps), journey(said=said)))
        life.live([(one, one.occurred_at) for one in reachable()])
        life.subject = changed(life.subject, contacts=contacts)
        return life.live([(one, one.occurred_at) for one in [added(NOON)]]).pass_until(float("inf"))

    def test_at_the_bound_marketing_is_withheld(self) -> None:
        """Also where no cap says so; a day later than the longest window there is room again."""
        life = self.decided(self.FULL, "marketing")

        assert [one.reason for one in life.decisions] == ["frequency_policy"]
        assert life.subject.contacts == self.FULL
        old = tuple(changed(one, at=one.at - 40 * DAY) for one in self.FULL)
        assert [one.verdict for one in self.decided(old, "marketing").decisions] == ["send"]
        nearly = self.decided(self.FULL[1:], "marketing")
        assert [one.verdict for one in nearly.decisions] == ["send"]
        assert len(nearly.subject.contacts) == CONTACTS_MAX

    def test_transactional_contacts_give_way_to_slots_and_to_newer_ones(self) -> None:
        """They are kept for what is credited to them, and take no slot."""
        mixed = (changed(self.FULL[0], category="transactional"), *self.FULL[1:])

        life = self.decided(mixed, "marketing")

        assert [one.verdict for one in life.decisions] == ["send"]
        assert [one.decision_id for one in life.subject.contacts[:-1]] == [
            f"d{n}" for n in range(1, CONTACTS_MAX)
        ]
        assert evictions(life) == [("contact", 1, life.decisions[0].decision_id)]

    def test_a_transactional_push_goes_out_where_there_is_no_room_for_it(self) -> None:
        """It is not remembered; no slot is lost for it."""
        life = self.decided(self.FULL, "transactional")

        assert [one.verdict for one in life.decisions] == ["send"]
        assert life.subject.contacts == self.FULL
        assert evictions(life) == [("contact", 1, life.decisions[0].decision_id)]

    def test_a_push_to_many_installations_takes_their_room(self) -> None:
        """What bounds the row is names, not contacts."""
        wide = tuple(
            Contact(f"w{n}", NOON - DAY, "transactional", "cart", ("shop/phone",) * 50, DAY)
            for n in range(CONTACTS_MAX // 50)
        )

        life = self.decided(wide, "marketing")

        assert [one.decision_id for one in life.subject.contacts[:-1]] == [
            f"w{n}" for n in range(1, len(wide))
        ]

    def test_a_policy_can_not_allow_more_than_can_be_kept(self) -> None:
        """A cap that would be withheld before it is reached is refused when it is read."""
        limits = [m.le for m in models.Cap.model_fields["max_pushes"].metadata if hasattr(m, "le")]

        assert limits == [CONTACTS_MAX]


class TestTokens:
    """An installation's addresses."""

    def test_a_live_address_that_is_pushed_out_is_told(self) -> None:
        """A dead one is a memory; so is one that comes again."""
        tokens = [
            fact(f.TokenRegistered, NOON + n, provider="console", token=f"t{n}")
            for n in range(TOKENS_MAX + 1)
        ]
        dead = fact(f.TokenInvalidated, NOON + 2, token_id=token_id("console", "t1"), reason="gone")
        life = Life(setting()).live([(one, one.occurred_at) for one in [*tokens[:3], dead, *tokens[3:]]])

        assert evictions(life) == [("token", 1, tokens[-1].event_id)]
        again = fact(f.TokenRegistered, NOON + 20, provider="console", token="new")
        life.live([(again, NOON + 20)])
        assert len(evictions(life)) == 1  # t1 was dead
        (installation,) = life.subject.consent.installations.values()
        assert len(installation.tokens) == TOKENS_MAX


class TestTheLargestRow:
    """The bounds together keep every row and every fact within what a record may hold."""

    @pytest.mark.parametrize("role", ["journeys", "delivery"])
    def test_it_fits_into_a_record(self, role: str) -> None:
        """A row that did not would end its worker, again and again."""
        _, raw = row_sizes.sizes()["maximal", role]

        assert len(raw) <= BATCH_BYTES_MAX - RECORD_BYTES

    @pytest.mark.parametrize("category", ["marketing", "transactional"])
    @pytest.mark.parametrize("reachable", [False, True])
    def test_its_decision_can_be_written(self, category: str, *, reachable: bool) -> None:
        """With every installation and a full cart in it; one that couldn't be would end its worker."""
        kind = message() if category == "marketing" else RECEIPT
        said = changed(kind, title="T" * 200, body="B" * 1_000)
        told = setting(policy(zones_otherwise=("Europe/Berlin",)), journey(said=said))
        version = told.definitions.journey_versions["cart"]
        full = row_sizes.maximal()[0]
        due = changed(full.instances[0], journey="cart", journey_version=version, due=NOON, at=0)
        consent = granted(full.consent) if reachable else full.consent
        contacts = () if reachable else full.contacts
        subject = changed(full, consent=consent, instances=(due,), held=(), contacts=contacts, failed=())

        _, said = fire(subject, "s" * ID_LENGTH_MAX, NOON, told)

        (decision,) = (one for one in said if isinstance(one, f.PushDecided))
        assert (decision.verdict == "send") == reachable
        assert codec.MAX_DECISION_BYTES / 4 < len(codec.encode(decision)) <= codec.MAX_DECISION_BYTES

    def test_the_page_says_how_large_rows_get(self) -> None:
        """Bytes on the changelog, to the digit; those in memory depend on the interpreter."""
        page = (ROOT / "docs/reference/changelog.md").read_text()

        for (size, role), (_, raw) in row_sizes.sizes().items():
            assert f"| {size} | {role} | {len(raw):,} |" in page


def granted(consent: Consent) -> Consent:
    """The same, but that every installation may be pushed to and nothing else stands against it."""
    word = Word(RANKS["authorized"], NOON, 1, NOON, 0)
    installations = {
        key: changed(
            one,
            grants=(word,),
            refusals=(),
            tokens=(changed(one.tokens[0], invalidated_at=-1),),
            time_zone=None,
        )
        for key, one in consent.installations.items()
    }
    off = {reason: changed(switch, on=False) for reason, switch in consent.suppressions.items()}
    free: Consent = changed(
        consent, installations=installations, suppressions=off, pause=None, quiet=None, unreadable=()
    )
    return free
