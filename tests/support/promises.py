"""A third opinion: caps, what becomes of each candidate and push, revocations against hand-overs, ClickHouse.

Stands beside `oracle.py`, which judges folds and decisions. Imports nothing of ours; written from
docs/reference and the promises alone. `read_all` reads the topics once, everything else is a pure function
over what was read; an empty list says that the promise was kept.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.oracle import fold, may_push
from tests.support.plain_reader import decode, read

DAY_MS = 86_400_000
WINDOWS = {"rolling_day": DAY_MS, "rolling_week": 7 * DAY_MS, "rolling_month": 30 * DAY_MS}
FINAL = {"send", "withhold", "hold_out"}
GIVEN_BACK = {"PushWithheldLate", "PushRejected"}
OUTCOMES = GIVEN_BACK | {"PushAccepted", "PushOutcomeUnknown"}
TOPICS = ("permissions", "tokens", "activity", "decisions", "deliveries", "dead-letters")
TABLES = {
    "permissions": "permission_facts",
    "tokens": "token_facts",
    "activity": "activity_facts",
    "decisions": "decision_facts",
    "deliveries": "delivery_facts",
    "dead-letters": "dead_letter_facts",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A fact as it stands on its topic."""

    name: str
    fields: Mapping[str, Any]
    appended: int = 0
    partition: int = 0
    offset: int = 0


@dataclass(slots=True)
class Topics:
    """All committed facts by short topic name, partition by partition in offset order."""

    by_topic: dict[str, list[Said]] = field(default_factory=dict)

    def __getitem__(self, topic: str) -> list[Said]:
        return self.by_topic.get(topic, [])


async def read_all(bootstrap: str) -> Topics:
    """Read every topic of facts once."""
    topics = Topics()
    for topic in TOPICS:
        facts = topics.by_topic[topic] = []
        for record in await read(bootstrap, f"optin.{topic}"):
            decoded = decode(record.value)
            if decoded is not None:
                facts.append(Said(*decoded, record.timestamp, record.partition, record.offset))
    return topics


def sends(topics: Topics) -> list[Said]:
    """Decisions to send, in the order of their topic."""
    return [d for d in topics["decisions"] if d.name == "PushDecided" and d.fields["verdict"] == "send"]


def over_cap(topics: Topics, most: int, window: str) -> list[str]:
    """Subjects that a policy's cap does not hold for, or their own choice of fewer.

    A send counts unless its outcome gave the slot back (withheld late, rejected). The choice is the one
    that the decision itself could know: folded from the records below the offset that it cites.
    """
    back = {
        d.fields["decision_id"]
        for d in topics["deliveries"]
        if d.name in GIVEN_BACK and not d.fields.get("next_installation")
    }
    by_subject: dict[str, list[Said]] = defaultdict(list)
    for decision in sends(topics):
        if decision.fields["decision_id"] not in back:
            by_subject[decision.fields["subject"]].append(decision)
    chosen: dict[str, list[Said]] = defaultdict(list)
    for said in topics["permissions"]:
        if said.name == "FrequencyChosen":
            chosen[said.fields["subject"]].append(said)
    found = []
    for subject, decided in by_subject.items():
        times = sorted(d.fields["occurred_at"] for d in decided)
        for decision in decided:
            now = decision.fields["occurred_at"]
            limits = [("the policy", most, window)]
            known = [
                (said.name, dict(said.fields), said.appended, said.offset)
                for said in chosen[subject]
                if said.offset < decision.fields["permissions_next"]
            ]
            if known and (choice := fold(known)[2]) is not None:
                limits.append(("the subject", choice[1], choice[2]))
            for whose, limit, span in limits:
                count = bisect_right(times, now) - bisect_right(times, now - WINDOWS[span])
                if count > limit:
                    found.append(f"{subject}: {count} sends in a {span}, {whose} allows {limit}")
    return found


def doubled(topics: Topics, topic: str) -> list[str]:
    """Event ids that stand on a topic more than once, where nobody but a processor writes to it."""
    times = Counter(said.fields["event_id"] for said in topics[topic])
    return [f"{topic} has event {event} {count} times" for event, count in times.items() if count > 1]


