"""What a simulation left on inputs and changelogs, read the plain way: which facts count, and where.

Imports nothing of ours but tests' plain parts: consent is folded by the oracle, bytes are read by the plain
reader. Another kind of record that must have an effect (a new topic, a reason to refuse) is added here.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from typing import Any, Final

import msgpack
from aiokafka.partitioner import murmur2

from tests.simulation.broker import Record
from tests.simulation.world import World
from tests.support.oracle import fold
from tests.support.plain_reader import decode

EMPTY: Final[list[Any]] = [{}, {}, None, None, None, {}, None]
SKEW_MS: Final = 5 * 60_000
EARLIEST_MS: Final = 946_684_800_000
ORIGINS: Final = {"device", "server", "import", "processor"}
KEY_BYTES_MAX: Final = 512
"""A longer key is nobody's: its record stays where it stands."""
SUBJECT: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:+=~-]{0,127}")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An accepted fact. `merged_ms`: the latest time on its partition; then the event clock takes it."""

    record: Record
    name: str
    fields: dict[str, Any]
    first_append_ms: int
    merged_ms: int

    @property
    def known_at(self) -> float:
        """When its producer was told that it is appended (s)."""
        return self.record.ending.decided_at if self.record.ending else self.record.instant

    @property
    def plain(self) -> tuple[str, dict[str, Any], int, int]:
        """As the oracle wants it."""
        return self.name, self.fields, self.first_append_ms, self.record.offset


def home(key: bytes, partitions: int) -> int:
    """Where a key belongs."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def read_plainly(record: Record) -> tuple[str, dict[str, Any]] | None:
    """(name, fields), None for what can't be read."""
    try:
        return decode(record.value or b"")
    except Exception:  # noqa: BLE001 - whatever fastavro raises for broken bytes
        return None


class Ledger:
    """The inputs: which facts are accepted where, and whether the others became dead letters."""

    def __init__(self, world: World) -> None:
        self.partitions = world.scenario.partitions
        self.by_events = world.scenario.by_events
        self.of: defaultdict[str, list[Entry]] = defaultdict(list)
        self.claims: list[Entry] = []
        """Accepted claims at home, partition by partition in the order of the log."""
        self.objections: list[str] = []
        self.unreadable: defaultdict[str, list[int]] = defaultdict(list)
        """Offsets of bad records of a subject on its partition of permissions, which keep marketing away."""
        self._letters: Counter[tuple[str, int, int]] = Counter()
        self._moved: list[tuple[str, bytes | None, bytes | None, int]] = []
        self._arrived: set[tuple[str, bytes | None, bytes | None, int]] = set()
        self._misplaced: list[Entry] = []
        self._merged: Counter[tuple[str, int]] = Counter()
        self._again: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for topic in ("optin.permissions", "optin.tokens", "optin.activity", "optin.links"):
            for record in world.broker.committed(topic):
                self._take(record)
        self._check_misplaced()
        letters: Counter[tuple[str, int, int]] = Counter()
        for record in world.broker.committed("optin.dead-letters"):
            _, fields = read_plainly(record) or ("", {})
            letters[fields["topic"], fields["partition"], fields["offset"]] += 1
        for place in letters.keys() | self._letters.keys():
            if letters[place] != self._letters[place]:
                self.objections.append(
                    f"{place} has {letters[place]} dead letters, not {self._letters[place]}"
                )

    def _take(self, record: Record) -> None:
        place = record.topic, record.partition, record.offset
        told = read_plainly(record)
        appended = min([record.timestamp, *(int(v) for n, v in record.headers if n == "first_appended_ms")])
        if record.headers:
            self._arrived.add((record.topic, record.key, record.value, appended))
        if told is None or self._refused(record, told[1], appended):
            self._take_bad(record, appended)
            return
        merged = self._merged[record.topic, record.partition] = max(
            self._merged[record.topic, record.partition], told[1]["occurred_at"]
        )
        entry = Entry(record, *told, appended, merged)
        assert record.key is not None
        if record.headers:
            self._again[record.topic, told[1]["event_id"]].append(appended)
        if home(record.key, self.partitions) == record.partition:
            mine = self.claims if record.topic == "optin.links" else self.of[told[1]["subject"]]
            mine.append(entry)
        elif self.by_events:
            self._letters[place] = 1
        else:
            self._misplaced.append(entry)

    def _take_bad(self, record: Record, appended: int) -> None:
        """It goes to its key's partition first, as a good one would, and is a dead letter there."""
        key = record.key
        known = key is not None and len(key) <= KEY_BYTES_MAX and record.topic != "optin.links"
        away = known and home(key or b"", self.partitions) != record.partition
        if away and not self.by_events:
            self._moved.append((record.topic, key, record.value, appended))
            return
        self._letters[record.topic, record.partition, record.offset] = 1
        if record.topic == "optin.permissions" and key and not away and SUBJECT.fullmatch(key):
            self.unreadable[key.decode()].append(record.offset)

    def _refused(self, record: Record, fields: dict[str, Any], appended: int) -> bool:
        return (
            fields["installation" if record.topic == "optin.links" else "subject"].encode() != record.key
            or fields["source"].split(":")[0] not in ORIGINS
            or fields["occurred_at"] < EARLIEST_MS
            # Links are dated by the order of the claims, whose clocks may be ahead.
            or ("claim" not in fields and fields["occurred_at"] > appended + SKEW_MS)
        )

    def _check_misplaced(self) -> None:
        for topic, key, value, appended in self._moved:
            if (topic, key, value, appended) not in self._arrived:
                self.objections.append(
                    f"a bad record of {topic} was not appended again with its first append"
                )
        for entry in self._misplaced:
            event = entry.fields["event_id"]
            if entry.first_append_ms not in self._again[entry.record.topic, event]:
                self.objections.append(f"misplaced {event} was not appended again with its first append")

    def consent_of(self, subject: str, *, below: dict[str, int] | None = None) -> list[Any]:
        """The consent row of a subject, of all facts or of those below these offsets."""
        facts = [
            entry.plain
            for entry in self.of[subject]
            if entry.record.topic != "optin.activity"
            and (below is None or entry.record.offset < below[entry.record.topic])
        ]
        return fold(facts) if facts else EMPTY


def latest_rows(world: World, topic: str) -> dict[tuple[int, bytes], Any]:
    """The last value of each key of a changelog."""
    rows: dict[tuple[int, bytes], Any] = {}
    for record in world.broker.committed(topic):
        assert record.key is not None
        if record.key[:1] != b"\0":
            rows[record.partition, record.key] = record.value
    return {
        place: msgpack.unpackb(raw, strict_map_key=False) for place, raw in rows.items() if raw is not None
    }
