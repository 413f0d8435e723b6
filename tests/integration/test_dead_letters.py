"""Bad records through real Kafka: each is in dead-letters whole, good ones beside it are folded."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from ledger.consent import UNREADABLE_MAX
from ledger.unreadable import leaves_mark
from processors.prepare import migrate_tables, publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.support import command_line
from tests.support.given import changed, fact
from tests.support.oracle import fold
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stored_permission import stored_permission

PARTITIONS: Final = 8
SETTLE_S: Final = 60.0
PERMISSIONS: Final = "optin.permissions"
TOKENS: Final = "optin.tokens"
ACTIVITY: Final = "optin.activity"

Bad = tuple[str, str, bytes | None, bytes | None]
"""Topic, expected reason, key, value."""


def good(subject: str, kind: type[f.SubjectFact], **fields: Any) -> f.SubjectFact:
    """A fact that the ledger accepts."""
    return fact(kind, wall_ms() - 1_000, subject=subject, event_id=f"{subject}-{kind.__name__}", **fields)


def bad_records(draw: random.Random) -> list[Bad]:
    """One of each kind of bad record that anybody could put on our topics."""
    seen = codec.encode(good("neighbour", f.InstallationSeen, platform="ios", time_zone="Europe/Berlin"))
    cart = codec.encode(good("neighbour", f.CartUpdated, item="boots", change="added"))
    key = b"neighbour"

    def odd(kind: type[f.SubjectFact], **fields: Any) -> bytes:
        return codec.encode(fact(kind, **{"at": wall_ms(), "subject": "neighbour", **fields}))

    return [
        (PERMISSIONS, "truncated", key, seen[:-3]),
        (ACTIVITY, "truncated", key, cart[:25]),
        (PERMISSIONS, "not_single_object", key, draw.randbytes(200)),
        (TOKENS, "not_single_object", key, draw.randbytes(7)),
        (PERMISSIONS, "unknown_schema", key, b"\xc3\x01" + draw.randbytes(8) + seen[10:]),
        (PERMISSIONS, "trailing_bytes", key, seen + b"\x00"),
        (PERMISSIONS, "empty", key, None),
        (PERMISSIONS, "key_mismatch", b"somebody-else", seen),
        (ACTIVITY, "key_mismatch", None, cart),
        (PERMISSIONS, "oversized", key, seen + bytes(codec.MAX_FACT_BYTES)),
        (PERMISSIONS, "absurd_time", key, odd(f.PermissionDenied, at=-5)),
        (PERMISSIONS, "from_the_future", key, odd(f.PermissionDenied, at=wall_ms() + 3_600_000)),
        (PERMISSIONS, "absurd_identifier", key, odd(f.PermissionDenied, installation="")),
        (PERMISSIONS, "absurd_identifier", key, odd(f.PermissionDenied, installation="x" * 200)),
        (PERMISSIONS, "absurd_text", key, odd(f.PermissionDenied, context="order\u202eturned")),
        (PERMISSIONS, "absurd_text", key, odd(f.PermissionDenied, context="long" * 1_000)),
        (PERMISSIONS, "unknown_source", key, odd(f.PermissionDenied, source="who-knows")),
        (ACTIVITY, "absurd_number", key, odd(f.CartUpdated, item="a", change="added", quantity=-1)),
        (PERMISSIONS, "wrong_topic", key, cart),
        (PERMISSIONS, "unknown_time_zone", key, odd(f.InstallationSeen, platform="ios", time_zone="Berlin")),
        (PERMISSIONS, "unknown_country", key, odd(f.InstallationSeen, platform="ios", country="UK")),
        (
            PERMISSIONS,
            "personal_subject",
            b"+49 151 2345678",
            odd(f.PermissionDenied, subject="+49 151 2345678"),
        ),
    ]


def good_facts() -> list[f.SubjectFact]:
    """Facts of people who share partitions with the bad records."""
    people = ["neighbour", "somebody-else", *(f"person-{number}" for number in range(40))]
    made: list[f.SubjectFact] = []
    for person in people:
        made.append(good(person, f.InstallationSeen, platform="web", time_zone="Europe/Berlin"))
        made.append(good(person, f.PermissionGranted, level="authorized"))
        made.append(good(person, f.TokenRegistered, provider="console", token=f"t-{person}"))
    return made


async def publish_mixed(bootstrap: str, bad: list[Bad]) -> dict[tuple[str, int, int], Bad]:
    """Append good facts with the bad records strewn among them; where each bad one came to stand."""
    placed: dict[tuple[str, int, int], Bad] = {}
    waiting = list(bad)
    facts = good_facts()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=2 << 20) as producer:
        for number, one in enumerate(facts):
            topic, key = codec.topic_of(type(one)), one.subject.encode()
            partition = partition_of(key, PARTITIONS)
            await producer.send_and_wait(topic, codec.encode(one), key=key, partition=partition)
            while waiting and len(waiting) * len(facts) >= (len(facts) - number) * len(bad):
                record = waiting.pop()
                # Where its key belongs; elsewhere it would be appended again first (`test_unreadable.py`).
                home = partition_of(record[2] or b"neighbour", PARTITIONS)
                at = await producer.send_and_wait(record[0], record[3], key=record[2], partition=home)
                placed[at.topic, at.partition, at.offset] = record
    assert not waiting
    return placed


@pytest.mark.timeout(300)
def test_bad_records_are_kept_whole_and_good_ones_are_folded(named_stack: Servers, tmp_path: Path) -> None:
    """Every bad record is in dead-letters once, with its bytes, place and reason; nothing else is."""
    bad = bad_records(random.Random(7))
    placed = asyncio.run(publish_mixed(named_stack.kafka_bootstrap, bad))
    marking = [one for one in bad if one[0] == PERMISSIONS and one[2] == b"neighbour" and leaves_mark(one[1])]
    assert len(marking) <= UNREADABLE_MAX

    with Stack(
        tmp_path, roles={"journeys": 1, "metrics": 1}, prepare=[migrate_tables, publish(None)]
    ) as stack:
        stack.start_roles()

        def letters() -> list[Any]:
            return asyncio.run(read(named_stack.kafka_bootstrap, "optin.dead-letters"))

        def latest_rows() -> dict[bytes, bytes]:
            changelog = asyncio.run(read(named_stack.kafka_bootstrap, "optin.journeys-subjects-changelog"))
            return {row.key: row.value for row in changelog}

        wait_until(lambda: len(letters()) >= len(bad), SETTLE_S)
        # The last good facts may be folded after the last letter.
        people = {one.subject.encode() for one in good_facts()}
        wait_until(lambda: all(has_token(latest_rows().get(person)) for person in people), SETTLE_S)
        found, latest = letters(), latest_rows()
        measured = measured_letters(named_stack.clickhouse_url, len(bad))

    told = {}
    for letter in found:
        name, fields = decode(letter.value) or ("", {})
        assert name == "RecordDeadLettered"
        place = fields["topic"], fields["partition"], fields["offset"]
        told[place] = (fields["topic"], fields["reason"], fields["key"], fields["value"])
        assert letter.partition == fields["partition"]
        assert "+49" not in fields["detail"]
    assert len(found) == len(told) == len(bad)
    assert told == placed
    assert measured == Counter(reason for _, reason, _, _ in bad)
    ledger: dict[str, list[tuple[str, dict[str, Any], int, int]]] = {}
    for one in good_facts():
        history = ledger.setdefault(one.subject, [])
        fields = decode(codec.encode(one))[1]  # type: ignore[index]
        history.append((type(one).__name__, fields, wall_ms(), len(history)))
    bad_keys = {key for topic, _, key, _ in bad if topic == PERMISSIONS}
    for subject, history in ledger.items():
        marks = msgpack.unpackb(latest[subject.encode()])[1][8]
        mine = ((topic, o, b) for (topic, _, o), b in placed.items() if b[2] == subject.encode())
        here = [o for topic, o, b in mine if topic == PERMISSIONS and leaves_mark(b[1])]
        assert [mark[:2] for mark in marks] == [[offset, offset] for offset in sorted(here)]
        assert bool(marks) == (subject.encode() in bad_keys)
        (installation,) = msgpack.unpackb(latest[subject.encode()])[1][0].values()
        (wanted,) = fold(history)[0].values()
        assert untimed(installation) == untimed(wanted)


def optin(servers: Servers, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `optin dead-letters ...` against the servers."""
    return command_line.optin(servers, "dead-letters", *words)