def not_adding_up(topics: Topics) -> list[str]:
    """Candidates that are neither final nor pending, and sends that have not exactly one outcome each.

    A candidate exists once its journey instance ended with one; pending are those whose last revision holds.
    """
    candidates = Counter(
        said.fields["instance"]
        for said in topics["decisions"]
        if said.name == "JourneyEnded" and said.fields["outcome"] == "completed"
    )
    last: dict[str, Said] = {}
    finals: Counter[str] = Counter()
    for said in topics["decisions"]:
        if said.name == "PushDecided":
            last[said.fields["decision_id"]] = said
            finals[said.fields["decision_id"]] += said.fields["verdict"] in FINAL
    decided = Counter(said.fields["instance"] for said in last.values())
    pending = sum(said.fields["verdict"] == "hold" for said in last.values())
    found = [f"candidate of instance {i} has {decided[i]} decisions" for i in candidates if decided[i] != 1]
    found += [f"decision of instance {i} had no candidate" for i in decided if i not in candidates]
    found += [f"decision {d} is final {n} times" for d, n in finals.items() if n > 1]
    if sum(candidates.values()) != sum(finals.values()) + pending:
        found.append(f"{candidates.total()} candidates, {finals.total()} final, {pending} pending")
    outcomes = Counter(
        (said.fields["decision_id"], said.fields["installation"])
        for said in topics["deliveries"]
        if said.name in OUTCOMES
    )
    wanted = {(d.fields["decision_id"], i) for d in sends(topics) for i in d.fields["installations"]}
    passed = [
        (d.fields["decision_id"], d.fields["next_installation"])
        for d in topics["deliveries"]
        if d.name in GIVEN_BACK and d.fields.get("next_installation")
    ]
    marketing = {d.fields["decision_id"] for d in sends(topics) if d.fields["category"] == "marketing"}
    found += [f"{where} was chosen twice" for where, n in Counter([*wanted, *passed]).items() if n > 1]
    found += [f"{where} was chosen for no marketing" for where in passed if where[0] not in marketing]
    wanted |= set(passed)
    perhaps_shown = Counter(
        said.fields["decision_id"] for said in topics["deliveries"] if said.name in OUTCOMES - GIVEN_BACK
    )
    found += [
        f"decision {d} may have been shown {perhaps_shown[d]} times"
        for d in marketing
        if perhaps_shown[d] > 1
    ]
    found += [f"push {where} has {outcomes[where]} outcomes" for where in wanted if outcomes[where] != 1]
    found += [f"outcome of {where}, which nobody decided" for where in outcomes if where not in wanted]
    return found


def shown_wrongly(topics: Topics, shown: Sequence[str]) -> list[str]:
    """Pushes on a phone twice, never attempted, withheld and shown all the same, accepted and not shown."""
    attempted = {said.fields["push_id"] for said in topics["deliveries"] if said.name == "PushAttempted"}
    outcome = {said.fields["push_id"]: said.name for said in topics["deliveries"] if said.name in OUTCOMES}
    times = Counter(shown)
    found = [f"push {push} was shown {n} times" for push, n in times.items() if n > 1]
    found += [f"push {push} was shown and never attempted" for push in times if push not in attempted]
    found += [f"push {push} was withheld and shown" for push in times if outcome.get(push) in GIVEN_BACK]
    accepted = [push for push, name in outcome.items() if name == "PushAccepted"]
    return found + [f"push {push} was accepted and not shown" for push in accepted if push not in times]


def revoked_before(topics: Topics, handed: Mapping[str, int], lease_ms: int) -> list[str]:
    """Pushes handed over although consent had been withdrawn before their read barrier began.

    `handed`: push id -> when it was handed over (ms). Its barrier began at most a lease earlier: so at some
    point between then and the hand-over, the facts appended by that point must have allowed the push.
    """
    about = {said.fields["push_id"]: said for said in topics["deliveries"] if said.name == "PushAttempted"}
    ledger: dict[str, list[Said]] = defaultdict(list)
    for said in topics["permissions"]:
        ledger[said.fields["subject"]].append(said)
    found = []
    for push, at in handed.items():
        if push not in about:
            found.append(f"push {push} was handed over without an attempt")
            continue
        subject, where = about[push].fields["subject"], about[push].fields
        key = f"{where['app']}/{where['installation']}"
        facts = sorted(ledger[subject], key=lambda said: said.offset)
        latest = sum(said.appended <= at for said in facts)
        earliest = sum(said.appended < at - lease_ms for said in facts)
        if not any(allowed(facts[:count], key) for count in range(earliest, latest + 1)):
            found.append(f"push {push} was handed over after a revocation")
    return found


