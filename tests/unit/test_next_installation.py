"""A marketing push whose address is refused goes to the person's next installation, at most once to them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

import pytest

from connectors import codec
from connectors.push.port import ACCEPTED, ErrorClass, Outcome, Push
from ledger import facts as f
from ledger import policy as p
from ledger import reach
from ledger.consent import installation_key
from ledger.effective import current_token
from ledger.gate import decide
from ledger.ids import push_id
from ledger.room import released
from ledger.snapshot import consent_view, encode_snapshot
from ledger.subject import Contact, Subject
from processors.agents import reach_rows
from processors.agents.delivery_facts import Lease
from processors.agents.push_sender import PushSenderHandler
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from processors.topic_names import DELIVERIES
from tests.support.given import HOUR, MINUTE, NOON, ZONES, OnePolicy, decision, fact, policy, snapshot

PHONE, TABLET, WATCH = "phone", "tablet", "watch"
LAST_ACTIVE = {PHONE: NOON - 1, TABLET: NOON - 2, WATCH: NOON - 3}
BUSY = Outcome("rejected", "transient", "ServiceUnavailable")
NOBODY_KNOWS = Outcome("unknown", error="timeout")


def no(error_class: ErrorClass) -> Outcome:
    """A refusal."""
    return Outcome("rejected", error_class, "Unregistered")


class Person:
    """Somebody with three devices, the phone used last; providers answer by installation."""

    def __init__(self, answers: dict[str, Outcome], zone: str = "UTC", **of_decision: Any) -> None:
        self.answers = answers
        self.got: list[str] = []
        self.emitted: list[f.Fact] = []
        self.reach = reach.NOBODY
        self.policy = policy()
        self.now = NOON
        for device in LAST_ACTIVE:
            self.told(f.InstallationSeen, device, platform="ios", time_zone="UTC")
            self.told(f.PermissionGranted, device, level="authorized")
            self.told(f.TokenRegistered, device, provider="apns", token=f"token-{device}")
        self.decided = self._decided(of_decision)
        self.told(f.InstallationSeen, TABLET, platform="ios", time_zone=zone, at=NOON - 1)
        self.table = LaneTable("changelog", reach_rows.ROWS)
        self.table.partitions[0] = Partition()
        self.handler = PushSenderHandler(
            self,
            OnePolicy(self.policy),
            lambda *_: self.reach,
            self._barrier,
            Lease(60.0, 1.0),
            lambda: self.now,
            append_all=self._append_all,
        )

    def told(self, kind: type[Any], device: str, at: int = NOON - HOUR, **more: Any) -> None:
        """A fact about a device."""
        self.reach = reach.fold(self.reach, fact(kind, at, installation=device, **more), at)

    def _decided(self, more: dict[str, Any]) -> f.PushDecided:
        view = consent_view(self.reach.consent, "shop", "carts")
        active = tuple(LAST_ACTIVE[one.key.partition("/")[2]] for one in view.installations)
        seen = snapshot(view, last_active=active)
        verdict = decide(seen, self.policy, ZONES, NOON)
        assert verdict.installations == ("shop/phone",)
        known: dict[str, Any] = {"installations": (PHONE,), "snapshot": encode_snapshot(seen)}
        known["send_before"] = verdict.send_before
        return decision(**(known | more))

    async def _barrier(self, *_: int) -> bool:
        return True

    async def _append_all(self, records: Sequence[Any]) -> None:
        pass

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """The device's answer."""
        devices = [push.token.removeprefix("token-") for push in pushes]
        self.got += devices
        return [self.answers.get(device, ACCEPTED) for device in devices]

    def deliver(self) -> list[tuple[str, str, str | None]]:
        """Hand the decision over: (outcome, installation, the next one) in the order of their record."""
        transaction = Transaction(self.table, 0, self.now)
        for device in self.decided.installations:
            self.handler._attempt(self.decided, device, 1, time.monotonic(), transaction)
        while True:
            self.emitted += [codec.decode(value) for _, value in transaction.outputs.get(DELIVERIES, ())]
            self.table.apply(0, transaction.rows, transaction.position())
            if not transaction.effects:
                break
            results = asyncio.run(self.handler.after(0, transaction.effects))
            transaction = Transaction(self.table, 0, self.now)
            for result in results:
                self.handler.conclude(result, transaction)
        return [
            (type(one).__name__, one.installation, getattr(one, "next_installation", None))
            for one in self.emitted
            if isinstance(one, f.DeliveryFact) and not isinstance(one, f.PushAttempted)
        ]


@pytest.mark.parametrize("error_class", ["token_dead", "unlisted_service"])
def test_the_next_one_gets_what_the_address_of_the_chosen_one_refused(error_class: ErrorClass) -> None:
    """In the order in which the gate chooses; each has an attempt and one outcome, and ids of its own."""
    person = Person({PHONE: no(error_class), TABLET: no(error_class)})

    assert person.deliver() == [
        ("PushRejected", PHONE, TABLET),
        ("PushRejected", TABLET, WATCH),
        ("PushAccepted", WATCH, None),
    ]
    assert person.got == [PHONE, TABLET, WATCH]
    attempts = [one for one in person.emitted if isinstance(one, f.PushAttempted)]
    assert [one.push_id for one in attempts] == [push_id("decision-1", f"shop/{one}") for one in person.got]


