"""A revocation that nobody can read: no marketing from then on, in both roles, until somebody saw to it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from processors.prepare import publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.integration.test_delivery import append, on, outcomes, reachable, sends
from tests.support import command_line
from tests.support.given import fact
from tests.support.load import definitions
from tests.support.oracle import objections
from tests.support.plain_reader import read
from tests.support.replays import environment, wait_until

SETTLE_S: Final = 60.0
PARTITIONS: Final = 8
PERMISSIONS: Final = "optin.permissions"


def optin(servers: Servers, *words: str) -> str:
    """What `optin ...` prints; it must succeed."""
    done = command_line.optin(servers, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def revocation(person: str) -> bytes:
    """A revocation on the wire."""
    at = wall_ms()
    revoked = fact(f.PermissionRevoked, at, subject=person, event_id=f"{person}-no-{at}", cause="os_settings")
    return codec.encode(revoked)


def append_raw(bootstrap: str, person: str, value: bytes, further: int = 0) -> None:
    """Append a record of permissions, `further` partitions away from where it belongs."""
    key = person.encode()
    partition = (partition_of(key, PARTITIONS) + further) % PARTITIONS

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(PERMISSIONS, value, key=key, partition=partition)

    asyncio.run(run())


def cart(bootstrap: str, person: str) -> None:
    """Somebody fills a cart once more."""
    at = wall_ms()
    added = fact(
        f.CartUpdated, at, subject=person, event_id=f"{person}-{at}", item=f"item-{at}", change="added"
    )
    append(bootstrap, [added])


def reasons(bootstrap: str, person: str) -> list[str]:
    """How the gate decided on a person's candidates, in their order; a verdict without a reason as it is."""
    decisions = [fields for name, fields in on(bootstrap, "optin.decisions") if name == "PushDecided"]
    return [f["reason"] or f["verdict"] for f in decisions if f["subject"] == person]


def marks(bootstrap: str, changelog: str, person: str) -> int:
    """How many marks a person's row has in a role."""
    rows = asyncio.run(read(bootstrap, f"optin.{changelog}-changelog"))
    found = [msgpack.unpackb(row.value) for row in rows if row.key == person.encode()]
    consents = [row[1] if changelog.startswith("journeys") else row[0][1] for row in found]
    return len(consents[-1][8]) if consents else 0


def letter_of(servers: Servers, person: str) -> str:
    """The letter that `optin explain` shows for an unreadable record of the person."""
    (found,) = re.findall(r"no marketing \(letter ([0-9a-f]{8})\)", optin(servers, "explain", person))
    return str(found)