@pytest.mark.timeout(300)
def test_letters_are_listed_shown_replayed_and_dismissed(named_stack: Servers, tmp_path: Path) -> None:
    """What can be read by now goes back to its subject; the rest is told why not, and can be dismissed."""
    revoked = good("neighbour", f.PermissionRevoked, cause="os_settings")
    letter = f.RecordDeadLettered(
        event_id="aaaa-1",
        app="optin",
        occurred_at=wall_ms(),
        source="processor",
        topic=PERMISSIONS,
        partition=0,
        offset=5,
        appended_at=wall_ms() - 60_000,
        key=b"neighbour",
        value=codec.encode(revoked),
        reason="unknown_schema",
        detail="an older reader did not know it",
    )
    junk = changed(letter, event_id="bbbb-2", value=b"junk", reason="truncated")
    cut = changed(letter, event_id="cccc-3", value=bytes(1_900_000), reason="oversized")

    async def append() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=named_stack.kafka_bootstrap, max_request_size=2 << 20
        ) as producer:
            for one in (letter, junk, cut):
                await producer.send_and_wait("optin.dead-letters", codec.encode(one), partition=0)

    asyncio.run(append())

    def states() -> dict[str, str]:
        rows = json.loads(optin(named_stack, "list", "--settled", "--json").stdout)
        return {row["id"]: row["state"] for row in rows}

    assert states() == {"aaaa-1": "open", "bbbb-2": "open", "cccc-3": "open"}
    shown = optin(named_stack, "show", "aaaa").stdout
    assert "it would be taken in: replay it" in shown
    assert "c3 01" in shown
    assert "refused: not_single_object" in optin(named_stack, "show", "bbbb").stdout
    refused = optin(named_stack, "replay", "aaaa", "bbbb", "cccc")
    assert refused.returncode == 1
    assert refused.stdout == "1 letters replayed\n"
    assert "bbbb-2 not replayed: it would be refused again: not_single_object" in refused.stderr
    assert "cccc-3 not replayed: the letter keeps only the beginning" in refused.stderr
    assert optin(named_stack, "dismiss", "--reason", "truncated").returncode == 0
    assert states() == {"aaaa-1": "replayed", "bbbb-2": "dismissed", "cccc-3": "open"}
    assert "names 0 letters" in optin(named_stack, "dismiss", "zzzz").stderr
    assert "name letters by their ids" in optin(named_stack, "dismiss").stderr
    (again,) = asyncio.run(read(named_stack.kafka_bootstrap, PERMISSIONS))
    assert (again.key, again.value) == (b"neighbour", letter.value)
    assert again.partition == partition_of(b"neighbour", PARTITIONS)
    assert again.headers == (("first_appended_ms", str(letter.appended_at).encode()),)

    with Stack(tmp_path, roles={"journeys": 1}, prepare=[publish(None)]) as stack:
        stack.start_roles()

        def denied() -> bool:
            rows = asyncio.run(read(named_stack.kafka_bootstrap, "optin.journeys-subjects-changelog"))
            says = [stored_permission(row.value) for row in rows if row.key == b"neighbour"]
            return any((one.permission, one.at) == ("denied", letter.appended_at) for one in says)

        assert wait_until(denied, SETTLE_S)


