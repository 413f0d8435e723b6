"""Builds the worker of a role from its parts: the one place where agents, lanes and vendors meet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from faust.types import TP

from connectors.errors import Misconfigured
from connectors.kafka.append import Appender
from connectors.kafka.topics import partition_count
from connectors.push.console import ConsoleSender
from connectors.push.port import PushSender
from connectors.push.routes import Routes
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from connectors.time_zones import zone_table
from ledger.control import Control
from processors.agents import identity_linker as linking
from processors.agents import intake, reach_rows, subject_rows
from processors.agents import item_watcher as watching
from processors.agents.bad_share import ENDING, FAILED_STEPS, BadShare
from processors.agents.consent_projector import consent_projector
from processors.agents.control_rows import ControlHandler
from processors.agents.delivery_facts import Lease
from processors.agents.identity_linker import IdentityLinker, identity_linker
from processors.agents.intake import Accepted
from processors.agents.item_watcher import ItemWatcher, item_watcher, watch_records
from processors.agents.journey_runner import journey_runner
from processors.agents.metrics_streamer import MetricsStreamer, metrics_streamer
from processors.agents.push_sender import PushSenderHandler, push_sender
from processors.agents.reach_rows import ReachHandler
from processors.agents.subject_rows import SubjectHandler
from processors.definitions.archive import Archive, publish_definitions, read_archive
from processors.lane.app import lane_app
from processors.lane.changelog import Watermarks
from processors.lane.hooks import Hooks, Prepare
from processors.lane.lane import Lane
from processors.lane.merge import RecordedEnds
from processors.lane.steps import Steps
from processors.lane.table import LaneTable, RowCodec
from processors.lane.transaction import Transaction
from processors.lane.transport import Fetch
from processors.lane.watchdog import Watchdog
from processors.lane.writer import TransactionalWriter
from processors.registry_framing import writer_schemas
from processors.settings import Settings
from processors.telemetry import catalogue as measured
from processors.telemetry.provider_meter import hearer, probe_hearer, watch_pauses
from processors.telemetry.telemetry import Telemetry
from processors.topic_names import (
    CONSENT_CHANGELOG,
    DELIVERIES,
    ITEM_CHANGES,
    ITEMS_CHANGELOG,
    JOURNEYS_CHANGELOG,
    LANE_OUTPUTS,
    LINKS,
    LINKS_CHANGELOG,
    PERMISSIONS,
    SENDS_CHANGELOG,
    TOKENS,
)
from processors.wall_clock import wall_ms

log = logging.getLogger(__name__)

BARRIER_POLL_S: Final = 0.01


class Worker:
    """The parts that every role's worker has."""

    def __init__(self, role: str, settings: Settings, telemetry: Telemetry) -> None:
        self.role = role
        self.settings = settings
        self.telemetry = telemetry
        self.app = lane_app(
            f"optin.{role}",
            settings.kafka_bootstrap,
            session_timeout_s=settings.session_timeout_s,
            instance=settings.instance,
            fetch=Fetch(chunk_records=settings.chunk_records, window_chunks=settings.window_chunks),
            from_beginning=role == "metrics" and settings.metrics_from_beginning,
            probe=telemetry.probe,
        )
        self.watermarks = Watermarks(settings.kafka_bootstrap)
        self.ends = RecordedEnds(settings.ends_file) if settings.clock == "event" else None
        self.prepare: Prepare | None = None
        if (schemas := writer_schemas(settings)) is not None:
            self.prepare = schemas.prepare
            self.app.lane_waits_outside = lambda: schemas.waits
        app, watermarks, stalled = self.app, self.watermarks, settings.stalled_s_max

        @app.service
        class Guard(Watchdog):
            """This worker's watchdog."""

            def __init__(self, **kwargs: Any) -> None:
                super().__init__(app, watermarks, stalled, **kwargs)

        async def stopping(*_: Any, **__: Any) -> None:
            telemetry.health.enter("stopping")

        app.on_before_shutdown.connect(stopping, weak=False)

    def lane(self, name: str, changelog: str, rows: RowCodec, *, real_timers: bool = False) -> Lane:
        """A lane of this role, with its own table and transactional ids."""
        settings = self.settings
        prefix = f"optin.{self.role}-{name}"
        return Lane(
            self.app,
            name,
            LaneTable(changelog, rows),
            TransactionalWriter(
                settings.kafka_bootstrap, prefix, settings.transaction_timeout_s, LANE_OUTPUTS
            ),
            self.watermarks,
            bootstrap=settings.kafka_bootstrap,
            clock=wall_ms,
            ends=self.ends,
            group_chunks=settings.group_chunks,
            merge_records=settings.merge_records,
            real_timers=real_timers,
            prepare=self.prepare,
            probe=self.telemetry.probe,
            steps=Steps(
                BadShare(settings.failed_share_max, FAILED_STEPS), ENDING, name, self.telemetry.probe
            ),
        )