def sent_after_revoked(topics: Topics, received: Mapping[str, int]) -> list[int]:
    """Of each push that its provider got after a revocation was acknowledged: how long after it (ms)."""
    revoked: dict[str, int] = {}
    for said in topics["permissions"]:
        if said.name == "PermissionRevoked":
            revoked.setdefault(said.fields["subject"], said.appended)
    whose = {said.fields["push_id"]: said.fields["subject"] for said in topics["deliveries"]}
    spans = (at - revoked[whose[push]] for push, at in received.items() if whose.get(push) in revoked)
    return sorted(span for span in spans if span >= 0)


def allowed(facts: Iterable[Said], key: str) -> bool:
    """Whether these facts of one subject let marketing pass to an installation."""
    row = fold([(said.name, dict(said.fields), said.appended, said.offset) for said in facts])
    paused = row[4] is not None and row[4][1]
    return may_push(row, key) and not paused and row[6] is None


def pushes_shown(file: Path) -> list[str]:
    """The push ids that the console sender wrote, in order."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["push_id"] for line in lines]


def measured_wrongly(topics: Topics, clickhouse_url: str) -> list[str]:
    """Tables whose event ids are not exactly those of their topic, each once."""
    found = []
    for topic, table in TABLES.items():
        wanted = len({said.fields["event_id"] for said in topics[topic]})
        rows, ids = ask(clickhouse_url, f"SELECT count(), uniqExact(event_id) FROM {table} FINAL")
        if (rows, ids) != (wanted, wanted):
            found.append(f"{table} has {rows} rows and {ids} event ids, {topic} has {wanted}")
            there = {(said.partition, said.offset) for said in topics[topic]}
            found += [
                f"{table} has {row}, {topic} has {at in there} there"
                for at, row in twice(clickhouse_url, table)
            ]
    return found


def twice(clickhouse_url: str, table: str) -> list[tuple[tuple[int, int], str]]:
    """The rows whose event id is in a table more than once: where each stood on its topic, and its words."""
    statement = (
        "SELECT partition, offset, fact, event_id, occurred_at, appended_at"
        f" FROM {table} FINAL WHERE event_id IN"
        f" (SELECT event_id FROM {table} FINAL GROUP BY event_id HAVING count() > 1) ORDER BY event_id"
    )
    rows = [line.split("\t") for line in answered(clickhouse_url, statement).splitlines()]
    return [((int(row[0]), int(row[1])), " ".join(row)) for row in rows]


def ask(clickhouse_url: str, statement: str) -> tuple[int, ...]:
    """The numbers in the one row of a statement's answer."""
    return tuple(int(number) for number in answered(clickhouse_url, statement).split())


def answered(clickhouse_url: str, statement: str) -> str:
    """A statement's answer, tab separated."""
    parts = urlsplit(clickhouse_url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/?database={parts.path.strip('/')}"
    who = {
        "X-ClickHouse-User": parts.username or "default",
        "X-ClickHouse-Key": unquote(parts.password or ""),
    }
    request = urllib.request.Request(where, data=statement.encode(), headers=who)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def aborted(bootstrap: str, topics: Iterable[str]) -> dict[str, list[Any]]:
    """Records of aborted transactions by topic: what is there and no read_committed reader sees."""
    return {topic: asyncio.run(_aborted(bootstrap, topic)) for topic in topics}


async def _aborted(bootstrap: str, topic: str) -> list[Any]:
    committed = {(r.partition, r.offset) for r in await read(bootstrap, topic)}
    everything = await read(bootstrap, topic, isolation_level="read_uncommitted")
    return [r for r in everything if (r.partition, r.offset) not in committed]
