"""What happens in one simulation: a seed gives people, their facts and the faults; nothing else is random.

A schedule is two lists, publications and faults, so that a failing one can be shrunk by leaving things out.
Times are virtual s since the start.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Final

from connectors import codec
from connectors.placement import partition_of
from ledger import facts as f
from tests.simulation.stories import Story, shared, story
from tests.support.given import DAY, HOUR, NOON, changed

ROLES: Final = ("journeys", "delivery")
POISONS: Final = ("bytes", "truncated", "empty", "wrong_key", "absurd", "another")
"""Ways in which a record can be bad: see `poisoned`. More kinds of bad records are added here."""

CALLS: Final = {
    "journeys": ("claim", "read", "begin", "produce", "commit", "reappend", "watermarks"),
    "delivery": ("claim", "read", "begin", "produce", "commit", "send", "send", "watermarks"),
}
"""Kinds of effects that faults are aimed at; the others (joins, fetches) are hit by their number."""
TIME: Final = "time"
AIMED: Final = 0.4
TIMED: Final = 0.2
AIMED_EFFECT_MAX: Final = 12

EVENT_CLOCK_SHARE: Final = 1_000
"""By the event clock only leases go by a worker's own clock, and waiting for one is asking every 50 ms."""

FORGETTING: Final = 0.5
"""The share of seeds whose broker forgets markers at its restarts."""
FORGETTING_SALT: Final = 0x5EED

