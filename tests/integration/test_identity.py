"""Whose an installation is, through real Kafka: logins, logouts and shared devices, and pushes meanwhile.

One stack runs for all tests of this file; each has people and installations of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import msgpack
import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.kafka.publish import FactPublisher
from connectors.placement import partition_of
from ledger import facts as f
from processors.prepare import migrate_tables, publish
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Stack
from processors.wall_clock import wall_ms
from tests.support import link_oracle
from tests.support.given import fact
from tests.support.load import definitions
from tests.support.oracle import objections
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stack import TestServers

pytestmark = pytest.mark.stack

PARTITIONS: Final = 8
SETTLE_S: Final = 90.0
LEASE_S: Final = 2.0
PAIRS: Final = 24
_numbers = count()


@pytest.fixture(scope="module")
def stack(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The journeys and delivery roles over empty topics, with journeys that wait two seconds."""
    folder = tmp_path_factory.mktemp("identity")
    rules = definitions(folder / "definitions")
    # A session outlasts the moments for which a test stops a worker.
    env = {
        "OPTIN_DEFINITIONS": str(rules),
        "OPTIN_LEASE_S": str(LEASE_S),
        "OPTIN_SESSION_TIMEOUT_S": "25",
    }
    with servers.fresh(folder) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KAFKA_ENV, fresh.kafka_bootstrap)
        patch.setenv(CLICKHOUSE_ENV, fresh.clickhouse_url)
        roles = {"journeys": 1, "delivery": 1}
        with Stack(folder, roles=roles, env=env, prepare=[migrate_tables, publish(rules)]) as running:
            running.start_roles()
            yield running
            found = asyncio.run(link_oracle.objections(fresh.kafka_bootstrap, LEASE_S))
            assert found == []


def about(person: str, phone: str, kind: type[f.SubjectFact], **fields: Any) -> f.SubjectFact:
    """A fact about a person, on their phone if it has one, now."""
    here = {"installation": phone} if "installation" in kind.__struct_fields__ else {}
    return fact(kind, wall_ms(), subject=person, event_id=f"{person}-{next(_numbers)}", **here, **fields)


def reachable(person: str, phone: str) -> list[f.Fact]:
    """What the app reports of somebody who may be pushed to."""
    return [
        about(person, phone, f.InstallationSeen, platform="ios", time_zone="Europe/Berlin"),
        about(person, phone, f.PermissionGranted, level="authorized"),
        about(person, phone, f.TokenRegistered, provider="console", token=f"token-{phone}"),
    ]


def cart(person: str, phone: str) -> f.Fact:
    """Something in the cart: two seconds later a push is decided."""
    return about(person, phone, f.CartUpdated, item="boots", change="added")


def claimed(phone: str, person: str | None, **fields: Any) -> f.InstallationClaimed:
    """A login of somebody, or a logout."""
    known = {"event_id": f"{phone}-{next(_numbers)}", "app": "shop", "source": "device", "sequence": None}
    return f.InstallationClaimed(
        **{**known, "occurred_at": wall_ms(), "installation": phone, "subject": person, **fields}
    )


def append(stack: Stack, *facts: f.Fact) -> None:
    """Append facts, acknowledged, in this order."""

    async def run() -> None:
        async with FactPublisher(stack.kafka_bootstrap) as publisher:
            for one in facts:
                await publisher.publish([one])

    asyncio.run(run())


