"""Every place where a worker can stand still, by name: its awaits, as crash points for `faulty_worker`.

The table stands here so that a new await is seen: a test compares it with the code. Make it anew with
`python -m tests.support.crash_points`, which prints it as the code is now, and says what changed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Final

from tests.support.awaits import Place, places


def named(found: Iterable[Place], known: dict[str, Place]) -> dict[str, Place]:
    """A name for each place: the one that the table has, else one made of where it stands."""
    names = {place: name for name, place in known.items()}
    table: dict[str, Place] = {}
    for place in found:
        words = [place.module.rpartition(".")[2], *place.function.split(".")]
        words.append(re.split(r"[. ]", place.expression)[-1])
        words = [word.strip("_") for word in words if not word[0].isupper()]
        made = ".".join(dict.fromkeys(words[:-1])) + "." + words[-1]
        count = 1
        name = names.get(place, made)
        while name in table or (place not in names and name in known):
            count += 1
            name = f"{made}.{count}"
        table[name] = place
    return table


def difference(now: Iterable[Place], known: dict[str, Place]) -> list[str]:
    """What the table lacks and what it has too much, as sentences that say what to do."""
    standing, pointed = dict.fromkeys(now), set(known.values())
    return [
        *(
            f"no point: {p.module}.{p.function} awaits {p.expression} ({p.nth})"
            for p in standing
            if p not in pointed
        ),
        *(f"not in the code: {name}, {p}" for name, p in known.items() if p not in standing),
    ]


POINTS: Final[dict[str, Place]] = {
    "beside.through.work": Place("processors.lane.beside", "Beside._through", "work"),
    "changelog.read_back.start": Place("processors.lane.changelog", "read_back", "reader.start"),
    "changelog.read_back.gather": Place("processors.lane.changelog", "read_back", "asyncio.gather"),
    "changelog.read_back.getmany": Place("processors.lane.changelog", "read_back", "reader.getmany"),
    "changelog.read_back.position": Place("processors.lane.changelog", "read_back", "reader.position"),
    "changelog.read_back.sleep": Place("processors.lane.changelog", "read_back", "asyncio.sleep"),
    "changelog.read_back.stop": Place("processors.lane.changelog", "read_back", "reader.stop"),
    "changelog.ends.starting": Place(
        "processors.lane.changelog", "Watermarks.ends", "async with self._starting"
    ),
    "changelog.ends.start": Place("processors.lane.changelog", "Watermarks.ends", "client.start"),
    "changelog.ends.end_offsets": Place(
        "processors.lane.changelog", "Watermarks.ends", "self._client.end_offsets"
    ),
    "changelog.stop.stop": Place("processors.lane.changelog", "Watermarks.stop", "self._client.stop"),
    "heartbeat.beat.sleep": Place("processors.lane.heartbeat", "Heartbeat._beat", "self.sleep"),
    "lane.drain.wait": Place("processors.lane.lane", "Lane.drain", "self._idle.wait"),
    "lane.behind.ends": Place("processors.lane.lane", "Lane.behind", "self._watermarks.ends"),
    "lane.run.wait": Place("processors.lane.lane", "Lane._run", "runner.wake.wait"),
    "lane.run.turn_by_wall": Place("processors.lane.lane", "Lane._run", "self._turn_by_wall"),
    "lane.run.turn_by_events": Place("processors.lane.lane", "Lane._run", "self._turn_by_events"),
    "lane.run.end_unreadable": Place("processors.lane.lane", "Lane._run", "end_unreadable"),
    "lane.turn_by_wall.conclude": Place("processors.lane.lane", "Lane._turn_by_wall", "self._conclude"),
    "lane.turn_by_wall.take_over": Place("processors.lane.lane", "Lane._turn_by_wall", "self._take_over"),
    "lane.turn_by_wall.fold_chunks": Place("processors.lane.lane", "Lane._turn_by_wall", "self._fold_chunks"),
    "lane.turn_by_wall.fire_by_wall": Place(
        "processors.lane.lane", "Lane._turn_by_wall", "self._fire_by_wall"
    ),
    "lane.take_over.owned": Place("processors.lane.lane", "Lane._take_over", "self.hooks.owned"),
    "lane.take_over.ends": Place("processors.lane.lane", "Lane._take_over", "self._watermarks.ends"),
    "lane.fold_chunks.prepared": Place("processors.lane.lane", "Lane._fold_chunks", "self._prepared"),
    "lane.fold_chunks.before": Place("processors.lane.lane", "Lane._fold_chunks", "self.hooks.before"),
    "lane.fold_chunks.commit": Place("processors.lane.lane", "Lane._fold_chunks", "self._commit"),
    "lane.fire_by_wall.ends": Place("processors.lane.lane", "Lane._fire_by_wall", "self._watermarks.ends"),
    "lane.fire_by_wall.commit": Place("processors.lane.lane", "Lane._fire_by_wall", "self._commit"),
    "lane.turn_by_events.prepared": Place("processors.lane.lane", "Lane._turn_by_events", "self._prepared"),
    "lane.turn_by_events.commit": Place("processors.lane.lane", "Lane._turn_by_events", "self._commit"),
    "lane.prepared.prepare": Place("processors.lane.lane", "Lane._prepared", "self._prepare"),
    "lane.commit.announce": Place("processors.lane.lane", "Lane._commit", "self.hooks.announce"),
    "lane.commit.transact": Place("processors.lane.lane", "Lane._commit", "self.writer.transact"),
    "lane.commit.after": Place("processors.lane.lane", "Lane._commit", "self.hooks.after"),
    "lane.conclude.commit": Place("processors.lane.lane", "Lane._conclude", "self._commit"),
    "lane.drain_or_die.drain": Place("processors.lane.lane", "Lane._drain_or_die", "self.drain"),
    "leaders.describe.leader": Place("processors.lane.leaders", "KafkaLeaders.describe", "self._leader"),
    "leaders.describe.gather": Place("processors.lane.leaders", "KafkaLeaders.describe", "asyncio.gather"),
    "leaders.describe.again": Place("processors.lane.leaders", "KafkaLeaders.describe", "self._again"),
    "leaders.mark.ask": Place("processors.lane.leaders", "KafkaLeaders.mark", "self._ask"),
    "leaders.mark.leader": Place("processors.lane.leaders", "KafkaLeaders.mark", "self._leader"),
    "leaders.mark.again": Place("processors.lane.leaders", "KafkaLeaders.mark", "self._again"),
    "leaders.last_open.start": Place("processors.lane.leaders", "KafkaLeaders.last_open", "reader.start"),
    "leaders.last_open.end_offsets": Place(
        "processors.lane.leaders", "KafkaLeaders.last_open", "reader.end_offsets"
    ),
    "leaders.last_open.position": Place(
        "processors.lane.leaders", "KafkaLeaders.last_open", "reader.position"
    ),
    "leaders.last_open.getmany": Place("processors.lane.leaders", "KafkaLeaders.last_open", "reader.getmany"),
    "leaders.last_open.stop": Place("processors.lane.leaders", "KafkaLeaders.last_open", "reader.stop"),
    "leaders.last_committed.read_back": Place(
        "processors.lane.leaders", "KafkaLeaders.last_committed", "read_back"
    ),
    "leaders.leader.wait_on_metadata": Place(
        "processors.lane.leaders", "KafkaLeaders._leader", "self._client._wait_on_metadata"
    ),
    "leaders.leader.again": Place("processors.lane.leaders", "KafkaLeaders._leader", "self._again"),
    "leaders.ask.send": Place("processors.lane.leaders", "KafkaLeaders._ask", "self._client.send"),
    "leaders.again.sleep": Place("processors.lane.leaders", "KafkaLeaders._again", "asyncio.sleep"),
    "leaders.again.force_metadata_update": Place(
        "processors.lane.leaders", "KafkaLeaders._again", "self._client.force_metadata_update"
    ),
    "markers.marked.describe": Place("processors.lane.markers", "marked", "leaders.describe"),
    "markers.marked.sleep": Place("processors.lane.markers", "marked", "asyncio.sleep"),
    "markers.settle.describe": Place("processors.lane.markers", "settle", "leaders.describe"),
    "markers.settle.last_open": Place("processors.lane.markers", "settle", "changelogs.last_open"),
    "markers.settle.last_committed": Place("processors.lane.markers", "settle", "changelogs.last_committed"),
    "markers.settle.mark": Place("processors.lane.markers", "settle", "leaders.mark"),
    "recovery.on_rebalance.on_rebalance": Place(
        "processors.lane.recovery", "LaneRecovery.on_rebalance", "super().on_rebalance"
    ),
    "recovery.resume_streams.wait": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "self._wait"
    ),
    "recovery.resume_streams.sleep": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "asyncio.sleep"
    ),
    "recovery.resume_streams.end_unreadable": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "end_unreadable"
    ),
    "recovery.resume_streams.send": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "app.on_rebalance_complete.send"
    ),
    "recovery.resume_streams.wait.2": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "self._wait", 2
    ),
    "recovery.resume_streams.maybe_start": Place(
        "processors.lane.recovery", "LaneRecovery._resume_streams", "app._fetcher.maybe_start"
    ),
    "recovery.assign.release": Place("processors.lane.recovery", "assign", "writer.release"),
    "recovery.assign.gather": Place("processors.lane.recovery", "assign", "asyncio.gather"),
    "recovery.assign.gather.2": Place("processors.lane.recovery", "assign", "asyncio.gather", 2),
    "recovery.assign.settle": Place("processors.lane.recovery", "assign", "writer.settle"),
    "recovery.assign.read_back": Place("processors.lane.recovery", "assign", "read_back"),
    "transport.fetch.both.fetch_records": Place(
        "processors.lane.transport", "LaneThread.fetch.both", "self._fetch_records"
    ),
    "transport.fetch.call_thread": Place("processors.lane.transport", "LaneThread.fetch", "self.call_thread"),
    "transport.check_coordinator.call_thread": Place(
        "processors.lane.transport", "LaneThread.check_coordinator", "self.call_thread"
    ),
    "transport.seek_to.call_thread": Place(
        "processors.lane.transport", "LaneThread.seek_to", "self.call_thread"
    ),
    "transport.commit_offsets.commit": Place(
        "processors.lane.transport", "LaneConsumer._commit_offsets", "self._commit"
    ),
    "transport.perform_seek.seek_to_committed": Place(
        "processors.lane.transport", "LaneConsumer.perform_seek", "self.seek_to_committed"
    ),
    "transport.perform_seek.earliest_offsets": Place(
        "processors.lane.transport", "LaneConsumer.perform_seek", "self.earliest_offsets"
    ),
    "transport.perform_seek.seek_to": Place(
        "processors.lane.transport", "LaneConsumer.perform_seek", "self._thread.seek_to"
    ),
    "transport.on_partitions_revoked.on_partitions_revoked": Place(
        "processors.lane.transport", "LaneConsumer.on_partitions_revoked", "super().on_partitions_revoked"
    ),
    "transport.drain_messages.sleep": Place(
        "processors.lane.transport", "LaneConsumer._drain_messages", "asyncio.sleep"
    ),
    "transport.drain_messages.drain_once": Place(
        "processors.lane.transport", "LaneConsumer._drain_messages", "self._drain_once"
    ),
    "transport.drain_messages.wait": Place(
        "processors.lane.transport", "LaneConsumer._drain_messages", "self.wait"
    ),
    "transport.drain_once.wait_first": Place(
        "processors.lane.transport", "LaneConsumer._drain_once", "self.wait_first"
    ),
    "transport.drain_once.fetch": Place(
        "processors.lane.transport", "LaneConsumer._drain_once", "self._thread.fetch"
    ),
    "transport.drain_once.wait_first.2": Place(
        "processors.lane.transport", "LaneConsumer._drain_once", "self.wait_first", 2
    ),
    "transport.deliver.rewound": Place("processors.lane.transport", "LaneConsumer._deliver", "self._rewound"),
    "transport.deliver.deliver_chunk": Place(
        "processors.lane.transport", "LaneConsumer._deliver", "self._deliver_chunk"
    ),
    "transport.deliver_chunk.callback": Place(
        "processors.lane.transport", "LaneConsumer._deliver_chunk", "self.callback"
    ),
    "transport.rewound.seek_to": Place(
        "processors.lane.transport", "LaneConsumer._rewound", "self._thread.seek_to"
    ),
    "unreadable_state.end_unreadable.where": Place(
        "processors.lane.unreadable_state", "end_unreadable", "_where"
    ),
    "unreadable_state.where.last_offset": Place("processors.lane.unreadable_state", "_where", "_last_offset"),
    "unreadable_state.last_offset.read_back": Place(
        "processors.lane.unreadable_state", "_last_offset", "read_back"
    ),
    "watchdog.prove_that_the_loop_turns.sleep": Place(
        "processors.lane.watchdog", "Watchdog._prove_that_the_loop_turns", "self.sleep"
    ),
    "watchdog.watch.sleep": Place("processors.lane.watchdog", "Watchdog._watch", "self.sleep"),
    "watchdog.watch.check_coordinator": Place(
        "processors.lane.watchdog", "Watchdog._watch", "consumer._thread.check_coordinator"
    ),
    "watchdog.watch.lags": Place("processors.lane.watchdog", "Watchdog._watch", "self._lags"),
    "watchdog.lags.ends": Place("processors.lane.watchdog", "Watchdog._lags", "self._watermarks.ends"),
    "writer.claim.start": Place("processors.lane.writer", "TransactionalWriter.claim", "producer.start"),
    "writer.settle.settle": Place("processors.lane.writer", "TransactionalWriter.settle", "markers.settle"),
    "writer.release.stop": Place("processors.lane.writer", "TransactionalWriter.release", "producer.stop"),
    "writer.transact.begin_transaction": Place(
        "processors.lane.writer", "TransactionalWriter.transact", "producer.begin_transaction"
    ),
    "writer.transact.gather": Place(
        "processors.lane.writer", "TransactionalWriter.transact", "asyncio.gather"
    ),
    "writer.transact.commit_transaction": Place(
        "processors.lane.writer", "TransactionalWriter.transact", "producer.commit_transaction"
    ),
    "writer.transact.marked": Place(
        "processors.lane.writer", "TransactionalWriter.transact", "markers.marked"
    ),
    "writer.append.send_batch": Place(
        "processors.lane.writer", "TransactionalWriter._append", "producer.send_batch"
    ),
    "writer.append.send_batch.2": Place(
        "processors.lane.writer", "TransactionalWriter._append", "producer.send_batch", 2
    ),
    "writer.append.gather": Place("processors.lane.writer", "TransactionalWriter._append", "asyncio.gather"),
    "consent_projector.project.events": Place(
        "processors.agents.consent_projector", "consent_projector.project", "async for chunks.noack().events"
    ),
    "hand_over.begin.look_for": Place(
        "processors.agents.hand_over", "HandOver.begin", "self._policies.look_for"
    ),
    "hand_over.begin.fold_consent": Place(
        "processors.agents.hand_over", "HandOver.begin", "self._fold_consent"
    ),
    "hand_over.after.handed": Place("processors.agents.hand_over", "HandOver.after", "self._handed"),
    "hand_over.after.look_again": Place("processors.agents.hand_over", "HandOver.after", "self._look_again"),
    "hand_over.handed.send": Place("processors.agents.hand_over", "HandOver._handed", "sender.send"),
    "hand_over.look_again.look_for": Place(
        "processors.agents.hand_over", "HandOver._look_again", "self._policies.look_for"
    ),
    "hand_over.look_again.fold_consent": Place(
        "processors.agents.hand_over", "HandOver._look_again", "self._fold_consent"
    ),
    "hand_over.fold_consent.barrier": Place(
        "processors.agents.hand_over", "HandOver._fold_consent", "self._barrier"
    ),
    "identity_linker.announce.append_all": Place(
        "processors.agents.identity_linker", "IdentityLinker.announce", "self._append_all"
    ),
    "identity_linker.announce.append_all.2": Place(
        "processors.agents.identity_linker", "IdentityLinker.announce", "self._append_all", 2
    ),
    "identity_linker.announce.append_all.3": Place(
        "processors.agents.identity_linker", "IdentityLinker.announce", "self._append_all", 3
    ),
    "identity_linker.link.events": Place(
        "processors.agents.identity_linker", "identity_linker.link", "async for chunks.noack().events"
    ),
    "item_watcher.announce.behind": Place(
        "processors.agents.item_watcher", "ItemWatcher.announce", "self._behind"
    ),
    "item_watcher.announce.sleep": Place(
        "processors.agents.item_watcher", "ItemWatcher.announce", "asyncio.sleep"
    ),
    "item_watcher.announce.append_all": Place(
        "processors.agents.item_watcher", "ItemWatcher.announce", "self._append_all"
    ),
    "item_watcher.watch.events": Place(
        "processors.agents.item_watcher", "item_watcher.watch", "async for chunks.noack().events"
    ),
    "journey_runner.run.events": Place(
        "processors.agents.journey_runner", "journey_runner.run", "async for chunks.noack().events"
    ),
    "metrics_streamer.feed.prepare": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.feed", "self._prepare"
    ),
    "metrics_streamer.feed.put": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.feed", "self._queue.put"
    ),
    "metrics_streamer.run.insert": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.run", "self._insert"
    ),
    "metrics_streamer.run.get": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.run", "self._queue.get"
    ),
    "metrics_streamer.run.get.2": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.run", "self._queue.get", 2
    ),
    "metrics_streamer.run.insert.2": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer.run", "self._insert", 2
    ),
    "metrics_streamer.insert.to_thread": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer._insert", "asyncio.to_thread"
    ),
    "metrics_streamer.insert.sleep": Place(
        "processors.agents.metrics_streamer", "MetricsStreamer._insert", "asyncio.sleep"
    ),
    "metrics_streamer.stream.events": Place(
        "processors.agents.metrics_streamer", "metrics_streamer.stream", "async for chunks.noack().events"
    ),
    "metrics_streamer.stream.feed": Place(
        "processors.agents.metrics_streamer", "metrics_streamer.stream", "streamer.feed"
    ),
    "metrics_streamer.insert.run": Place(
        "processors.agents.metrics_streamer", "metrics_streamer.insert", "streamer.run"
    ),
    "push_sender.before.begin": Place(
        "processors.agents.push_sender", "PushSenderHandler.before", "self._hand_over.begin"
    ),
    "push_sender.after.after": Place(
        "processors.agents.push_sender", "PushSenderHandler.after", "self._hand_over.after"
    ),
    "push_sender.announce.append_all": Place(
        "processors.agents.push_sender", "PushSenderHandler.announce", "self._append_all"
    ),
    "push_sender.send.events": Place(
        "processors.agents.push_sender", "push_sender.send", "async for chunks.noack().events"
    ),
    "subject_rows.before.reappend": Place(
        "processors.agents.subject_rows", "SubjectHandler.before", "self._reappend"
    ),
    "wiring.journeys.before.append_all": Place("processors.wiring", "journeys.before", "appender.append_all"),
    "wiring.journeys.before.look_for": Place("processors.wiring", "journeys.before", "archive.look_for"),
    "wiring.journeys.before.before": Place("processors.wiring", "journeys.before", "handler.before"),
    "wiring.journeys.owned.read_for": Place("processors.wiring", "journeys.owned", "archive.read_for"),
    "wiring.delivery.barrier.folded": Place("processors.wiring", "delivery.barrier", "_folded"),
    "wiring.refuse_claims.ends": Place("processors.wiring", "_refuse_claims", "watermarks.ends"),
    "wiring.refuse_claims.stop": Place("processors.wiring", "_refuse_claims", "watermarks.stop"),
    "wiring.folded.ends": Place("processors.wiring", "_folded", "worker.watermarks.ends"),
    "wiring.folded.sleep": Place("processors.wiring", "_folded", "asyncio.sleep"),
    "append.append_all": Place("connectors.kafka.append", "Appender.append", "self.append_all"),
    "append.append_all.started": Place("connectors.kafka.append", "Appender.append_all", "self._started"),
    "append.append_all.send": Place("connectors.kafka.append", "Appender.append_all", "self._send"),
    "append.append_all.gather": Place("connectors.kafka.append", "Appender.append_all", "asyncio.gather"),
    "append.send.send": Place("connectors.kafka.append", "Appender._send", "producer.send"),
    "append.started.starting": Place(
        "connectors.kafka.append", "Appender._started", "async with self._starting"
    ),
    "append.started.start": Place("connectors.kafka.append", "Appender._started", "producer.start"),
    "append.close.stop": Place("connectors.kafka.append", "Appender.close", "self._producer.stop"),
}
"""The table: name, and where it stands."""

_NEVER_CLOSED: Final = "a worker does not close it: the process ends"
_NO_REGISTRY: Final = "asked only where a schema registry is named; tests/unit/test_registry_framing.py does"
EXEMPT: Final[dict[tuple[str, str], str]] = {
    **{
        ("item_watcher.announce.sleep", side): "more news than the load makes; `behind`, beside it, is struck"
        for side in ("before", "after")
    },
    ("lane.prepared.prepare", "before"): _NO_REGISTRY,
    ("lane.prepared.prepare", "after"): _NO_REGISTRY,
    ("metrics_streamer.feed.prepare", "before"): _NO_REGISTRY,
    ("metrics_streamer.feed.prepare", "after"): _NO_REGISTRY,
    ("append.close.stop", "before"): _NEVER_CLOSED,
    ("append.close.stop", "after"): _NEVER_CLOSED,
    ("changelog.stop.stop", "before"): _NEVER_CLOSED,
    ("changelog.stop.stop", "after"): _NEVER_CLOSED,
    ("metrics_streamer.insert.run", "after"): "what is awaited runs for ever",
    **{
        (point, side): "only where Kafka forgot markers, or is away; the simulation strikes describe and mark"
        for point in (
            "leaders.describe.again",
            "leaders.mark.ask",
            "leaders.mark.leader",
            "leaders.mark.again",
            "leaders.last_open.start",
            "leaders.last_open.end_offsets",
            "leaders.last_open.position",
            "leaders.last_open.getmany",
            "leaders.last_open.stop",
            "leaders.last_committed.read_back",
            "leaders.leader.wait_on_metadata",
            "leaders.leader.again",
            "leaders.again.sleep",
            "leaders.again.force_metadata_update",
            "markers.settle.last_open",
            "markers.settle.last_committed",
            "markers.settle.mark",
            "recovery.resume_streams.sleep",
        )
        for side in ("before", "after")
    },
    **{
        (point, side): "only over state that nobody can read; nothing is written there"
        for point in (
            "lane.run.end_unreadable",
            "recovery.resume_streams.end_unreadable",
            "unreadable_state.end_unreadable.where",
            "unreadable_state.where.last_offset",
            "unreadable_state.last_offset.read_back",
        )
        for side in ("before", "after")
    },
}
"""Sides of points that no worker gets to, with the reason. Keep it short."""


def main() -> None:
    """Print the table as the code is now; on stderr what changed. `make format` breaks its lines."""
    now = places()
    print("POINTS: Final[dict[str, Place]] = {")
    for name, place in named(now, POINTS).items():
        nth = f", {place.nth}" if place.nth > 1 else ""
        print(f'    "{name}": Place("{place.module}", "{place.function}", "{place.expression}"{nth}),')
    print("}")
    for sentence in difference(now, POINTS):
        print(sentence, file=sys.stderr)


if __name__ == "__main__":
    main()
