"""How fast a campaign goes over its subjects: a dry run, a launch with a pause in it, and one with a kill."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer, TopicPartition

from connectors import codec
from connectors.errors import Transient
from connectors.kafka.read import read_topic
from connectors.placement import partition_of
from ledger import control as rows
from ledger import definitions, subject
from ledger import facts as f
from ledger.control import DONE, RUNNING, Launch
from ledger.definitions import held_out, version_of
from ledger.fold import fold
from ledger.ids import derived
from ledger.setting import Setting
from ledger.subject import NEW
from processors import control
from processors.agents.control_rows import count_first
from processors.benchmarks import machine
from processors.benchmarks.arena import PARTITIONS, WAIT_S_MAX, Arena, Running
from processors.benchmarks.changelog import committed
from processors.benchmarks.contest import batches
from processors.benchmarks.latency import READY
from processors.benchmarks.sizes import Sizes
from processors.benchmarks.verdict import refuse_unequal
from processors.definitions.loader import examine
from processors.definitions.setting import setting_of
from processors.lane import position as positions
from processors.lane.position import POSITION_KEY, Position
from processors.topic_names import DECISIONS, JOURNEYS_CHANGELOG, PERMISSIONS
from processors.wall_clock import wall_ms

FOLDER: Final = Path(__file__).parent / "launched"
POLL_MS: Final = 50
RECORDS_PER_POLL: Final = 50_000
ROWS_PER_BATCH: Final = 5_000
SORTS: Final = 20
SILVER: Final = frozenset({18, 19})
"""Of 20 people those outside of the audience."""
FIRST_STOPPED: Final = 14
"""From this sort on consent stops the push before anything else does."""
AGO_MS: Final = 86_400_000
PAUSE_S: Final = 3.0
"""A launch that has stopped everywhere is looked at for so long: nothing may move."""
JUDGED_AGO_MS: Final = 60_000
"""Longer than the policy's decision window, so that nobody's first decision has to wait for its end."""


def measure(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """Subjects a second of one worker, in a dry run and in the launch itself, by the same moment.

    The subjects' rows are written to the changelog as the role would have, and read back. Void unless the dry
    run counts what the launch decides first, by verdict and reason, and each subject of the audience is
    decided exactly once by each launch: also by the second one, whose worker is killed half-way.
    """
    subjects = sizes.campaign_subjects
    arena.empty()
    arena.progress(f"Writing {subjects:,} subjects")
    asyncio.run(_write(arena.kafka, subjects))
    env = {"OPTIN_DEFINITIONS": str(FOLDER)}
    running = arena.worker("journeys", env=env)
    run = _Run(arena, running, subjects)
    try:
        running.wait_for(READY)
        run.recovered_mb = machine.rss_mb(running.pid)
        figures = asyncio.run(run.go(lambda: arena.worker("journeys", env=env)))
    finally:
        run.running.stop()
    arena.progress("Judging")
    found = asyncio.run(_decided(arena.kafka))
    audience = {_name(number) for number in range(subjects) if number % SORTS not in SILVER}
    for launch in ("first", "second"):
        once = {name for (of, name), times in found.times.items() if of == launch and times == 1}
        total = sum(times for (of, _), times in found.times.items() if of == launch)
        refuse_unequal(f"launch {launch}", "the count of decisions", total, len(audience))
        refuse_unequal(f"launch {launch}", "the audience decided once", len(once & audience), len(audience))
        refuse_unequal("dry run", f"its count beside launch {launch}", run.counts, found.counts[launch])
    refuse_unequal("campaign", "the count of decisions of no launch", found.others, 0)
    out = _campaign().flow.holdout
    reachable = (_name(number) for number in range(subjects) if number % SORTS < FIRST_STOPPED)
    expected = sum(1 for name in reachable if held_out(out, name))
    held = sum(count for word, count in run.counts.items() if word.startswith("hold_out"))
    refuse_unequal("campaign", "the count of held out", held, expected)
    return {"subjects": subjects, "audience": len(audience), **figures}


def _name(number: int) -> str:
    return f"person-{number}"


def _campaign() -> definitions.Campaign:
    (campaign,) = examine(FOLDER).bodies
    return campaign


def _sort(number: int, setting: Setting) -> bytes:
    """The row of one sort of people: most are reachable, some on the gold plan are not."""
    name, state = _name(number), NEW
    for fact in _said(number, name, wall_ms() - AGO_MS):
        state, _ = fold(state, name, fact, fact.occurred_at, fact.occurred_at, setting)
    return subject.encode(state)


def _said(number: int, name: str, at: int) -> Iterator[f.SubjectFact]:
    def envelope(what: str) -> dict[str, Any]:
        return {
            "event_id": f"{what}-{number}",
            "app": "bench",
            "occurred_at": at,
            "source": "device:bench",
            "subject": name,
        }

    here = {**envelope("here"), "installation": "phone"}
    yield f.InstallationSeen(**here, platform="ios", time_zone="Europe/Berlin")
    yield f.TokenRegistered(**here, provider="console", token="token")  # noqa: S106 - no address
    plan = "silver" if number in SILVER else "gold"
    yield f.SubjectAttributesSet(**envelope("plan"), attributes={"plan": plan})
    if number == FIRST_STOPPED:
        yield f.PermissionDenied(**here)
        return
    yield f.PermissionGranted(**here, level="authorized")
    if number == FIRST_STOPPED + 1:
        yield f.TopicUnsubscribed(**envelope("topic"), topic="offers")
    elif number == FIRST_STOPPED + 2:
        yield f.SubjectSuppressed(**envelope("ticket"), reason="open_ticket")
    elif number == FIRST_STOPPED + 3:
        yield f.MarketingPaused(**envelope("pause"))


async def _write(bootstrap: str, subjects: int) -> None:
    """Write the rows as the role would have, with a position at the beginning of the inputs."""
    found = examine(FOLDER).definitions
    assert found is not None
    setting = setting_of(found)
    sorts = [_sort(number, setting) for number in range(SORTS)]
    waiting: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(PARTITIONS)}
    position = POSITION_KEY, positions.encode(Position(next={PERMISSIONS: 0}))
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=1 << 18
    ) as producer:

        async def append(partition: int, records: list[tuple[bytes, bytes]]) -> None:
            for batch in batches(producer, records):
                await (await producer.send_batch(batch, JOURNEYS_CHANGELOG, partition=partition))

        for number in range(subjects):
            key = _name(number).encode()
            partition = partition_of(key, PARTITIONS)
            waiting[partition].append((key, sorts[number % SORTS]))
            if len(waiting[partition]) == ROWS_PER_BATCH:
                await append(partition, waiting[partition])
                waiting[partition] = []
        for partition, left in waiting.items():
            await append(partition, [*left, position])


class _Run:
    """The three launches over one worker; the third one over two."""

    def __init__(self, arena: Arena, running: Running, subjects: int) -> None:
        self.running = running
        self.counts: dict[str, int] = {}
        """What the dry run said, by verdict and reason."""
        self.recovered_mb = 0
        self._arena = arena
        self._subjects = subjects
        self._judged_at = wall_ms() - JUDGED_AGO_MS

    async def go(self, anew: Callable[[], Running]) -> dict[str, Any]:
        """Launch; what it took."""
        async with Launches(self._arena.kafka) as launches:
            dry = await self._measured(launches, "dry", dry_run=True)
            for launch in launches.of("dry"):
                for word, count in launch.counts.items():
                    self.counts[word] = self.counts.get(word, 0) + count
            wanted = sum(launch.wanted for launch in launches.of("dry"))
            real = await self._measured(launches, "first", decisions=wanted, with_pause=True)
            memory_mb = machine.rss_mb(self.running.pid)
            decided = launches.decided
            await self._tell("second", dry_run=False)
            half = self._subjects // 2
            await launches.until(lambda: launches.considered("second") >= half, self.running.check)
            self._arena.progress("Killing the worker")
            self.running.kill()
            killed_s, left = time.monotonic(), self._subjects - launches.considered("second")
            self.running = anew()
            await launches.until(
                lambda: launches.is_done("second") and launches.decided >= decided + wanted,
                self.running.check,
            )
            took_s = time.monotonic() - killed_s
        return {
            **dry,
            **real,
            "recovered_mb": self.recovered_mb,
            "worker_mb": memory_mb,
            "after_kill_s": round(took_s, 1),
            "after_kill_subjects": left,
        }

    async def _measured(
        self,
        launches: Launches,
        launch: str,
        *,
        dry_run: bool = False,
        decisions: int = 0,
        with_pause: bool = False,
    ) -> dict[str, Any]:
        decided = launches.decided
        begun = self.running.now()
        await self._tell(launch, dry_run=dry_run)
        paused = await self._paused(launches, launch) if with_pause else {}
        await launches.until(
            lambda: launches.is_done(launch) and launches.decided >= decided + decisions, self.running.check
        )
        done = self.running.now()
        what = "dry" if dry_run else "real"
        return {
            f"{what}_subjects_s": round(
                self._subjects / (done.at_s - begun.at_s - paused.get("paused_s", 0))
            ),
            f"{what}_cpu_s_per_million": round((done.cpu_s - begun.cpu_s) / self._subjects * 1e6, 1),
            **paused,
        }

    async def _paused(self, launches: Launches, launch: str) -> dict[str, Any]:
        """Pause the launch half-way, see that it stands still, and let it go on.

        `paused_subjects`: how many were left; none where it was too short to be paused.
        """
        half = self._subjects // 2
        await launches.until(lambda: launches.considered(launch) >= half, self.running.check)
        self._arena.progress("Pausing the launch")
        bootstrap = self._arena.kafka
        await control.tell(bootstrap, f.CampaignPaused(**control.envelope(launch=launch)))
        await launches.until(lambda: launches.stands(launch), self.running.check)
        at_s, considered = time.monotonic(), launches.considered(launch)
        await launches.until(lambda: time.monotonic() > at_s + PAUSE_S, self.running.check)
        refuse_unequal(
            f"launch {launch}", "what it looked at in the pause", launches.considered(launch), considered
        )
        paused_s = time.monotonic() - at_s
        await control.tell(bootstrap, f.CampaignResumed(**control.envelope(launch=launch)))
        return {"paused_s": round(paused_s, 1), "paused_subjects": self._subjects - considered}

    async def _tell(self, launch: str, *, dry_run: bool) -> None:
        self._arena.progress(f"Launch {launch} over {self._subjects:,} subjects")
        await control.tell(
            self._arena.kafka,
            f.CampaignLaunched(
                **control.envelope(
                    launch=launch,
                    campaign_version=version_of(_campaign()),
                    dry_run=dry_run,
                    judged_at=self._judged_at,
                )
            ),
        )


class Launches:
    """Follows how launches go on, as far as it is durable; an async context manager.

    `decided`: decisions since it was entered.
    """

    def __init__(self, bootstrap: str) -> None:
        self.decided = 0
        self._known: dict[int, dict[str, Launch]] = {}
        self._tps = [
            TopicPartition(topic, number)
            for topic in (JOURNEYS_CHANGELOG, DECISIONS)
            for number in range(PARTITIONS)
        ]
        self._consumer = committed(bootstrap)

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_end(*self._tps)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    def of(self, launch: str) -> list[Launch]:
        """How the launch stands in each partition that knows of it."""
        return [known[launch] for known in self._known.values() if launch in known]

    def considered(self, launch: str) -> int:
        """Subjects that it has looked at."""
        return sum(one.considered for one in self.of(launch))

    def is_done(self, launch: str) -> bool:
        """Whether it is through in all partitions."""
        return [one.state for one in self.of(launch)] == [DONE] * PARTITIONS

    def stands(self, launch: str) -> bool:
        """Whether it goes on in no partition, and each knows of it."""
        states = [one.state for one in self.of(launch)]
        return len(states) == PARTITIONS and RUNNING not in states

    async def until(self, is_so: Callable[[], bool], look: Callable[[], object]) -> None:
        """Poll until something is so; `look` is called after each poll. Raises Transient after a while."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not is_so():
            answer = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_PER_POLL)
            for tp, records in answer.items():
                if tp.topic == DECISIONS:
                    self.decided += len(records)
                    continue
                told = next((one.value for one in reversed(records) if one.key == rows.KEY), None)
                if told is not None:
                    self._known[tp.partition] = {one.launch: one for one in rows.decode(told).launches}
            look()
            if time.monotonic() > deadline:
                raise Transient(f"launches stand at {self._known} after {WAIT_S_MAX:.0f} s")


class _Decided:
    """First decisions: how often each subject has one of each launch, and their verdicts."""

    def __init__(self) -> None:
        self.times: Counter[tuple[str, str]] = Counter()
        self.counts: Mapping[str, dict[str, int]] = {"first": {}, "second": {}}
        self.others = 0

    def note(self, fact: f.Fact) -> None:
        """Take in what stands among decisions."""
        if isinstance(fact, f.PushDecided) and fact.revision == 0:
            for launch, counts in self.counts.items():
                if fact.instance == derived("campaign", launch, fact.subject):
                    self.times[launch, fact.subject] += 1
                    count_first(counts, (fact,))
                    return
        self.others += 1


async def _decided(bootstrap: str) -> _Decided:
    found = _Decided()
    async for records in read_topic(bootstrap, DECISIONS):
        for record in records:
            found.note(codec.decode(record.value))
    return found
