"""What a run shows: whether its faults had effect at all, and whether anything was lost, wrong, doubled."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec.msgpack import encode

from ledger.reach import Reach
from processors.agents.reach_rows import ROWS
from tests.chaos.journals import Note, handed_over, read_notes, taken_over, unfinished
from tests.chaos.pauses import POSITION_KEY, times_of
from tests.chaos.plan import FREEZES, SESSION_S
from tests.chaos.strike import Struck
from tests.chaos.system import CALL_S, System
from tests.support import promises
from tests.support.oracle import fold, objections
from tests.support.plain_reader import read

CHANGELOGS: Final = {
    "optin.journeys-subjects-changelog": ("optin.permissions", "optin.tokens", "optin.activity"),
    "optin.delivery-consent-changelog": ("optin.permissions", "optin.tokens"),
    "optin.delivery-sends-changelog": ("optin.decisions",),
}
"""Each lane's changelog and what it folds."""
STEADY: Final = ("optin.journeys-subjects-changelog", "optin.delivery-consent-changelog")
"""Lanes that the load keeps busy all the time: only in these a gap is a pause."""
WRITTEN: Final = (*CHANGELOGS, "optin.decisions", "optin.deliveries", "optin.dead-letters")
"""Topics that are written in transactions."""
FOLDED_S: Final = 180.0
SETTLED_S: Final = 120.0
"""How long objections may take to go away: a slow machine is not a broken promise."""
WAITS_S: Final = 8.0
"""The journeys of 2 s and leases of 4 s are over after this."""
TAIL: Final = 5_000
"""In so many last records of a changelog partition there is a position."""
CAP: Final = (3, "rolling_day")
"""What the load's policy says."""
TOLD_MAX: Final = 20


@dataclass(slots=True)
class Finding:
    """Everything about one run. `objections`: broken promises; `void`: why the run proves nothing."""

    name: str
    struck: list[Struck]
    objections: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    moved: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    sent_after_ms: list[int] = field(default_factory=list)
    """Of pushes that the provider got after a revocation: how long after its acknowledgement."""


def judge(
    system: System,
    struck: list[Struck],
    name: str,
    hits_min: int,
    progress: Callable[[str], None],
    settled_s: float = SETTLED_S,
) -> Finding:
    """End the load, wait until all is folded and sent, and look at everything."""
    finding = Finding(name, struck)
    acknowledged = system.load.stop()
    where = system.cluster.bootstrap
    progress(f"{len(acknowledged)} facts acknowledged; waiting until all is folded")
    finding.objections += settled(lambda: behind(where), FOLDED_S)
    time.sleep(WAITS_S)
    progress("judging")
    finding.objections += settled(lambda: asyncio.run(objections(where, acknowledged)), settled_s)
    topics = asyncio.run(promises.read_all(where))
    if system.providers is None:
        received, shown = {}, promises.pushes_shown(system.folder / "pushes.jsonl")
    else:
        taken = system.providers.received({said.fields["push_id"] for said in topics["deliveries"]})
        received, shown = dict(taken), [push for push, _ in taken]
    finding.notes = read_notes(system.notes)
    handed = handed_over(finding.notes)
    finding.objections += asyncio.run(wrong_reach(where, topics))
    finding.objections += promises.over_cap(topics, *CAP)
    finding.objections += promises.doubled(topics, "decisions") + promises.doubled(topics, "deliveries")
    finding.objections += promises.not_adding_up(topics)
    finding.objections += promises.shown_wrongly(topics, shown)
    at = {push: handed[push] for push in shown if push in handed}
    finding.objections += [f"push {push} was shown and not handed over" for push in shown if push not in at]
    finding.objections += promises.revoked_before(topics, at, system.lease_ms)
    if received:
        # By the provider's own clock: it may get a push as late as the lease and one call allow.
        latest_ms = system.lease_ms + int(CALL_S * 1_000)
        finding.objections += promises.revoked_before(topics, received, latest_ms)
        finding.sent_after_ms = promises.sent_after_revoked(topics, received)
    url = system.stack.clickhouse_url
    finding.objections += settled(lambda: promises.measured_wrongly(topics, url), settled_s)
    changelogs = {topic: asyncio.run(read(where, topic)) for topic in STEADY}
    finding.moved = times_of(changelogs)
    aborted = promises.aborted(where, WRITTEN)
    finding.counts = count(topics, aborted, acknowledged, shown)
    finding.counts["publisher started anew"] = system.load.failed_batches
    finding.counts["workers that ended themselves"] = sum(
        status.restarts for status in system.stack.statuses() if "-" in status.name
    ) - sum(len(one.killed) for one in struck)
    finding.counts |= effect(struck, finding.notes)
    finding.void = reasons_to_be_void(struck, finding.counts, hits_min, races=system.providers is not None)
    return finding


def settled(look: Callable[[], list[str]], within_s: float) -> list[str]:
    """What is objected to once nothing is, or after `within_s` (one look may take long)."""
    deadline = time.monotonic() + within_s
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(3)
    return found


async def wrong_reach(bootstrap: str, topics: promises.Topics) -> list[str]:
    """Subjects whose consent the delivery role has folded into something else than their facts say."""
    facts: dict[str, list[Any]] = defaultdict(list)
    for said in (*topics["permissions"], *topics["tokens"]):
        facts[said.fields["subject"]].append((said.name, dict(said.fields), said.appended, said.offset))
    rows = {r.key: r.value for r in await read(bootstrap, "optin.delivery-consent-changelog")}
    found = []
    for subject, said_of in facts.items():
        raw = rows.get(subject.encode())
        row = ROWS.decode(raw) if raw else None
        if not isinstance(row, Reach) or msgpack.unpackb(encode(row.consent))[:7] != fold(said_of):
            found.append(f"{subject}: the delivery role's row is not the fold of its facts")
    return found


