"""In which role, and in which situation, a worker gets to each crash point."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.support.crash_points import EXEMPT, POINTS
from tests.support.faulty_worker import REFUSALS_ENV, SIDES, Fault


@dataclass(frozen=True, slots=True)
class Situation:
    """What brings a worker to a point. `env` and `slow`: its settings, and places at which it dawdles.

    `by`: what is done to it, or what was appended before it came; `crash_run` knows the words.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    slow: str = ""
    by: str = ""


SITUATIONS: Final = {
    "load": Situation(),
    # Another worker joins and leaves while transactions are open.
    "rebalance": Situation(slow="writer.transact.gather@before:slow:150", by="joiner"),
    # A fetch that was asked for before a rebalance is answered after its seek, and dropped.
    "late fetch": Situation(slow="transport.drain_once.fetch@before:slow:2500", by="joiner"),
    "SIGTERM": Situation(by="sigterm"),
    "full window": Situation(
        env={"OPTIN_WINDOW_CHUNKS": "1", "OPTIN_CHUNK_RECORDS": "2", "OPTIN_GROUP_CHUNKS": "1"},
        slow="lane.commit.transact@before:slow:15000",
    ),
    "letters as large as batches": Situation(by="letters"),
    "misplaced facts": Situation(by="misplaced"),
    "news of an item": Situation(by="item news"),
    "slow commits and a short lease": Situation(
        env={"OPTIN_LEASE_S": "0.3"}, slow="lane.commit.transact@after:slow:500"
    ),
    "refusals": Situation(env={REFUSALS_ENV: "1", "OPTIN_RETRY_S": "0.3"}),
    "consent lags": Situation(slow="writer.transact.begin_transaction@before:slow:200"),
    # For planted bugs: time for what should not have been counted yet to be committed.
    "slow append": Situation(slow="append.started.start@before:slow:3000", by="misplaced"),
    "slow insert": Situation(slow="metrics_streamer.insert.to_thread@before:slow:3000"),
    "no ClickHouse": Situation(env={"OPTIN_CLICKHOUSE_URL": "http://default@127.0.0.1:9/optin"}),
    "event clock": Situation(),
}

BY_POINT: Final = {
    "lane.drain.wait": "rebalance",
    "lane.drain_or_die.drain": "rebalance",
    "recovery.assign.release": "rebalance",
    "writer.release.stop": "rebalance",
    "transport.on_partitions_revoked.on_partitions_revoked": "rebalance",
    "transport.drain_messages.wait": "rebalance",
    "transport.rewound.seek_to": "late fetch",
    "transport.drain_once.wait_first": "full window",
    "writer.append.send_batch": "letters as large as batches",
    "subject_rows.before.reappend": "misplaced facts",
    "append.append_all": "misplaced facts",
    "item_watcher.announce.append_all": "news of an item",
    "item_watcher.announce.behind": "news of an item",
    "lane.behind.ends": "news of an item",
    "push_sender.announce.append_all": "refusals",
    "hand_over.after.look_again": "refusals",
    "hand_over.look_again.look_for": "refusals",
    "hand_over.look_again.fold_consent": "slow commits and a short lease",
    "wiring.folded.sleep": "consent lags",
    "metrics_streamer.insert.sleep": "no ClickHouse",
    "lane.run.turn_by_events": "event clock",
    "lane.turn_by_events.commit": "event clock",
    "lane.commit.after": "event clock",
    "lane.turn_by_events.prepared": "event clock",
    "wiring.refuse_claims.ends": "event clock",
    "wiring.refuse_claims.stop": "event clock",
}
"""Points that a worker under load does not get to by itself, or only when nothing is at stake."""

LANE_ROLES: Final = ("journeys", "delivery")
ROLES_BY_PREFIX: Final = {
    "metrics_streamer.": ("metrics",),
    "push_sender.": ("delivery",),
    "hand_over.": ("delivery",),
    "beside.": ("delivery",),
    "lane.conclude.": ("delivery",),
    "wiring.refuse_claims.": ("journeys",),
    "wiring.journeys.": ("journeys",),
    "wiring.": ("delivery",),
    "identity_linker.": ("journeys",),
    "item_watcher.": ("journeys",),
    "lane.commit.announce": ("journeys",),
    "journey_runner.": ("journeys",),
    "subject_rows.": ("journeys",),
    "append.": ("journeys",),
    "consent_projector.": LANE_ROLES,
    "writer.append.send_batch": ("journeys",),
    "lane.commit.after": ("delivery",),
    "lane.fire_by_wall.": ("journeys",),
    "lane.take_over.": ("journeys",),
    "lane.behind.": ("journeys",),
    "lane.": LANE_ROLES,
    "writer.": LANE_ROLES,
    "markers.": LANE_ROLES,
    "leaders.": LANE_ROLES,
    "changelog.read_back.": LANE_ROLES,
    "recovery.assign.": LANE_ROLES,
    "recovery.resume_streams.wait": LANE_ROLES,
    "": (*LANE_ROLES, "metrics"),
}
"""Which roles pass a point; the first prefix that fits counts."""

OFTEN: Final = (
    "lane.fold_chunks.",
    "lane.commit.",
    "writer.transact.",
    "writer.append.gather",
    "markers.marked.",
    "leaders.",
    "push_sender.",
)
"""Passed again and again: struck at a random one of the first times, so that work is done in between."""
LOOP: Final = ".events"
"""A loop over chunks is begun once; what comes after its beginning is passed again and again."""
OFTEN_MAX: Final = 5

AT_SECOND: Final = frozenset(
    {
        "lane.drain_or_die.drain",
        "transport.on_partitions_revoked.on_partitions_revoked",
    }
)
"""Passed once at the start of a worker (by each lane), which has nothing to give up yet."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill: where, in which role, in which situation."""

    fault: Fault
    role: str
    situation: str


def wanted() -> list[tuple[str, str]]:
    """Every (point, side) that a worker can get to."""
    return [(point, side) for point in POINTS for side in SIDES if (point, side) not in EXEMPT]


def roles_of(point: str) -> tuple[str, ...]:
    """The roles that pass a point."""
    return next(roles for prefix, roles in ROLES_BY_PREFIX.items() if point.startswith(prefix))


def plan(seed: int, chosen: Iterable[tuple[str, str]]) -> list[Strike]:
    """A strike for each chosen (point, side), in random order, in one of the roles that pass there."""
    draw = random.Random(seed)
    strikes = []
    for point, side in chosen:
        situation = BY_POINT.get(point, "load")
        roles = roles_of(point)
        role = draw.choice(roles if situation != "full window" else roles[:1])
        number = 1
        if point in AT_SECOND:
            number = 3 if role == "delivery" and point.startswith("lane.") else 2
        elif side == "before" and point.endswith(LOOP):
            pass
        elif point.startswith(OFTEN) and situation == "load":
            number = draw.randint(1, OFTEN_MAX)
        strikes.append(Strike(Fault(point, side, "kill", number), role, situation))
    draw.shuffle(strikes)
    return strikes