@pytest.mark.timeout(300)
def test_an_input_that_is_mostly_bad_stops_the_role(named_stack: Servers, tmp_path: Path) -> None:
    """It says why, and the box is not filled with everything that came."""

    async def append() -> None:
        async with AIOKafkaProducer(bootstrap_servers=named_stack.kafka_bootstrap) as producer:
            for number in range(12_000):
                await producer.send(PERMISSIONS, b"junk", key=str(number).encode(), partition=0)

    asyncio.run(append())
    with Stack(tmp_path, roles={"journeys": 1}, prepare=[publish(None)]) as stack:
        stack.start_roles()
        log = stack.log_of("journeys-0")

        def said() -> bool:
            return log.exists() and "more than the share of 0.5 that OPTIN_BAD_SHARE_MAX" in log.read_text()

        assert wait_until(said, SETTLE_S)
    assert len(asyncio.run(read(named_stack.kafka_bootstrap, "optin.dead-letters"))) < 12_000


def has_token(row: bytes | None) -> bool:
    """Whether a row of the changelog knows an address."""
    return row is not None and any(one[8] for one in msgpack.unpackb(row)[1][0].values())


def untimed(installation: list[Any]) -> list[Any]:
    """An installation of the changelog without its instants, which differ between two makings of a fact."""
    words = [[word[0], word[2], *word[5:]] for word in [*installation[11], *installation[12]]]
    return [*installation[1:4], *words, [token[0] for token in installation[8]]]


def measured_letters(url: str, least: int) -> Counter[str]:
    """Dead letters by reason, as ClickHouse has them."""
    from connectors.clickhouse.query import ask

    query = "SELECT reason, count() FROM dead_letter_facts FINAL GROUP BY reason"

    def counts() -> Counter[str]:
        return Counter({row[0]: row[1] for row in ask(url, query).rows})

    wait_until(lambda: counts().total() >= least, SETTLE_S)
    return counts()
