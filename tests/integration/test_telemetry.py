"""What real workers tell about themselves while facts flow, the broker stops, and a worker is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from processors.prepare import migrate_tables, publish
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Stack, read_state
from processors.wall_clock import wall_ms
from tests.integration.test_delivery import on, reachable
from tests.support.given import fact
from tests.support.load import definitions
from tests.support.replays import wait_until
from tests.support.scrape import Samples, get, scrape, state

PARTITIONS: Final = 8
SETTLE_S: Final = 120.0
WORKERS: Final = ("journeys-0", "delivery-0", "metrics-0")
MEASURED: Final = ("permissions", "tokens", "activity", "decisions", "deliveries", "dead-letters")
PEOPLE: Final = tuple(f"person-{number}" for number in range(10))

Placed = tuple[str, int, bytes, bytes]
"""Topic, partition, key, value."""


def said(person: str, kind: type[f.SubjectFact], **fields: Any) -> f.SubjectFact:
    """A fact that somebody said just now."""
    return fact(kind, wall_ms(), subject=person, event_id=f"{person}-{kind.__name__}", **fields)


def placed(one: f.SubjectFact, further: int = 0) -> Placed:
    """A fact where it belongs, or so many partitions further."""
    key = one.subject.encode()
    partition = (partition_of(key, PARTITIONS) + further) % PARTITIONS
    return codec.topic_of(type(one)), partition, key, codec.encode(one)


def revocations() -> list[f.SubjectFact]:
    """One of each kind, each by another person who was reachable before."""
    return [
        said(PEOPLE[0], f.PermissionRevoked, cause="os_settings"),
        said(PEOPLE[1], f.PermissionDenied),
        said(PEOPLE[2], f.MarketingPaused),
        said(PEOPLE[3], f.SubjectSuppressed, reason="complaint"),
        said(PEOPLE[4], f.SubjectErased),
    ]


async def append(bootstrap: str, records: list[Placed]) -> None:
    """Append records, each acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for topic, partition, key, value in records:
            await producer.send_and_wait(topic, value, key=key, partition=partition)