@pytest.mark.timeout(300)
def test_an_unreadable_revocation_keeps_marketing_away_until_it_is_settled(
    named_stack: Servers, tmp_path: Path
) -> None:
    """Withheld by the gate and late by delivery; a replay to a mended reader, or a dismissal, ends it."""
    bootstrap = named_stack.kafka_bootstrap
    rules = definitions(tmp_path / "definitions", wait="1s")
    env = {"OPTIN_DEFINITIONS": str(rules)}

    def older(role: str) -> list[str]:
        return [sys.executable, "-m", "tests.support.older_reader", role]

    def decided(person: str, *wanted: str) -> bool:
        return wait_until(lambda: reasons(bootstrap, person) == [*wanted], SETTLE_S)

    people = ["cut", "new-word", "lost", "late"]
    with Stack(
        tmp_path / "older", roles={"journeys": 1}, env=env, prepare=[publish(rules)], command=older
    ) as stack:
        append(bootstrap, [one for person in people for one in reachable(person)])
        append_raw(bootstrap, "cut", revocation("cut")[:-3])
        append_raw(bootstrap, "new-word", revocation("new-word"))
        append_raw(bootstrap, "lost", revocation("lost")[:-3], further=3)
        stack.start_roles()
        assert decided("cut", "unreadable_fact")
        assert decided("new-word", "unreadable_fact")
        assert wait_until(lambda: marks(bootstrap, "journeys-subjects", "lost") == 1, SETTLE_S)
        assert decided("late", "send")
    cart(bootstrap, "lost")
    append_raw(bootstrap, "late", revocation("late")[:20])

    roles = {"journeys": 1, "delivery": 1}
    with Stack(tmp_path / "mended", roles=roles, env=env, prepare=[publish(rules)]) as stack:
        stack.start_roles()
        assert wait_until(lambda: "late" in outcomes(bootstrap), SETTLE_S)
        assert outcomes(bootstrap) == {"late": "PushWithheldLate unreadable_fact"}
        assert wait_until(lambda: reasons(bootstrap, "lost")[-1:] == ["unreadable_fact"], SETTLE_S)
        for person in people:
            assert marks(bootstrap, "journeys-subjects", person) == 1
            assert marks(bootstrap, "delivery-consent", person) == (person != "new-word")
        assert " 0 objections" in optin(named_stack, "verify")

        killed = replay_and_die(named_stack, letter_of(named_stack, "new-word"))
        assert killed.returncode == -9, killed.stderr
        cart(bootstrap, "new-word")
        assert decided("new-word", "unreadable_fact", "unreadable_fact")
        said = optin(named_stack, "dead-letters", "replay", letter_of(named_stack, "new-word"))
        assert said == "1 letters replayed\n"
        assert wait_until(lambda: marks(bootstrap, "journeys-subjects", "new-word") == 0, SETTLE_S)
        cart(bootstrap, "new-word")
        assert decided("new-word", "unreadable_fact", "unreadable_fact", "permission")

        optin(named_stack, "dead-letters", "dismiss", letter_of(named_stack, "cut"))
        said = optin(named_stack, "dead-letters", "dismiss", "--subject", "late")
        assert said == "1 letters dismissed; none of 1 unreadable records keeps marketing away now\n"
        for person in ("cut", "late"):
            assert wait_until(lambda p=person: marks(bootstrap, "journeys-subjects", p) == 0, SETTLE_S)  # type: ignore[misc]
            cart(bootstrap, person)
        assert decided("cut", "unreadable_fact", "send")
        assert decided("late", "send", "send")
        assert wait_until(lambda: outcomes(bootstrap).get("late") == "PushAccepted", SETTLE_S)
        assert outcomes(bootstrap)["cut"] == "PushAccepted"
        assert " 0 objections" in optin(named_stack, "verify")
        assert asyncio.run(objections(bootstrap)) == []
    assert "lost" not in sends(bootstrap)


def replay_and_die(servers: Servers, letter: str) -> subprocess.CompletedProcess[str]:
    """`optin dead-letters replay`, killed when the record is acknowledged and nothing else is yet."""
    return subprocess.run(
        [sys.executable, "-c", DIE_AFTER_THE_RECORD, "optin", "dead-letters", "replay", letter],
        env={**os.environ, **environment(servers)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


DIE_AFTER_THE_RECORD: Final = """\
import os, signal, sys
from connectors.kafka.append import Appender
honest = Appender.append
async def append(self, *where):
    await honest(self, *where)
    os.kill(os.getpid(), signal.SIGKILL)
Appender.append = append
sys.argv = sys.argv[1:]
from processors.cli import main
main()
"""


@pytest.mark.timeout(300)
def test_any_misplaced_record_is_taken_home_as_it_is(named_stack: Servers, tmp_path: Path) -> None:
    """Readable or not, longer than any fact or with nobody's key; the letter is written at home, once."""
    bootstrap = named_stack.kafka_bootstrap
    strange: list[tuple[bytes | None, bytes | None]] = [
        (b"junk-1", b"junk"),
        (b"junk-2", None),
        (b"\xff\x00", b"junk"),
        (b"junk-3", b"\xc3\x01" + bytes(900_000)),
        (b"x" * 600, b"junk"),
        (None, b"junk"),
    ]

    async def run() -> list[int]:
        places = []
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for key, value in strange:
                wrong = (partition_of(key, PARTITIONS) + 1) % PARTITIONS if key else 5
                await producer.send_and_wait(PERMISSIONS, value, key=key, partition=wrong)
                places.append(wrong)
        return places

    wrong = asyncio.run(run())

    def letters() -> list[Any]:
        return [fields for _, fields in on(bootstrap, "optin.dead-letters")]

    with Stack(tmp_path, roles={"journeys": 1}, prepare=[publish(None)]) as stack:
        stack.start_roles()
        assert wait_until(lambda: len(letters()) >= len(strange), SETTLE_S)
        found = letters()

    homes = [partition_of(key, PARTITIONS) if key and len(key) < 600 else 0 for key, _ in strange]
    homes[4:] = wrong[4:]
    cut = [value[:524_288] if value else value for _, value in strange]
    told = sorted((letter["partition"], letter["key"] or b"", letter["value"] or b"") for letter in found)
    wanted = zip(homes, strange, cut, strict=True)
    assert told == sorted((home, key or b"", value or b"") for home, (key, _), value in wanted)
