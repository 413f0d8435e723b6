"""One broken person among 500, and garbage on every internal topic, through a real stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

import schemas
from connectors import codec
from connectors.kafka.publish import FactPublisher
from connectors.placement import partition_of
from ledger import facts as f
from processors.cli import app
from processors.lane.position import POSITION_KEY
from processors.lane.unreadable_state import EXIT_UNREADABLE_STATE
from processors.prepare import migrate_tables, publish
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers, Stack
from processors.topic_names import (
    CONSENT_CHANGELOG,
    CONTROL,
    DEAD_LETTERS,
    DECISIONS,
    DEFINITIONS,
    DELIVERIES,
    ITEM_CHANGES,
    ITEMS_CHANGELOG,
    JOURNEYS_CHANGELOG,
    LINKS,
    LINKS_CHANGELOG,
    REPLIES,
    SENDS_CHANGELOG,
    WATCHES,
)
from processors.wall_clock import wall_ms
from tests.support.broken_worker import BROKEN, MENDED_ENV
from tests.support.examples import example_of
from tests.support.given import fact
from tests.support.plain_reader import decode, read
from tests.support.replays import environment, wait_until
from tests.support.stack import PARTITIONS, TestServers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

OPERATED: Final = Path(__file__).parents[1] / "support" / "operated"
PEOPLE: Final = 500
SETTLE_S: Final = 120.0
GARBAGE: Final = 300
"""Records on each topic."""
INTERNAL: Final = (DECISIONS, DELIVERIES, DEAD_LETTERS, WATCHES, ITEM_CHANGES, CONTROL, REPLIES, DEFINITIONS)
STRANGER: Final = b"shop/stranger"
CHANGELOGS: Final = {
    JOURNEYS_CHANGELOG: "journeys",
    LINKS_CHANGELOG: "journeys",
    ITEMS_CHANGELOG: "journeys",
    CONSENT_CHANGELOG: "delivery",
    SENDS_CHANGELOG: "delivery",
}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says that texts are mended."""
    return tmp_path_factory.mktemp("broken") / "mended"


@pytest.fixture(scope="module")
def stack(servers: TestServers, mended: Path) -> Iterator[Stack]:
    """A worker of each role; texts of the journeys role are broken for some."""
    folder = mended.parent
    with servers.fresh(folder) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KAFKA_ENV, fresh.kafka_bootstrap)
        patch.setenv(CLICKHOUSE_ENV, fresh.clickhouse_url)
        with Stack(
            folder / "data",
            roles={"journeys": 1, "delivery": 1, "metrics": 1},
            env={"OPTIN_DEFINITIONS": str(OPERATED), MENDED_ENV: str(mended)},
            prepare=[migrate_tables],
            command=lambda role: [sys.executable, "-m", "tests.support.broken_worker", role],
        ) as running:
            running.start_roles()
            yield running


def append(stack: Stack, *facts: f.Fact) -> None:
    """Append facts, acknowledged."""

    async def run() -> None:
        async with FactPublisher(stack.kafka_bootstrap) as publisher:
            await publisher.publish(list(facts))

    asyncio.run(run())


def arrives(name: str, *, broken: bool = False) -> list[f.SubjectFact]:
    """Somebody reachable, with something in the cart."""
    at = wall_ms()
    here: dict[str, Any] = {"subject": name, "installation": f"phone-{name}"}
    attributes = {BROKEN: "1"} if broken else {"plan": "gold"}
    return [
        fact(f.InstallationSeen, at, **here, platform="ios", time_zone="Europe/Berlin"),
        fact(f.PermissionGranted, at, **here, level="authorized"),
        fact(f.TokenRegistered, at, **here, provider="console", token=f"token-{name}"),
        fact(f.SubjectAttributesSet, at, subject=name, attributes=attributes),
        fact(f.CartUpdated, at, **here, item="boots", change="added", event_id=f"cart-{name}"),
    ]