def on(stack: Stack, topic: str, person: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The facts of a topic about a person, or about everybody."""
    told = [decode(record.value) for record in asyncio.run(read(stack.kafka_bootstrap, topic))]
    return [one for one in told if one and person in {None, one[1].get("subject")}]


def links_of(stack: Stack, person: str) -> list[str]:
    """What the linker told of a person, in the order of their partition."""
    return [
        name
        for name, f in on(stack, "optin.permissions", person)
        if name in {link_oracle.LINK, link_oracle.UNLINK}
    ]


def decided(stack: Stack, person: str) -> list[tuple[str, str | None]]:
    """(verdict, reason) of a person's decisions."""
    return [
        (f["verdict"], f["reason"])
        for name, f in on(stack, "optin.decisions", person)
        if name == "PushDecided"
    ]


def outcomes(stack: Stack, person: str) -> list[str]:
    """What became of a person's pushes."""
    told = on(stack, "optin.deliveries", person)
    return [f"{name} {f['reason']}" if "reason" in f else name for name, f in told if name != "PushAttempted"]


def row(stack: Stack, person: str) -> Any:
    """A person's consent as the journeys role has it."""
    records = asyncio.run(read(stack.kafka_bootstrap, "optin.journeys-subjects-changelog"))
    rows = [record.value for record in records if record.key == person.encode()]
    return msgpack.unpackb(rows[-1])[1] if rows else None


def told(stack: Stack, person: str, links: list[str]) -> None:
    """Wait until the linker told this of a person, and the journeys role folds it.

    The unlinks of a chunk stand before its links, so their order on the topic says nothing.
    """

    def folded() -> bool:
        phones = (row(stack, person) or [{}])[0].values()
        return len(links_of(stack, person)) >= len(links) and any(max(phone[9:11]) > 0 for phone in phones)

    assert wait_until(folded, SETTLE_S), links_of(stack, person)
    assert sorted(links_of(stack, person)) == sorted(links)


def pushed(stack: Stack, person: str, wanted: list[str]) -> None:
    """Wait for the outcomes of a person's pushes."""
    assert wait_until(lambda: len(outcomes(stack, person)) >= len(wanted), SETTLE_S), decided(stack, person)
    assert outcomes(stack, person) == wanted


@pytest.mark.timeout(300)
def test_after_a_login_the_phone_is_the_subjects(stack: Stack) -> None:
    """A claim links it; permission and token are those that the app reports, and pushes go there."""
    append(stack, claimed("phone-in", "ina"), *reachable("ina", "phone-in"))
    told(stack, "ina", ["InstallationLinked"])
    append(stack, cart("ina", "phone-in"))

    pushed(stack, "ina", ["PushAccepted"])


@pytest.mark.timeout(300)
def test_after_a_logout_nobody_is_pushed_to(stack: Stack) -> None:
    """The phone is nobody's: its last user is withheld, though permission and token were never taken back."""
    append(stack, claimed("phone-out", "olaf"), *reachable("olaf", "phone-out"), claimed("phone-out", None))
    told(stack, "olaf", ["InstallationLinked", "InstallationUnlinked"])
    append(stack, cart("olaf", "phone-out"))

    assert wait_until(lambda: len(decided(stack, "olaf")) >= 1, SETTLE_S)
    assert decided(stack, "olaf") == [("withhold", "permission")]
    assert outcomes(stack, "olaf") == []


@pytest.mark.timeout(300)
def test_a_shared_device_is_handed_over(stack: Stack) -> None:
    """The former user gets nothing on it any more, the new one does; preferences stay with who chose them."""
    append(
        stack,
        claimed("shared", "anna"),
        *reachable("anna", "shared"),
        about("anna", "shared", f.TopicUnsubscribed, topic="cart_reminders"),
        about("anna", "shared", f.QuietHoursChosen, start_minute=0, end_minute=0),
        about("anna", "shared", f.FrequencyChosen, max_pushes=0, window="rolling_day"),
    )
    told(stack, "anna", ["InstallationLinked"])
    append(stack, claimed("shared", "bert"), *reachable("bert", "shared"))
    told(stack, "bert", ["InstallationLinked"])
    told(stack, "anna", ["InstallationLinked", "InstallationUnlinked"])
    # A tablet of her own would be reachable, but for what she chose.
    append(stack, *reachable("anna", "tablet"), cart("anna", "tablet"), cart("bert", "shared"))

    pushed(stack, "bert", ["PushAccepted"])
    assert wait_until(lambda: len(decided(stack, "anna")) >= 1, SETTLE_S)
    assert decided(stack, "anna") == [("withhold", "topic")]
    assert row(stack, "bert")[1:6] == [{}, None, None, None, {}]
    anna = row(stack, "anna")
    assert [anna[1]["cart_reminders"][1], anna[2][1:], anna[3][1:]] == [False, [0, "rolling_day"], [0, 0]]


@pytest.mark.timeout(300)
def test_who_logs_in_again_must_report_anew(stack: Stack) -> None:
    """Words and addresses from before the handover do not revive; those from after it count."""
    append(stack, claimed("back", "cleo"), *reachable("cleo", "back"), claimed("back", "dana"))
    append(stack, claimed("back", "cleo"))
    told(stack, "cleo", ["InstallationLinked", "InstallationUnlinked", "InstallationLinked"])
    append(stack, cart("cleo", "back"))
    assert wait_until(lambda: len(decided(stack, "cleo")) >= 1, SETTLE_S)
    assert decided(stack, "cleo") == [("withhold", "permission")]

    append(stack, *reachable("cleo", "back"), cart("cleo", "back"))

    pushed(stack, "cleo", ["PushAccepted"])
    told(stack, "dana", ["InstallationLinked", "InstallationUnlinked"])


@pytest.mark.timeout(300)
def test_a_second_copy_and_a_late_claim_change_nothing(stack: Stack) -> None:
    """A producer's retry of an old login, or one that was long under way, does not hand the phone back."""
    first = claimed("twice", "elsa", sequence=7)
    append(
        stack,
        first,
        claimed("twice", "fred", sequence=9),
        first,
        claimed("twice", "elsa", sequence=8),
        claimed("twice", "gina", sequence=10),
    )

    told(stack, "gina", ["InstallationLinked"])
    told(stack, "elsa", ["InstallationLinked", "InstallationUnlinked"])
    told(stack, "fred", ["InstallationLinked", "InstallationUnlinked"])


@pytest.mark.timeout(300)
def test_a_misplaced_claim_is_taken_home_and_a_bad_one_is_kept(stack: Stack) -> None:
    """A producer's other partitioner loses no login; a record that is no claim is a dead letter."""
    login = claimed("astray", "hugo")
    home = partition_of(b"astray", PARTITIONS)

    async def misplace() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
            for value in (codec.encode(login), b"junk"):
                place = (home + 1) % PARTITIONS if value != b"junk" else home
                await producer.send_and_wait("optin.links", value, key=b"astray", partition=place)

    asyncio.run(misplace())

    def letters() -> set[tuple[str, str]]:
        return {(f["topic"], f["reason"]) for _, f in on(stack, "optin.dead-letters")}

    told(stack, "hugo", ["InstallationLinked"])
    assert wait_until(lambda: letters() == {("optin.links", "not_single_object")}, SETTLE_S), letters()
    (again,) = [r for r in asyncio.run(read(stack.kafka_bootstrap, "optin.links")) if r.headers]
    assert (again.partition, again.value) == (home, codec.encode(login))


@pytest.mark.timeout(300)
def test_a_handover_between_decision_and_send_stops_the_push(stack: Stack) -> None:
    """The sender looks again: whoever lost the phone meanwhile is withheld, the others are sent to."""
    names = [(f"old-{number}", f"new-{number}", f"lent-{number}") for number in range(6)]
    for old, _, phone in names:
        append(stack, claimed(phone, old), *reachable(old, phone))
    for old, _, _ in names:
        told(stack, old, ["InstallationLinked"])
    sender = stack.pids()["delivery-0"]
    os.kill(sender, signal.SIGSTOP)
    try:
        append(stack, *(cart(old, phone) for old, _, phone in names))
        assert wait_until(lambda: all(decided(stack, old) for old, _, _ in names), SETTLE_S)
        append(stack, *(claimed(phone, new) for _, new, phone in names[:4]))
        for old, _, _ in names[:4]:
            told(stack, old, ["InstallationLinked", "InstallationUnlinked"])
        time.sleep(LEASE_S)
    finally:
        os.kill(sender, signal.SIGCONT)

    for old, _, _ in names[:4]:
        pushed(stack, old, ["PushWithheldLate unlinked"])
    for old, _, _ in names[4:]:
        pushed(stack, old, ["PushAccepted"])


@pytest.mark.timeout(300)
def test_no_push_goes_to_the_old_subject_once_the_unlink_is_acknowledged(stack: Stack) -> None:
    """Handovers and sends race on their partitions; the judge looks at the last attempt of each push."""
    draw = random.Random(5)
    pairs = [(f"from-{number}", f"to-{number}", f"race-{number}") for number in range(PAIRS)]
    append(stack, *(one for old, _, phone in pairs for one in (claimed(phone, old), *reachable(old, phone))))
    for old, _, _ in pairs:
        told(stack, old, ["InstallationLinked"])
    append(stack, *(cart(old, phone) for old, _, phone in pairs))
    time.sleep(1.0)
    for _, new, phone in draw.sample(pairs, PAIRS):
        append(stack, claimed(phone, new))
        time.sleep(draw.uniform(0, 2 / PAIRS))

    for old, new, _ in pairs:
        told(stack, old, ["InstallationLinked", "InstallationUnlinked"])
        told(stack, new, ["InstallationLinked"])

    def undecided() -> list[str]:
        return [old for old, _, _ in pairs if not decided(stack, old)]

    assert wait_until(lambda: not undecided(), SETTLE_S), undecided()
    sends = [old for old, _, _ in pairs if ("send", None) in decided(stack, old)]
    assert wait_until(lambda: all(outcomes(stack, old) for old in sends), SETTLE_S)
    shown = [outcomes(stack, old) for old in sends]
    print(f"{PAIRS - len(sends)} withheld by the gate, {shown.count(['PushWithheldLate unlinked'])} late")
    assert asyncio.run(link_oracle.objections(stack.kafka_bootstrap, LEASE_S)) == []


@pytest.mark.timeout(300)
def test_the_rows_are_the_fold_of_all_that_was_said(stack: Stack) -> None:
    """After everything above: links included, in the order of the topics or not."""
    found = asyncio.run(objections(stack.kafka_bootstrap))

    assert [words for words in found if "is not the fold" in words] == []