def journeys(settings: Settings, telemetry: Telemetry) -> Any:
    """consent_projector and journey_runner over one row per subject; identity_linker in a lane of its own.

    By the event clock there is no linker: a bounded run takes no claims, but the facts that followed from
    them. Publishes its definitions first: whatever a decision or an open instance cites can be read by
    everybody.
    """
    definitions = asyncio.run(publish_definitions(settings.kafka_bootstrap, settings.definitions))
    archive = Archive(settings.kafka_bootstrap, definitions.bodies)
    partitions = asyncio.run(partition_count(settings.kafka_bootstrap, PERMISSIONS))
    worker = Worker("journeys", settings, telemetry)
    lane = worker.lane("subjects", JOURNEYS_CHANGELOG, subject_rows.ROWS)
    by_events = settings.clock == "event"
    if by_events:
        asyncio.run(_refuse_claims(settings.kafka_bootstrap, partitions))
    appender = Appender(settings.kafka_bootstrap, intake.FIRST_APPENDED_HEADER)
    reappend = None if by_events else appender.append
    handler = SubjectHandler(
        definitions,
        zone_table(),
        CelRules(),
        LiquidTexts(),
        partitions,
        reappend,
        settings.bad_share_max,
        telemetry.meters,
        archive.bodies,
    )
    control = ControlHandler(lane.table, handler.setting, partitions, telemetry.meters)

    async def before(partition: int, items: Sequence[Any]) -> bool:
        if not by_events:
            facts = [item.fact for item in items if isinstance(item, Accepted)]
            await appender.append_all(watch_records(facts, partitions))
        await archive.look_for(control.cited(partition, items))
        return await handler.before(partition, items)

    async def owned(_: int) -> None:
        await archive.read_for(worker.app.consumer_generation_id)

    def fire(key: bytes, row: Any, transaction: Transaction) -> None:
        if isinstance(row, Control):
            control.fire(row, transaction)
        else:
            handler.fire(key, row, transaction)

    def fire_failed(key: bytes, row: Any, place: str, transaction: Transaction) -> None:
        if isinstance(row, Control):
            control.fire_failed(row, place, transaction)
        else:
            handler.fire_failed(key, row, place, transaction)

    # By the event clock nobody tells a run anything: its inputs are complete, its folder's definitions count.
    consent_projector(worker.app, lane, handler, None if by_events else control)
    others = () if by_events else (ITEM_CHANGES, DELIVERIES)
    hooks = Hooks(owned=owned, fire=fire, fire_failed=fire_failed, before=before)
    journey_runner(worker.app, lane, handler, hooks, *others)
    if not by_events:
        links_lane = worker.lane("links", LINKS_CHANGELOG, linking.ROWS)
        linker = IdentityLinker(partitions, appender.append_all, settings.bad_share_max, telemetry.meters)
        identity_linker(worker.app, links_lane, linker)
        items_lane = worker.lane("items", ITEMS_CHANGELOG, watching.ROWS)
        watcher = ItemWatcher(
            items_lane.table,
            partitions,
            appender.append_all,
            lambda: lane.behind(ITEM_CHANGES),
            telemetry.meters,
        )
        item_watcher(worker.app, items_lane, watcher)
    return worker.app


def delivery(settings: Settings, telemetry: Telemetry) -> Any:
    """Its own consent_projector, and push_sender.

    By the wall clock they are two lanes, so that a slow provider never delays a revocation. By the event
    clock they are one lane, whose merge is the barrier: consent is folded exactly up to the decision.
    """
    archive = Archive(settings.kafka_bootstrap, asyncio.run(read_archive(settings.kafka_bootstrap)))
    partitions = asyncio.run(partition_count(settings.kafka_bootstrap, PERMISSIONS))
    worker = Worker("delivery", settings, telemetry)
    app = worker.app
    consent_lane = worker.lane("consent", CONSENT_CHANGELOG, reach_rows.ROWS, real_timers=True)
    consent_projector(app, consent_lane, ReachHandler(partitions, telemetry.meters))
    by_events = settings.clock == "event"

    def reach_of(key: bytes, transaction: Any) -> Any:
        if by_events:
            return transaction.get(key)
        return consent_lane.table.get(transaction.partition, key)

    async def barrier(partition: int, permissions_next: int, tokens_next: int) -> bool:
        if by_events:
            return True
        began = time.monotonic()
        folded = await _folded(worker, partition, permissions_next, tokens_next)
        telemetry.meters.observe(measured.BARRIER, time.monotonic() - began)
        if not folded:
            telemetry.meters.add(measured.BARRIER_TIMEOUTS)
        return folded

    sender, prober = _push_senders(settings, telemetry)
    appender = Appender(settings.kafka_bootstrap, intake.FIRST_APPENDED_HEADER)
    handler = PushSenderHandler(
        sender,
        archive,
        reach_of,
        barrier,
        Lease(settings.lease_s, settings.clock_skew_s),
        wall_ms,
        leaving=lambda: bool(app.rebalancing),
        append_all=None if by_events else appender.append_all,
        retry_ms=int(settings.retry_s * 1_000),
        by_events=by_events,
        prober=prober,
        # So many go within half a lease; the others wait for another day.
        probes_max=max(1, int(settings.probe_per_s * settings.lease_s / 2)),
        meters=telemetry.meters,
    )
    send_lane = (
        consent_lane
        if by_events
        else worker.lane("sends", SENDS_CHANGELOG, reach_rows.ROWS, real_timers=True)
    )
    push_sender(app, send_lane, handler)
    return app