def optin(*words: str) -> str:
    """What a command prints on stdout; it must succeed."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def told(stack: Stack, topic: str, kind: str) -> list[dict[str, Any]]:
    """All facts of a kind that can be read."""
    found = []
    for record in asyncio.run(read(stack.kafka_bootstrap, topic)):
        with contextlib.suppress(Exception):  # garbage of ours
            name, fields = decode(record.value)  # type: ignore[misc]
            found += [fields] if name == kind else []
    return found


def decided(stack: Stack) -> Counter[tuple[str, str | None]]:
    """How many decisions there are, by verdict and reason."""
    return Counter((one["verdict"], one["reason"]) for one in told(stack, DECISIONS, "PushDecided"))


def letters(stack: Stack) -> list[dict[str, Any]]:
    """Dead letters of failed steps."""
    return [
        one for one in told(stack, DEAD_LETTERS, "RecordDeadLettered") if one["reason"] == "internal_error"
    ]


def test_everybody_else_is_served_and_the_broken_one_after_the_mend(stack: Stack, mended: Path) -> None:
    """499 pushes, one letter, no restart; replayed, the 500th. No command ends over it, `verify` agrees."""
    pids = stack.pids()
    append(stack, *(one for number in range(PEOPLE) for one in arrives(f"p{number}", broken=number == 77)))

    assert wait_until(lambda: len(told(stack, DELIVERIES, "PushAccepted")) >= PEOPLE - 1, SETTLE_S)
    assert wait_until(lambda: len(letters(stack)) == 1, SETTLE_S)
    assert decided(stack) == {("send", None): PEOPLE - 1}
    (letter,) = letters(stack)
    assert (letter["key"], letter["offset"], letter["topic"]) == (b"p77", -1, JOURNEYS_CHANGELOG)
    assert letter["detail"].startswith("OverflowError in ")
    append(stack, *arrives("late"))
    assert wait_until(lambda: decided(stack)["send", None] == PEOPLE, SETTLE_S)
    assert stack.pids() == pids

    mended.touch()
    assert "1 letters replayed" in optin("dead-letters", "replay", "--reason", "internal_error")
    assert wait_until(lambda: decided(stack)["send", None] == PEOPLE + 1, SETTLE_S)
    assert len({one["subject"] for one in told(stack, DELIVERIES, "PushAccepted")} - {"p77"}) == PEOPLE
    assert wait_until(lambda: len(told(stack, DELIVERIES, "PushAccepted")) == PEOPLE + 1, SETTLE_S)
    assert len(letters(stack)) == 1
    assert "internal_error" not in optin("dead-letters", "list")
    assert optin("verify")


def garbage(draw: random.Random, number: int) -> tuple[bytes | None, bytes | None]:
    """(key, value): random bytes, a golden example, whole or with a bit turned, or a tombstone."""
    key = draw.choice([None, b"nobody", draw.randbytes(12), b"p1", POSITION_KEY])
    match number % 4:
        case 0:
            return key, draw.randbytes(draw.randrange(1, 300))
        case 1:
            return draw.choice([b"nobody", draw.randbytes(9)]), None
    value = bytearray(codec.encode(example_of(draw.choice(KINDS))))
    if number % 4 == 2:
        value[draw.randrange(len(value))] ^= 1 << draw.randrange(8)
    return key, bytes(value)


KINDS: Final = [
    kind for kind in f.FACTS if (Path(schemas.__file__).parent / "examples" / kind.__name__).exists()
]


async def strew(bootstrap: str, draw: random.Random, topic: str) -> None:
    """Append garbage to a topic."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(GARBAGE):
            key, value = garbage(draw, number)
            if value is None and key is None:
                key = b"nobody"
            await producer.send(topic, value, key=key, partition=draw.randrange(partitions_of(topic)))
        await producer.flush()


def partitions_of(topic: str) -> int:
    """How many the topic has."""
    (count,) = (one.partitions for one in schemas.topics() if one.name == topic)
    return PARTITIONS if count == "default" else count


def test_garbage_on_our_own_topics_ends_no_role_and_no_command(stack: Stack) -> None:
    """300 records on each; afterwards somebody new is served, and every command answers."""
    pids = stack.pids()
    draw = random.Random(26)
    for topic in INTERNAL:
        asyncio.run(strew(stack.kafka_bootstrap, draw, topic))
    before = decided(stack)["send", None]
    append(stack, *(one for number in range(20) for one in arrives(f"new-{number}")))

    def served() -> int:
        return sum(one["subject"].startswith("new-") for one in told(stack, DELIVERIES, "PushAccepted"))

    assert wait_until(lambda: served() == 20, SETTLE_S), decided(stack) - Counter({("send", None): before})
    count = (
        "SELECT uniqExact(event_id) FROM delivery_facts WHERE fact = 'PushAccepted' AND subject LIKE 'new-%'"
    )
    assert wait_until(lambda: "20" in optin("sql", count), SETTLE_S)
    assert stack.pids() == pids
    optin("definitions", "show")
    optin("definitions", "history")
    optin("dead-letters", "list")
    optin("explain", "new-1")
    optin("campaign", "status")
    refused = Counter(one["reason"] for one in told(stack, DEAD_LETTERS, "RecordDeadLettered"))
    assert refused["unknown_definition"] > 0
    assert refused["misplaced_fact"] > 0


@pytest.mark.parametrize("topic", CHANGELOGS)
def test_garbage_on_a_changelog_is_named_by_its_place(
    topic: str, named_stack: Servers, tmp_path: Path
) -> None:
    """The worker ends, having written nothing, with the topic, the partition and the offset."""
    if topic not in {JOURNEYS_CHANGELOG, SENDS_CHANGELOG} and "OPTIN_TEST_LONG" not in os.environ:
        pytest.skip("the other lanes' changelogs in the long form only: OPTIN_TEST_LONG=1")
    publish(None)(named_stack)
    partition = partition_of(b"stranger", PARTITIONS)

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=named_stack.kafka_bootstrap) as producer:
            await producer.send_and_wait(topic, None, key=b"gone", partition=partition)
            await producer.send_and_wait(topic, b"\xff garbage", key=STRANGER, partition=partition)
            # A row of a claim is not looked at before somebody claims the installation.
            claim = codec.encode(
                f.InstallationClaimed(
                    event_id="claim-1",
                    app="shop",
                    occurred_at=wall_ms(),
                    source="device",
                    installation="stranger",
                    subject="ann",
                )
            )
            home = partition_of(b"stranger", PARTITIONS)
            await producer.send_and_wait(LINKS, claim, key=b"stranger", partition=home)

    asyncio.run(run())
    worker = subprocess.run(
        [sys.executable, "-m", "processors.cli", "worker", CHANGELOGS[topic]],
        env={**os.environ, **environment(named_stack), "OPTIN_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    said = worker.stdout + worker.stderr
    assert worker.returncode == EXIT_UNREADABLE_STATE, said[-2_000:]
    assert f"the record at offset 1 of {topic}/{partition}" in said
    assert "stranger" not in said