def behind(bootstrap: str) -> list[str]:
    """Input partitions that a lane has not folded to their end."""
    return asyncio.run(_behind(bootstrap))


async def _behind(bootstrap: str) -> list[str]:
    found = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        for changelog, inputs in CHANGELOGS.items():
            reached = await _positions(consumer, changelog)
            for topic in inputs:
                places = await _places(consumer, topic)
                ends = await consumer.end_offsets(places)
                last = await _last_record(consumer, ends) if topic == "optin.decisions" else ends
                now = {place: reached.get((topic, place.partition), 0) for place in places}
                found += [
                    f"{changelog} has folded {topic}/{place.partition} to {now[place]} of {last[place]}"
                    for place in places
                    if now[place] < last[place]
                ]
    finally:
        await consumer.stop()
    return found


async def _places(consumer: Any, topic: str) -> list[TopicPartition]:
    await consumer._client.set_topics([topic])
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]


async def _tail(consumer: Any, places: Sequence[TopicPartition]) -> list[Any]:
    """The last committed records of the partitions, `TAIL` of each at most."""
    ends = await consumer.end_offsets(places)
    starts = await consumer.beginning_offsets(places)
    consumer.assign(places)
    for place in places:
        consumer.seek(place, max(starts[place], ends[place] - TAIL))
    records: list[Any] = []
    while any([await consumer.position(place) < ends[place] for place in places]):
        for fetched in (await consumer.getmany(*places, timeout_ms=200)).values():
            records += fetched
    return records


async def _positions(consumer: Any, changelog: str) -> dict[tuple[str, int], int]:
    reached: dict[tuple[str, int], int] = {}
    for record in await _tail(consumer, await _places(consumer, changelog)):
        if record.key == POSITION_KEY:
            for topic, offset in msgpack.unpackb(record.value)[1].items():
                reached[topic, record.partition] = offset
    return reached


async def _last_record(consumer: Any, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition: markers of transactions behind it don't count."""
    last = dict.fromkeys(ends, 0)
    for record in await _tail(consumer, list(ends)):
        last[TopicPartition(record.topic, record.partition)] = record.offset + 1
    return last


def count(
    topics: promises.Topics,
    aborted: Mapping[str, Sequence[Any]],
    acknowledged: frozenset[str],
    shown: list[str],
) -> Counter[str]:
    """The figures of a run."""
    counts: Counter[str] = Counter()
    counts["facts acknowledged"] = len(acknowledged)
    counts["subjects"] = len({said.fields["subject"] for said in topics["permissions"]})
    for said in topics["decisions"]:
        if said.name == "PushDecided":
            counts["candidates"] += said.fields["revision"] == 0
            counts[f"decided: {said.fields['verdict']}"] += 1
            counts["withheld by a cap"] += str(said.fields["reason"]).startswith("frequency")
    for said in topics["deliveries"]:
        counts[said.name] += 1
        if said.name == "PushOutcomeUnknown":
            counts[f"unknown: {said.fields['reason']}"] += 1
    counts["revocations"] = sum(said.name == "PermissionRevoked" for said in topics["permissions"])
    counts["pushes shown"] = len(shown)
    for topic, records in aborted.items():
        counts["records of aborted transactions"] += len(records)
        counts["aborted transactions"] += sum(r.key == POSITION_KEY for r in records) if records else 0
        counts[f"aborted on {topic.removeprefix('optin.')}"] = len(records)
    return counts


def effect(struck: Sequence[Struck], notes: Sequence[Note]) -> Counter[str]:
    """What the faults hit: kills and what they left unfinished, freezes and what moved meanwhile."""
    counts: Counter[str] = Counter()
    for one in struck:
        counts["faults"] += not one.missed
        for _, pid in one.killed:
            counts["kills"] += 1
            counts["kills that hit unfinished chunks"] += bool(unfinished(notes, pid))
        if one.fault.kind in FREEZES and not one.missed:
            counts["freezes"] += 1
            counts["freezes longer than the session"] += one.held_s > SESSION_S
            counts["freezes during which others took over"] += bool(
                taken_over(notes, one.victim, one.begin, one.end)
            )
            counts["freezes that began in an open transaction"] += bool(open_at(notes, one.victim, one.begin))
    return counts


def open_at(notes: Sequence[Note], instance: str, ms: int) -> list[str]:
    """What the process of an instance had begun and not ended at a time."""
    before = [note for note in notes if note.instance == instance and note.ms <= ms]
    return unfinished(before, before[-1].pid) if before else []


def reasons_to_be_void(
    struck: Sequence[Struck], counts: Counter[str], hits_min: int, *, races: bool = False
) -> list[str]:
    """Why a run without objections would prove nothing; empty: it proves something.

    `races`: its people get one push each, which no cap keeps back; some of them revoke right before it.
    """
    reasons = []
    hits = counts["kills that hit unfinished chunks"]
    if hits < hits_min:
        reasons.append(f"{hits} kills hit unfinished chunks, {hits_min} must")
    if not counts["aborted transactions"]:
        reasons.append("no transaction was aborted")
    if counts["freezes longer than the session"] < counts["freezes"]:
        reasons.append("a freeze was shorter than the session")
    if any(one.fault.kind in FREEZES for one in struck) and not counts["freezes"]:
        reasons.append("no freeze came about")
    special = "PushWithheldLate" if races else "withheld by a cap"
    needed = ("facts acknowledged", "pushes shown", special)
    return reasons + [f"{figure}: 0" for figure in needed if not counts[figure]]
