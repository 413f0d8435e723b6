"""`optin bench`: how fast the consent role folds, on a real broker of its own."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from aiokafka import AIOKafkaConsumer, TopicPartition

from connectors.errors import InvariantBroken, Transient
from ledger import facts as f
from ledger import subject as rows
from ledger.consent import EMPTY, Consent, evolve
from processors import report
from processors.bounded_run import BoundedRun
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY
from processors.prepare import publish
from processors.stack import Stack
from processors.topic_names import JOURNEYS_CHANGELOG

FIRST_MS: Final = 1_767_225_600_000
"""2026-01-01: the benchmark's facts have fixed times in the past."""
WAIT_S_MAX: Final = 600.0
PARTITIONS: Final = 8
POLL_MS: Final = 50
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def bench(
    events: Annotated[int, typer.Option(min=1_000, help="Consent facts to fold.")] = 200_000,
    subjects: Annotated[int, typer.Option(min=1, help="People they are about.")] = 50_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure the consent role: events per second and CPU seconds per million events.

    One worker of `journeys`, all of its threads counted, from its first transaction to its last, against an
    embedded Kafka with acks=all. The result is void (an error) unless the final rows equal a plain fold.
    Absolute figures depend on the machine and on what else it does; compare ratios of one run.
    """
    with report.progress() as progress, tempfile.TemporaryDirectory(prefix="optin-bench-") as folder:
        stack = Stack(
            Path(folder),
            roles={"journeys": 1},
            prepare=[publish(None)],
            progress=progress,
            partitions=PARTITIONS,
        )
        with stack:
            run = BoundedRun(stack, progress)
            run.publish(_facts(events, subjects), "consent facts")
            stack.start_roles()
            progress("Folding")
            consent = asyncio.run(_measure(stack, events, subjects))
    result = {"consent": consent, "load_1m": round(os.getloadavg()[0], 2), "cores": os.cpu_count()}
    if as_json:
        typer.echo(json.dumps(result))
    else:
        columns = ("role", "events", "events/s", "CPU s per million", "RSS MB")
        row = ("consent", events, consent["events_s"], consent["cpu_s_per_million"], consent["rss_mb"])
        report.out.print(report.table("Fold of the consent role", columns, [row]))


def _facts(events: int, subjects: int) -> Iterator[f.SubjectFact]:
    for number in range(events):
        envelope: dict[str, Any] = {
            "event_id": f"bench-{number}",
            "app": "bench",
            "occurred_at": FIRST_MS + number,
            "source": "device:bench",
            "subject": f"person-{number * 7919 % subjects}",
        }
        match number % 4:
            case 0:
                yield f.PermissionGranted(**envelope, installation="phone", level="authorized")
            case 1:
                yield f.TopicUnsubscribed(**envelope, topic="news")
            case 2:
                yield f.PermissionRevoked(**envelope, installation="phone", cause="os_settings")
            case _:
                yield f.PermissionObserved(**envelope, installation="phone", permission="authorized")


async def _measure(stack: Stack, events: int, subjects: int) -> dict[str, Any]:
    pid = stack.pids()["journeys-0"]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.kafka_bootstrap, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    folded: dict[int, int] = {}
    found: dict[str, Consent] = {}
    first_ms = last_ms = 0
    cpu_before = 0.0
    deadline = time.monotonic() + WAIT_S_MAX
    try:
        tps = [TopicPartition(JOURNEYS_CHANGELOG, number) for number in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        while sum(folded.values()) < events:
            if time.monotonic() > deadline:
                raise Transient(f"only {sum(folded.values())} of {events} events in {WAIT_S_MAX:.0f} s")
            stack.check()
            answer = await consumer.getmany(*tps, timeout_ms=POLL_MS, max_records=50_000)
            for tp, records in answer.items():
                for record in records:
                    if not first_ms:
                        first_ms, cpu_before = record.timestamp, _cpu_s(pid)
                    last_ms = max(last_ms, record.timestamp)
                    if record.key == POSITION_KEY:
                        folded[tp.partition] = sum(positions.decode(record.value).next.values())
                    else:
                        found[record.key.decode()] = rows.decode(record.value).consent
        cpu = _cpu_s(pid) - cpu_before
    finally:
        await consumer.stop()
    _refuse_wrong(found, events, subjects)
    seconds = max(last_ms - first_ms, 1) / 1000
    return {
        "events_s": round(events / seconds),
        "cpu_s_per_million": round(cpu / events * 1e6, 1),
        "rss_mb": round(_rss_mb(pid)),
    }


def _refuse_wrong(found: dict[str, Consent], events: int, subjects: int) -> None:
    expected: dict[str, Consent] = {}
    for fact in _facts(events, subjects):
        before = expected.get(fact.subject, EMPTY)
        expected[fact.subject] = evolve(before, fact, fact.occurred_at)
    if found != expected:
        raise InvariantBroken(
            "the folded rows differ from a plain fold of the same facts: the figures are void"
        )


def _cpu_s(pid: int) -> float:
    """User and system time of all threads of a process (s)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