SHARED: Final = 0.4
DUPLICATED: Final = 0.08
POISONED: Final = 0.04
MISPLACED: Final = 0.06
UNDER_WAY_LONG: Final = 0.1
IN_A_TRANSACTION: Final = 0.06


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """One record that a producer appends at `at`.

    `held_s`: the producer's own transaction around it stays open for so long; then it is committed, or
    aborted with `aborted`. `note` says what is odd about it.
    """

    at: float
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    name: str
    held_s: float = 0.0
    aborted: bool = False
    note: str = ""

    def __str__(self) -> str:
        """One line for people."""
        odd = f" ({self.note})" if self.note else ""
        return f"{self.at:9.3f} s  {self.topic}/{self.partition}  {self.key!r}  {self.name}{odd}"


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in a role.

    `kind`: crash, freeze, slow, stop, join, forget. It strikes at the role's effect (call to a server) no.
    `effect`, counted over those of the kind `call` (empty: all), and `when` in the course of it: before it is
    sent, in_flight, or after its answer. With the call `time` it strikes a worker `effect` ms after the
    start, whatever that does. `seconds`: how long a worker is frozen or a call is under way, until a dead
    worker is started again, or until the broker, which writes no markers from then on, restarts and forgets
    some.
    """

    kind: str
    role: str
    call: str
    effect: int
    when: str
    seconds: float

    def __str__(self) -> str:
        """One line for people."""
        where = f"{self.call or 'effect'} {self.effect}{' ms' if self.call == TIME else f', {self.when}'}"
        return f"{self.kind} in {self.role}, {where}, {self.seconds:.1f} s"


@dataclasses.dataclass(frozen=True, slots=True)
class Outage:
    """The provider is away from `begins` to `ends` (virtual s).

    `how`: it `refuses` what it is given; or `swallows` what comes over an open connection, and no new one can
    be opened; or is `mute`: takes everything, and its answers get lost.

    Senders then keep their pace as `connectors.push.paced` does it.
    """

    begins: float
    ends: float
    how: str


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """A schedule and the deployment that it strikes."""

    seed: int
    by_events: bool
    partitions: int
    workers: int
    static: bool
    chunk_records: int
    latency_s: float
    start_ms: int
    wait_s: float
    quiet: bool
    clocks_s: tuple[float, ...]
    """By how much each worker's clock is ahead of the broker's."""
    provider: tuple[float, float, float, float]
    """Chances of a set of pushes to hang, to fail, to be unknown, to be rejected."""
    publications: tuple[Publication, ...]
    faults: tuple[Fault, ...]
    outage: Outage | None = None
    send_within_s: float = 900.0


def scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    draw = random.Random(seed)
    by_events = draw.random() < 0.2
    partitions = draw.choice((1, 2, 2, 3))
    start_ms = NOON + draw.randrange(24) * HOUR
    span_s = draw.choice((20.0, 120.0, 900.0))
    wait_s = span_s * draw.choice((0.02, 0.1, 0.5))
    people = [
        story(f"s{seed}-{number}", draw, start_ms, span_s, wait_s) for number in range(draw.randint(2, 6))
    ]
    if draw.random() < SHARED and not by_events:  # claims are taken by the wall clock only
        pair = f"s{seed}-x", f"s{seed}-y"
        people.append(shared(pair, draw, start_ms, span_s, wait_s))
    skewed = draw.random() < 0.4
    clocks = tuple(_ahead(draw) if skewed else draw.uniform(-0.5, 0.5) for _ in range(8))
    if by_events:
        clocks = tuple(ahead / EVENT_CLOCK_SHARE for ahead in clocks)
    publications = _publications(people, draw, partitions, by_events=by_events)
    hang = draw.choice((0.0, 0.0, 0.15))
    fail, unknown, rejected = (draw.choice((0.0, 0.1)) for _ in range(3))
    return Scenario(
        seed=seed,
        by_events=by_events,
        partitions=partitions,
        workers=draw.choice((1, 2, 2, 3)),
        static=draw.random() < 0.5,
        chunk_records=draw.choice((1, 3, 50)),
        latency_s=draw.choice((0.001, 0.01, 0.2)),
        start_ms=start_ms,
        wait_s=wait_s,
        quiet=draw.random() < 0.3,
        clocks_s=clocks,
        provider=(hang, fail, unknown, rejected),
        publications=publications,
        faults=(
            *(_fault(draw, len(publications), span_s) for _ in range(draw.randint(0, 8))),
            *_forgetting(random.Random(seed ^ FORGETTING_SALT), span_s),
        ),
    )


def shrunk(whole: Scenario, publications: Sequence[int], faults: Sequence[int]) -> Scenario:
    """The same scenario with these publications and faults alone (by their numbers)."""
    return dataclasses.replace(
        whole,
        publications=tuple(whole.publications[number] for number in publications),
        faults=tuple(whole.faults[number] for number in faults),
    )


def _ahead(draw: random.Random) -> float:
    """How far a clock is ahead (s): mostly little, now and then up to a day either way."""
    day = DAY / 1000
    return draw.choice((0.0, draw.uniform(-2, 2), draw.uniform(-300, 300), draw.uniform(-day, day)))


def _fault(draw: random.Random, publications: int, span_s: float) -> Fault:
    kind = draw.choice(
        ("crash", "crash", "crash", "crash", "freeze", "freeze", "slow", "slow", "stop", "join")
    )
    seconds = {
        "crash": draw.choice((0.1, 3.0, 20.0)),
        "freeze": draw.choice((0.5, 8.0, 14.0, 45.0)),
        "slow": draw.choice((0.5, 6.0, 14.0)),
        "stop": draw.choice((0.1, 3.0)),
        "join": 0.0,
    }[kind]
    role, when = draw.choice(ROLES), draw.choice(("before", "in_flight", "after"))
    if draw.random() < TIMED and kind != "slow":
        return Fault(kind, role, TIME, draw.randint(0, int(1_500 * span_s)), when, seconds)
    if draw.random() < AIMED:
        return Fault(kind, role, draw.choice(CALLS[role]), draw.randint(1, AIMED_EFFECT_MAX), when, seconds)
    # Early effects (the first claims and reads) are as likely as late ones.
    reach = draw.choice((30, 150, 12 * publications))
    return Fault(kind, role, "", draw.randint(1, max(1, reach)), when, seconds)


def _forgetting(draw: random.Random, span_s: float) -> list[Fault]:
    """Restarts of a broker that forgets markers; drawn apart, so that the other faults stay as they are."""
    if draw.random() >= FORGETTING:
        return []
    return [
        Fault(
            "forget",
            draw.choice(ROLES),
            *draw.choice(
                (
                    ("commit", draw.randint(1, 3 * AIMED_EFFECT_MAX)),
                    ("claim", draw.randint(1, AIMED_EFFECT_MAX)),
                    (TIME, draw.randint(0, int(1_200 * span_s))),
                )
            ),
            draw.choice(("before", "in_flight", "after")),
            draw.choice((0.01, 0.3, 2.0, 12.0)),
        )
        for _ in range(draw.randint(1, 3))
    ]


def _publications(
    people: Sequence[Story], draw: random.Random, partitions: int, *, by_events: bool
) -> tuple[Publication, ...]:
    found: list[Publication] = []
    for told in (fact for person in people for fact in person):
        at = told.at + draw.uniform(0, 0.05)
        if draw.random() < UNDER_WAY_LONG:
            at += draw.choice((0.5, 5.0, 60.0))
        topic, key = codec.topic_of(type(told.fact)), (f.key_of(told.fact) or "").encode()
        home = partition_of(key, partitions)
        value = codec.encode(told.fact)
        placed = Publication(at, topic, home, key, value, type(told.fact).__name__, note=told.note)
        if draw.random() < MISPLACED and partitions > 1:
            elsewhere = (home + draw.randint(1, partitions - 1)) % partitions
            placed = dataclasses.replace(placed, partition=elsewhere, note=f"{told.note} misplaced".strip())
        if draw.random() < IN_A_TRANSACTION and not by_events:
            placed = dataclasses.replace(
                placed, held_s=draw.choice((0.1, 2.0, 9.0)), aborted=draw.random() < 0.3, note="held open"
            )
        found.append(placed)
        if draw.random() < DUPLICATED:
            again = at + draw.choice((0.0, 0.2, 30.0))
            found.append(
                dataclasses.replace(placed, at=again, partition=home, held_s=0.0, aborted=False, note="again")
            )
        if draw.random() < POISONED:
            found.append(poisoned(placed, draw.choice(POISONS), told.fact))
    return tuple(sorted(found, key=lambda one: one.at))


def poisoned(good: Publication, kind: str, fact: f.Fact) -> Publication:
    """A bad record that resembles a good one."""
    assert good.value is not None
    key, value = good.key, good.value
    match kind:
        case "bytes":
            value = b"\x00\x01" + value
        case "truncated":
            value = value[: len(value) // 2]
        case "empty":
            value = b""
        case "wrong_key":
            key = b"x" + (good.key or b"")
        case "absurd":
            value = codec.encode(_changed(fact, occurred_at=1))
        case _:
            value = codec.encode(_changed(fact, source="somebody"))
    return dataclasses.replace(
        good, key=key, value=value, held_s=0.0, aborted=False, name=f"bad {good.name}", note=f"poison: {kind}"
    )


def _changed(fact: f.Fact, **changes: int | str) -> f.Fact:
    made = changed(fact, **changes)
    assert isinstance(made, f.Fact)
    return made
