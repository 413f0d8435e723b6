"""What is done to a running system and when: a list of faults drawn from a seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.disturbed_worker import AFTER_ATTEMPTS, AT_THE_SOCKET, MID_CHUNK

SESSION_S: Final = 6.0
"""A silent worker loses its partitions after this."""
TRANSACTION_S: Final = 15.0
"""The broker ends an open transaction after this."""

KINDS: Final = {
    "kill": "SIGKILL of one worker",
    "kill_open": "SIGKILL of one worker whose transaction is written and not committed",
    "kill_role": "SIGKILL of all workers of a role",
    "freeze": "SIGSTOP of one worker for longer than its session, then SIGCONT",
    "freeze_and_kill": "the same, and meanwhile its peer is killed",
    "freeze_at": "the same, at a named point of the code",
    "broker_kill": "SIGKILL of a Kafka node, and its restart",
    "leader_kill": "SIGKILL of the node that leads some partition, and its restart",
    "broker_freeze": "SIGSTOP of a Kafka node for seconds, then SIGCONT",
    "clickhouse_kill": "SIGKILL of ClickHouse, which is restarted",
}
FREEZES: Final = frozenset({"freeze", "freeze_and_kill", "freeze_at"})

AIMED: Final = (MID_CHUNK, AFTER_ATTEMPTS, AT_THE_SOCKET)
"""Where workers are frozen first; further points are drawn from `OTHER_POINTS`."""
OTHER_POINTS: Final = (
    "lane.commit.transact@after",
    "lane.fire_by_wall.ends@after",
    "lane.fire_by_wall.commit@before",
    "writer.append.gather@after",
    "writer.transact.begin_transaction@after",
    "writer.transact.gather@before",
    "writer.transact.commit_transaction@after",
    "hand_over.handed.send@after",
    "hand_over.fold_consent.barrier@after",
    "lane.conclude.commit@before",
    "transport.drain_once.fetch@after",
    "transport.commit_offsets.commit@before",
)
LED: Final = (
    "optin.permissions",
    "optin.activity",
    "optin.journeys-subjects-changelog",
    "optin.decisions",
    "__transaction_state",
    "__consumer_offsets",
)
"""Topics whose leaders are killed."""
EVERY_LONG: Final = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `at_s`: not before this time of the run; `hold_s`: how long the victim is away.

    `draw` in [0, 1) chooses the victim among those that are there then; `target` is the point of a
    `freeze_at` and the topic of a `leader_kill`.
    """

    kind: str
    at_s: float
    hold_s: float
    draw: float
    target: str = ""


def plan(seed: int, counts: Mapping[str, int], last_s: float) -> list[Fault]:
    """So many faults of each kind, in a random order at random times up to `last_s`.

    Times are uniform, so faults come in bursts; one that is late starts at once.
    """
    draw = random.Random(seed)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    draw.shuffle(kinds)
    times = sorted(draw.uniform(0, last_s) for _ in kinds)
    targets = {
        "freeze_at": itertools.cycle(
            [*draw.sample(AIMED, len(AIMED)), *draw.sample(OTHER_POINTS, len(OTHER_POINTS))]
        ),
        "leader_kill": itertools.cycle(draw.sample(LED, len(LED))),
    }
    seen: dict[str, int] = dict.fromkeys(kinds, 0)
    faults = []
    for kind, at_s in zip(kinds, times, strict=True):
        seen[kind] += 1
        hold_s = _hold(kind, draw, long=seen[kind] % EVERY_LONG == 0)
        target = next(targets[kind]) if kind in targets else ""
        faults.append(Fault(kind, at_s, hold_s, draw.random(), target))
    return faults


def _hold(kind: str, draw: random.Random, *, long: bool) -> float:
    """How long a victim is away (s); every fourth time longer than the broker waits for a transaction."""
    if kind in FREEZES:
        least = TRANSACTION_S if long else SESSION_S
        return draw.uniform(least + 2, least + 5)
    if kind == "broker_kill":
        return draw.uniform(TRANSACTION_S, TRANSACTION_S + 5) if long else draw.uniform(0.5, 6)
    if kind == "leader_kill":
        return draw.uniform(3, 12)
    return draw.uniform(4, 12) if kind == "broker_freeze" else 0.0


def scaled(counts: Mapping[str, int], faults: int) -> dict[str, int]:
    """The same mixture with so many faults in all (at least one of each kind)."""
    share = faults / sum(counts.values())
    found = {kind: max(1, int(count * share)) for kind, count in counts.items()}
    while sum(found.values()) < faults:
        kind = min(found, key=lambda kind: found[kind] / counts[kind])
        found[kind] += 1
    return found