def test_who_has_no_other_gets_nothing() -> None:
    """The last refusal names nobody."""
    person = Person({PHONE: no("token_dead"), TABLET: no("token_dead"), WATCH: no("token_dead")})
    assert person.deliver()[-1] == ("PushRejected", WATCH, None)


@pytest.mark.parametrize("answer", [ACCEPTED, NOBODY_KNOWS, no("payload"), no("credential"), BUSY])
def test_only_a_refusal_for_the_address_s_sake_passes_it_on(answer: Outcome) -> None:
    """Never what may have been shown; and what is wrong elsewhere would be wrong there, too."""
    person = Person({PHONE: answer})
    person.deliver()
    assert person.got == [PHONE]


def test_an_address_that_died_since_the_decision_passes_it_on_at_the_last_look() -> None:
    """Two pushes were decided, and the first found the address dead."""
    person = Person({})
    dead = current_token(person.reach.consent.installations["shop/phone"])
    assert dead is not None
    person.told(f.TokenInvalidated, PHONE, NOON, token_id=dead.token_id, reason="Unregistered")
    assert person.deliver() == [("PushWithheldLate", PHONE, TABLET), ("PushAccepted", TABLET, None)]
    assert person.got == [TABLET]


def test_a_person_who_says_no_on_the_chosen_one_is_not_addressed_on_another() -> None:
    """That is no fault of an address."""
    person = Person({})
    person.told(f.PermissionRevoked, PHONE, NOON, cause="settings")
    assert person.deliver() == [("PushWithheldLate", PHONE, None)]
    assert person.got == []


@pytest.mark.parametrize(
    ("kind", "more"),
    [(f.PermissionRevoked, {"cause": "settings"}), (f.TopicUnsubscribed, {"topic": "carts"})],
)
def test_the_next_one_s_consent_is_looked_at(kind: type[Any], more: dict[str, Any]) -> None:
    """As it is by now: a device that was revoked is passed by, and a topic that was left ends it."""
    person = Person({PHONE: no("token_dead")})
    for_device = {} if kind is f.TopicUnsubscribed else {"installation": TABLET}
    person.reach = reach.fold(person.reach, fact(kind, NOON, **for_device, **more), NOON)
    person.deliver()
    assert person.got == ([] if kind is f.TopicUnsubscribed else [PHONE, WATCH])


@pytest.mark.parametrize(("zone", "next_one"), [("Europe/Paris", TABLET), ("America/Los_Angeles", WATCH)])
def test_the_next_one_s_night_is_respected(zone: str, next_one: str) -> None:
    """The decision's time limit was set where the chosen one is; at noon there it is night elsewhere."""
    person = Person({PHONE: no("token_dead")}, zone)
    person.deliver()
    assert person.got == [PHONE, next_one]


def test_not_after_its_time_is_over() -> None:
    """A push that could leave after its limit does not begin."""
    person = Person({PHONE: no("token_dead")})
    assert person.decided.send_before is not None
    person.answers = {PHONE: no("token_dead")}
    answer = person.send

    async def late(pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        assert person.decided.send_before is not None
        person.now = person.decided.send_before - MINUTE // 2
        return await answer(pushes, until_s=until_s)

    person.send = late  # type: ignore[method-assign]
    assert person.deliver() == [("PushRejected", PHONE, None)]


def test_an_installation_with_the_same_address_is_passed_by() -> None:
    """It is as dead there."""
    person = Person({PHONE: no("token_dead")})
    person.told(f.TokenRegistered, TABLET, NOON - 1, provider="apns", token=f"token-{PHONE}")
    person.deliver()
    assert person.got == [PHONE, WATCH]


def test_a_transactional_push_goes_to_all_once() -> None:
    """It needs no other way."""
    person = Person({PHONE: no("token_dead")}, category="transactional", installations=(PHONE, TABLET))
    person.deliver()
    assert person.got == [PHONE, TABLET]


def test_what_a_decision_of_a_foreign_snapshot_chose_is_its_only_choice() -> None:
    """One that can't be read names nobody else."""
    person = Person({PHONE: no("token_dead")}, snapshot=b"")
    assert person.deliver() == [("PushRejected", PHONE, None)]


def test_the_slot_of_a_cap_goes_along_and_is_given_back_at_the_end_alone() -> None:
    """One decision, one slot, however many addresses were refused; opens are credited where it arrived."""
    name = push_id("decision-1", "shop/phone")

    def said(device: str, to: str | None) -> f.PushRejected:
        about: dict[str, Any] = {
            "push_id": name,
            "decision_id": "decision-1",
            "provider": "apns",
            "error": "",
        }
        return fact(
            f.PushRejected,
            installation=device,
            error_class="token_dead",
            next_installation=to,
            **about,
        )

    contact = Contact("decision-1", NOON, "marketing", "cart", ("shop/phone",), HOUR)
    subject = Subject(contacts=(contact,))
    passed = released(subject, said(PHONE, TABLET))
    assert [one.installations for one in passed.contacts] == [(installation_key("shop", TABLET),)]
    assert released(passed, said(TABLET, None)).contacts == ()


def test_the_policy_of_the_decision_decides_who_may_have_it() -> None:
    """Not one that came into force since."""
    person = Person({PHONE: no("token_dead")})
    strict: p.Policy = policy(marketing_permissions=())
    person.handler._policies = OnePolicy(strict)
    person.deliver()
    assert person.got == []