def _push_senders(settings: Settings, telemetry: Telemetry) -> tuple[PushSender, PushSender | None]:
    """What pushes go by, and what probes go by.

    Only addresses of the provider `console` go to the file: a push that no provider was asked to take is
    never recorded as accepted. By the event clock all go there, because a replay must not reach a person.
    """
    console, credentials = ConsoleSender(settings.pushes_file), settings.push_credentials
    if settings.clock == "event":
        log.info("the event clock: all pushes go to the file %s and reach nobody", settings.pushes_file)
        return console, None
    if credentials is None:
        log.warning(
            "no provider is configured (OPTIN_PUSH_CREDENTIALS is unset): pushes to addresses of the provider"
            " `console` go to the file %s and reach nobody, all others wait",
            settings.pushes_file,
        )
    routes = Routes(credentials, console, wall_ms, partial(hearer, telemetry.meters))
    watch_pauses(telemetry.meters, routes)
    if credentials is None or not settings.probe_per_s:
        return routes, None
    told = probe_hearer(telemetry.meters)
    return routes, Routes(credentials, console, wall_ms, lambda _: told, settings.probe_per_s)


def metrics(settings: Settings, telemetry: Telemetry) -> Any:
    """metrics_streamer into ClickHouse."""
    from connectors.clickhouse.sink import FactSink

    worker = Worker("metrics", settings, telemetry)
    sink = FactSink(settings.clickhouse_url.get_secret_value())
    streamer = MetricsStreamer(
        worker.app,
        sink,
        settings.metrics_rows_max,
        settings.metrics_wait_s,
        prepare=worker.prepare,
        meters=telemetry.meters,
    )
    telemetry.health.unready_while("clickhouse_refuses", streamer.refused)
    metrics_streamer(worker.app, streamer)
    return worker.app


ROLES: Final[dict[str, Callable[[Settings, Telemetry], Any]]] = {
    "journeys": journeys,
    "delivery": delivery,
    "metrics": metrics,
}
"""All roles of processors; `optin worker ROLE` runs one."""


def build(role: str, settings: Settings) -> Any:
    """The Faust app of a role's worker. Raises `Misconfigured` for an unknown role."""
    if role not in ROLES:
        raise Misconfigured(f"{role} is no role; the roles are {', '.join(ROLES)}")
    # Before anything else, so that it can be asked what a worker waits for that does not come up.
    telemetry = Telemetry(role, settings)
    return ROLES[role](settings, telemetry)


async def _refuse_claims(bootstrap: str, partitions: int) -> None:
    """Raise `Misconfigured` if there are claims, which nobody would fold."""
    watermarks = Watermarks(bootstrap)
    try:
        ends = await watermarks.ends((LINKS, number) for number in range(partitions))
    finally:
        await watermarks.stop()
    if any(ends.values()):
        raise Misconfigured(
            f"{LINKS} at {bootstrap} holds claims, and a run by the event clock takes none: replay the"
            " InstallationLinked and InstallationUnlinked facts that followed from them"
        )


async def _folded(worker: Worker, partition: int, permissions_next: int, tokens_next: int) -> bool:
    """Wait until consent is folded as far as permissions reach now, and both topics as far as was cited.

    False after `barrier_timeout_s`, and as soon as the group rebalances: until it has, nothing is folded.
    """
    ends = await worker.watermarks.ends([(PERMISSIONS, partition)])
    targets = {
        TP(PERMISSIONS, partition): max(permissions_next, ends[PERMISSIONS, partition]),
        TP(TOKENS, partition): tokens_next,
    }
    deadline = time.monotonic() + worker.settings.barrier_timeout_s
    while any(worker.app.consumer.reached(tp) < target for tp, target in targets.items()):
        await asyncio.sleep(BARRIER_POLL_S)
        if worker.app.rebalancing or time.monotonic() > deadline:
            return False
    return True