def of(samples: Samples, name: str) -> Counter[str]:
    """The series of one metric that are not 0, by their labels."""
    series = {labels: int(value) for (found, labels), value in samples.items() if found == name}
    return Counter({labels: value for labels, value in series.items() if value})


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test stops its broker, so it needs one of its own."""
    monkeypatch.delenv(KAFKA_ENV, raising=False)
    monkeypatch.delenv(CLICKHOUSE_ENV, raising=False)


@pytest.mark.stack
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_servers")
def test_workers_tell_what_they_do_and_whether_they_can(tmp_path: Path) -> None:
    """Ready while they fold, not before nor without a broker; facts, letters and revocations counted once."""
    rules = definitions(tmp_path / "definitions", wait="1s")
    with Stack(
        tmp_path / "data",
        roles={"journeys": 1, "delivery": 1, "metrics": 1},
        env={"OPTIN_DEFINITIONS": str(rules)},
        prepare=[migrate_tables, publish(rules)],
        partitions=PARTITIONS,
    ) as stack:
        stack.start_roles()
        urls = stack.endpoints()
        assert urls.keys() == set(WORKERS)
        assert read_state(stack.data).endpoints == urls  # type: ignore[union-attr]
        starts_unready(urls)
        assert wait_until(lambda: all(ready(url) for url in urls.values()), SETTLE_S)

        flow(stack, urls)
        silence(stack, urls)
        kill(stack)


def ready(url: str) -> bool:
    """Whether a worker says that it is."""
    return state(url, "/readyz")[0] == 200


def starts_unready(urls: dict[str, str]) -> None:
    """The first answer of each comes before its first assignment, and says so."""
    first: dict[str, tuple[int, dict[str, Any]]] = {}

    def all_answered() -> bool:
        for name in urls.keys() - first.keys():
            answer = state(urls[name], "/readyz")
            if answer[0]:
                first[name] = answer
        return len(first) == len(urls)

    assert wait_until(all_answered, SETTLE_S)
    for name, (status, told) in first.items():
        assert (status, told["ready"], told["role"]) == (503, False, name.partition("-")[0])
        assert set(told["reasons"]) <= {"starting", "rebalancing", "recovering"}
        assert get(urls[name], "/healthz")[0] == 200


def flow(stack: Stack, urls: dict[str, str]) -> None:
    """Publish good, revoking, repeated, misplaced and bad records; each is counted as what it is."""
    bootstrap = stack.kafka_bootstrap
    good = [placed(one) for person in PEOPLE for one in reachable(person)]
    asyncio.run(append(bootstrap, good))
    assert wait_until(lambda: of(scrape(urls["delivery-0"]), "optin_pushes_total").total() > 0, SETTLE_S)

    first = [placed(one) for one in revocations()]
    again = [first[0]]  # the second copy of a revocation is none
    misplaced = [placed(said(PEOPLE[5], f.PermissionRevoked, cause="os_settings"), further=1)]
    home = partition_of(b"ann", PARTITIONS)
    bad = [("optin.permissions", home, b"ann", b"junk"), ("optin.activity", home, b"ann", b"")]
    asyncio.run(append(bootstrap, [*first, *again, *misplaced, *bad]))
    records = len(good) + len(first) + len(again) + 2 * len(misplaced) + len(bad)
    activity = len(PEOPLE) + 1

    def folded(name: str, lane: str) -> int:
        return of(scrape(urls[name]), "optin_records_folded_total")[f"lane={lane}"]

    assert wait_until(lambda: folded("journeys-0", "subjects") >= records, SETTLE_S)
    assert wait_until(lambda: folded("delivery-0", "consent") >= records - activity, SETTLE_S)
    settle(bootstrap, urls)
    journeys, delivery, metrics = (scrape(urls[name]) for name in WORKERS)
    told_back = len(on(bootstrap, "optin.deliveries"))  # slots come back by them
    assert folded("journeys-0", "subjects") == records + told_back
    assert folded("delivery-0", "consent") == records - activity
    assert of(journeys, "optin_dead_letters_total") == {"reason=not_single_object": 1, "reason=empty": 1}
    assert of(journeys, "optin_misplaced_facts_total") == {"topic=optin.permissions": 1}
    assert journeys["optin_reappends_total", ""] == 1
    assert journeys["optin_misplaced_delay_seconds_count", ""] == 1
    revoked = {f"fact={type(one).__name__}": 1 for one in revocations()} | {"fact=PermissionRevoked": 2}
    for samples in (journeys, delivery):
        assert of(samples, "optin_revocation_latency_seconds_count") == revoked
        assert samples["optin_rebalances_total", ""] == 1
    assert journeys["optin_table_rows", "lane=subjects"] == len(PEOPLE) + 1  # ann, by her unreadable record
    assert journeys["optin_chunk_records_sum", "lane=subjects"] == records + told_back
    verdicts = Counter(fields.get("verdict") for _, fields in on(bootstrap, "optin.decisions"))
    outcomes = Counter(name for name, _ in on(bootstrap, "optin.deliveries"))
    assert of(delivery, "optin_pushes_total")["outcome=accepted"] == outcomes["PushAccepted"] > 0
    assert delivery["optin_barrier_wait_seconds_count", ""] > 0
    assert of(journeys, "optin_decisions_total")["verdict=send"] == verdicts["send"] > 0
    assert metrics["optin_records_not_measured_total", ""] == len(bad)
    assert metrics["optin_insert_seconds_count", ""] > 0
    shown = "".join(get(url, "/metrics")[1] for url in urls.values())
    assert not any(person in shown for person in PEOPLE)


def settle(bootstrap: str, urls: dict[str, str]) -> None:
    """Wait until nothing lags, every candidate is decided, and every row was inserted."""

    def quiet() -> bool:
        found = {name: scrape(url) for name, url in urls.items()}
        everything = [entry for samples in found.values() for entry in samples.items()]
        lags = [value for (name, _), value in everything if name == "optin_input_lag_records"]
        # A lane that has not told yet is not quiet.
        timers = found["journeys-0"].get(("optin_timers_pending", "lane=subjects"), 1)
        told = Counter(name == "PushAttempted" for name, _ in on(bootstrap, "optin.deliveries"))
        facts = sum(len(on(bootstrap, f"optin.{topic}")) for topic in MEASURED)
        rows = found["metrics-0"]["optin_rows_inserted_total", ""]
        return bool(lags) and not any(lags) and not timers and told[True] == told[False] and rows == facts

    assert wait_until(quiet, SETTLE_S)


def silence(stack: Stack, urls: dict[str, str]) -> None:
    """A stopped broker makes every worker unready and none unhealthy; then they are ready again."""
    broker = stack.pids()["kafka"]

    def reasons(url: str) -> list[str]:
        return list(state(url, "/readyz")[1].get("reasons", []))

    os.kill(broker, signal.SIGSTOP)
    try:
        assert wait_until(lambda: all("broker_silent" in reasons(url) for url in urls.values()), SETTLE_S)
        for url in urls.values():
            assert get(url, "/healthz")[0] == 200
            assert scrape(url)["optin_ready", ""] == 0
            assert not any(name.startswith("optin_input_lag") for name, _ in scrape(url))
    finally:
        os.kill(broker, signal.SIGCONT)
    assert wait_until(lambda: all(ready(url) for url in urls.values()), SETTLE_S)


def kill(stack: Stack) -> None:
    """A killed worker tells of itself again, from zero, where the stack says that it is."""
    os.kill(stack.pids()["journeys-0"], signal.SIGKILL)

    def again() -> Samples:
        return scrape(stack.endpoints()["journeys-0"])

    assert wait_until(lambda: again().get(("optin_ready", "")) == 0, SETTLE_S)
    assert wait_until(lambda: again().get(("optin_ready", "")) == 1, SETTLE_S)
    assert again()["optin_recovered_records_total", "lane=subjects"] >= len(PEOPLE)
    assert of(again(), "optin_dead_letters_total") == {}
