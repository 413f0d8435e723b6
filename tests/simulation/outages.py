"""A provider that is away for five hours, in virtual time over the whole system: who left when, and who not.

People fill carts and save items all the while, and some buy while a reminder waits. `python -m
tests.simulation.outages` runs nine of them and prints their figures.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from zoneinfo import ZoneInfo

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from tests.simulation.evidence import read_plainly
from tests.simulation.judge import Decisions, judge
from tests.simulation.run import quietly
from tests.simulation.scenario import TIME, Fault, Outage, Publication, Scenario
from tests.simulation.stories import APP, ZONES
from tests.simulation.world import World
from tests.support.given import HOUR, NOON

PEOPLE: Final = 40
PARTITIONS: Final = 2
HOUR_S: Final = 3_600.0
AWAY_S: Final = 5 * HOUR_S
SPAN_S: Final = 8 * HOUR_S
WAIT_S: Final = 600.0
WAYS: Final = ("refuses", "swallows", "mute")
WITHIN_S: Final = (900.0, 4 * HOUR_S, 8 * HOUR_S)
SEEDS: Final = len(WAYS) * len(WITHIN_S)
"""Every way of being away with every limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What came of an outage; spans in s."""

    objections: list[str]
    counts: Counter[str]
    purchase_to_send_s: float
    """The longest time from a purchase to the reminder of what was bought, decided before it."""


def outage(seed: int) -> Scenario:
    """Five hours without the provider, in which workers are killed; the seed gives when, how, and to whom."""
    draw = random.Random(seed)
    begins = draw.uniform(0.5, 2.0) * HOUR_S
    start_ms = NOON + (seed % 4) * 3 * HOUR
    people = [f"o{seed}-{number}" for number in range(PEOPLE)]
    told = sorted((one for name in people for one in _life(name, draw, start_ms)), key=lambda one: one[0])
    return Scenario(
        seed=seed,
        by_events=False,
        partitions=PARTITIONS,
        workers=2,
        static=False,
        chunk_records=50,
        latency_s=0.01,
        start_ms=start_ms,
        wait_s=WAIT_S,
        quiet=True,
        clocks_s=(0.0,),
        provider=(0.0, 0.0, 0.0, 0.0),
        publications=tuple(_published(at, fact) for at, fact in told),
        faults=tuple(
            Fault("crash", "delivery", TIME, int(draw.uniform(0, SPAN_S) * 1_000), "before", 3.0)
            for _ in range(6)
        ),
        outage=Outage(begins, begins + AWAY_S, WAYS[seed % len(WAYS)]),
        send_within_s=WITHIN_S[seed // len(WAYS) % len(WITHIN_S)],
    )


def _life(name: str, draw: random.Random, start_ms: int) -> Iterator[tuple[float, f.SubjectFact]]:
    def fact(kind: Any, at: float, **fields: Any) -> tuple[float, f.SubjectFact]:
        made: f.SubjectFact = kind(
            event_id=f"{name}-{kind.__name__}-{at}",
            app=APP,
            occurred_at=start_ms + int(at * 1_000),
            source="server",
            subject=name,
            **fields,
        )
        return at, made

    phone = f"{name}-phone"
    zone = draw.choice(ZONES)
    yield fact(f.InstallationSeen, 0.1, installation=phone, platform="ios", time_zone=zone)
    yield fact(f.PermissionGranted, 0.2, installation=phone, level="authorized")
    yield fact(f.TokenRegistered, 0.3, installation=phone, provider="console", token=f"token-{name}")
    for number, at in enumerate((draw.uniform(1, SPAN_S / 2), draw.uniform(SPAN_S / 2, SPAN_S))):
        item = f"{name}-lamp-{number}"
        yield fact(f.CartUpdated, at, item=item, change="added")
        if draw.random() < 0.5:
            bought = at + WAIT_S + draw.uniform(1, HOUR_S)
            yield fact(f.OrderPlaced, bought, order_id=f"{name}-{number}", items=(item,))
    yield fact(f.ItemSaved, draw.uniform(1, SPAN_S), item="book")


def _published(at: float, fact: f.SubjectFact) -> Publication:
    key = (f.key_of(fact) or "").encode()
    topic, home = codec.topic_of(type(fact)), partition_of(key, PARTITIONS)
    return Publication(at, topic, home, key, codec.encode(fact), type(fact).__name__)


def run_outage(mine: Scenario) -> Found:
    """Run one and look at what left when."""
    world = World(mine)
    try:
        with quietly():
            world.run()
        return _found(world, mine)
    finally:
        world.close()


def _found(world: World, mine: Scenario) -> Found:
    assert mine.outage is not None
    objections = judge(world)
    counts: Counter[str] = Counter()
    sends = {send["decision_id"]: send for send in Decisions(world).sends}
    decided_as = {}
    for record in world.broker.committed("optin.deliveries"):
        name, fields = read_plainly(record) or ("", {})
        send = sends[fields["decision_id"]]
        decided_as[fields["push_id"]] = send
        counts[f"{send['category']} {name}"] += 1
    bought = _bought(world)
    zones = _zones(world)
    longest = 0.0
    taken: Counter[str] = Counter()
    for one in world.hand_overs:
        send, at_ms = decided_as[one.push_id], mine.start_ms + one.at * 1_000
        if not one.lost:
            taken[one.push_id] += 1
        if at_ms >= send["send_before"]:
            objections.append(f"push {one.push_id} left {at_ms - send['send_before']:.0f} ms after its end")
        if send["category"] == "transactional":
            continue
        local = dt.datetime.fromtimestamp(at_ms / 1_000, ZoneInfo(zones[send["subject"]]))
        if not 8 <= local.hour < 22:
            objections.append(f"push {one.push_id} left at {local:%H:%M}")
        counts["marketing after the outage"] += one.at > mine.outage.ends and (
            send["occurred_at"] < mine.start_ms + mine.outage.ends * 1_000
        )
        bought_at = bought.get((send["subject"], send["instance"]))
        if bought_at is not None and send["occurred_at"] <= bought_at < at_ms:
            longest = max(longest, (at_ms - bought_at) / 1_000)
    for push, send in decided_as.items():
        if send["category"] == "transactional" and not taken[push]:
            objections.append(f"push {push} is transactional and was never taken")
        counts[f"{send['category']} taken again"] += taken[push] > 1
    return Found(objections, counts, longest)


def _bought(world: World) -> dict[tuple[str, str], int]:
    """(subject, journey instance) -> when what the instance is about was bought (ms)."""
    orders: dict[str, int] = {}
    carts: dict[str, str] = {}
    for record in world.broker.committed("optin.activity"):
        name, fields = read_plainly(record) or ("", {})
        if name == "OrderPlaced":
            orders.update(dict.fromkeys(fields["items"], fields["occurred_at"]))
        elif name == "CartUpdated":
            carts[fields["event_id"]] = fields["item"]
    return {
        (started["subject"], instance): orders[item]
        for instance, started in Decisions(world).started.items()
        if (item := carts.get(started["trigger_event_id"], "")) in orders
    }


def _zones(world: World) -> dict[str, str]:
    read = (read_plainly(record) or ("", {}) for record in world.broker.committed("optin.permissions"))
    return {fields["subject"]: fields["time_zone"] for name, fields in read if name == "InstallationSeen"}


def main() -> None:
    """Run each kind of outage once."""
    for seed in range(SEEDS):
        mine = outage(seed)
        found = run_outage(mine)
        assert mine.outage is not None
        print(f"seed {seed}: {mine.outage.how}, marketing within {mine.send_within_s / HOUR_S:g} h")
        print(f"  {dict(sorted(found.counts.items()))}")
        print(f"  longest purchase-to-send span {found.purchase_to_send_s:,.0f} s")
        for objection in found.objections:
            print(f"  WRONG: {objection}")


if __name__ == "__main__":
    main()
