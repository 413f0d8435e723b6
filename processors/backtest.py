"""Recorded facts through other definitions, by the event clock and on the core alone.

Each partition is folded as its lane folds it: in the order of (time, rank of the topic, offset), dues at a
time after all facts at that time. A `send` counts as accepted. So what was recorded under the event clock
comes out the same by the definitions that decided it; what was recorded by the wall clock differs where the
order of arrival, a slot that was given back, or the moment of a decision made a difference.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from connectors.kafka.read import read_topic
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from connectors.time_zones import zone_table
from ledger import facts as f
from ledger.consent_fold import refusal
from ledger.definitions import Definitions
from ledger.fold import fold
from ledger.journeys import fire
from ledger.profile import stage
from ledger.setting import Setting
from ledger.subject import NEW, Subject, wake_at
from ledger.unreadable import mark
from processors.agents import intake
from processors.agents.intake import Accepted
from processors.topic_names import ACTIVITY, DECISIONS, DELIVERIES, ITEM_CHANGES, PERMISSIONS, TOKENS

INPUTS: Final = (PERMISSIONS, TOKENS, ACTIVITY, ITEM_CHANGES)
"""In the order of their rank."""

FOLD_ORDER: Final = "fold_order"
SLOT_RELEASED: Final = "slot_released"
CLOCK: Final = "clock"
DEFINITIONS: Final = "definitions"
"""Causes of a difference; the last one where other definitions decided than those that are tried."""

Place = tuple[str, str, str, int, int, int]
"""Which decision: subject, journey, step, when it was wanted (ms), revision, then a number."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """A decision, as far as it is compared, and the stage of its subject at that moment."""

    journey: str
    subject: str
    at: int
    verdict: str
    reason: str | None
    step: str
    items: tuple[str, ...]
    revision: int
    group: str = ""

    @property
    def is_final(self) -> bool:
        """Whether it is the candidate's last word."""
        return self.verdict != "hold"


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of one run over all partitions, and what was recorded."""

    derived: dict[Place, Decided] = dataclasses.field(default_factory=dict)
    recorded: dict[Place, Decided] = dataclasses.field(default_factory=dict)
    facts: int = 0
    versions: set[str] = dataclasses.field(default_factory=set)
    """Definitions that the recorded decisions cite."""
    disordered: set[str] = dataclasses.field(default_factory=set)
    """Subjects whose facts arrived in another order than they happened."""
    released: set[str] = dataclasses.field(default_factory=set)
    """Subjects who got a slot back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One decision that came out otherwise, and why."""

    recorded: Decided | None
    derived: Decided | None
    cause: str


def differences(outcome: Outcome, definitions: Definitions) -> Iterator[Difference]:
    """Every decision that is not the same in both, with its cause, in a fixed order."""
    mine = {definitions.policy_version, *definitions.journey_versions.values()}
    others_decided = not outcome.versions <= mine
    for place in sorted(outcome.derived.keys() | outcome.recorded.keys()):
        have, want = outcome.derived.get(place), outcome.recorded.get(place)
        if _told(have) == _told(want):
            continue
        subject = (have or want).subject  # type: ignore[union-attr] # one of them is there
        if others_decided:
            cause = DEFINITIONS
        elif have is not None and want is not None and _told(have, timed=False) == _told(want, timed=False):
            cause = CLOCK
        elif subject in outcome.released:
            cause = SLOT_RELEASED
        else:
            cause = FOLD_ORDER if subject in outcome.disordered else CLOCK
        yield Difference(want, have, cause)


def _told(decided: Decided | None, *, timed: bool = True) -> Any:
    if decided is None:
        return None
    known = dataclasses.replace(decided, group="")
    return known if timed else dataclasses.replace(known, at=0)


def tally(decisions: Iterable[Decided]) -> dict[str, Counter[str]]:
    """Per journey: candidates, and final decisions by verdict and reason."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in decisions:
        found[one.journey]["candidates"] += one.revision == 0
        if one.is_final:
            found[one.journey][one.verdict if one.reason is None else f"{one.verdict} {one.reason}"] += 1
    return dict(found)


def by_group(decisions: Iterable[Decided]) -> Counter[tuple[str, str]]:
    """Sends by (journey, stage of the subject at that moment)."""
    return Counter((one.journey, one.group) for one in decisions if one.verdict == "send")


Heard = Callable[[f.SubjectFact], None]
"""Called with each fact that follows."""


async def run_partition(
    bootstrap: str,
    partition: int,
    definitions: Definitions,
    outcome: Outcome,
    heard: Heard = lambda _: None,
) -> None:
    """Fold one partition's recorded facts and add what follows, and what was recorded, to `outcome`."""
    heads: list[list[tuple[int, int, int, Any]]] = []
    for rank, topic in enumerate(INPUTS):
        read = []
        async for records in read_topic(bootstrap, topic, [partition]):
            for record in records:
                at, item = intake.read(record, ours=topic == ITEM_CHANGES)
                read.append((at, rank, record.offset, item))
        heads.append(read)
    _note_order(heads, outcome)
    fold_partition(heads, definitions, outcome, heard)
    async for records in read_topic(bootstrap, DECISIONS, [partition]):
        for record in records:
            _, item = intake.read(record, ours=True)
            if isinstance(item, Accepted) and isinstance(item.fact, f.PushDecided):
                _note(outcome.recorded, item.fact, _decided(item.fact))
                outcome.versions |= {item.fact.policy_version, item.fact.journey_version}
    async for records in read_topic(bootstrap, DELIVERIES, [partition]):
        for record in records:
            _, item = intake.read(record, ours=True)
            if isinstance(item, Accepted) and _gives_back(item.fact):
                outcome.released.add(item.fact.subject)


def _gives_back(fact: f.Fact) -> bool:
    """Whether a slot of the caps is free again: not while the decision goes to another installation."""
    return isinstance(fact, f.PushRejected | f.PushWithheldLate) and fact.next_installation is None


def fold_partition(
    heads: list[list[tuple[int, int, int, Any]]],
    definitions: Definitions,
    outcome: Outcome,
    heard: Heard,
) -> None:
    """Fold what was read of one partition: for each topic (time, rank, offset, what was read)."""
    rules, texts, zones = CelRules(), LiquidTexts(), zone_table()
    rows: dict[str, Subject] = {}
    timers: list[tuple[int, bytes, str]] = []
    following = {PERMISSIONS: 0, TOKENS: 0}
    now = 0

    def setting() -> Setting:
        return Setting(definitions, zones, rules, texts, following[PERMISSIONS], following[TOKENS])

    def keep(name: str, row: Subject, facts: tuple[f.SubjectFact, ...]) -> None:
        rows[name] = row
        due = wake_at(row)
        if due is not None:
            heapq.heappush(timers, (due, name.encode(), name))
        for fact in facts:
            heard(fact)
            if isinstance(fact, f.PushDecided):
                told = dataclasses.replace(_decided(fact), group=stage(row.profile, fact.occurred_at))
                _note(outcome.derived, fact, told)

    def fire_before(instant: float) -> None:
        nonlocal now
        while timers and timers[0][0] < instant:
            due, _, name = heapq.heappop(timers)
            if wake_at(rows[name]) != due:
                continue
            now = max(now, due)
            keep(name, *fire(rows[name], name, now, setting()))

    for at, rank, offset, item in heapq.merge(*heads, key=lambda head: head[:3]):
        fire_before(at)
        now = max(now, at)
        outcome.facts += 1
        if INPUTS[rank] in following:
            following[INPUTS[rank]] = offset + 1
        if not isinstance(item, Accepted):
            _mark(item, rank, offset, rows)
            continue
        name = item.fact.subject
        row = rows.get(name, NEW)
        if refusal(row.consent, item.fact) is not None:
            continue
        keep(name, *fold(row, name, item.fact, item.appended_ms, now, setting(), offset))
    fire_before(float("inf"))


def _mark(item: Any, rank: int, offset: int, rows: dict[str, Subject]) -> None:
    """A record of permissions that nobody could read keeps marketing away, as in the lane."""
    key = item.record.key
    if INPUTS[rank] != PERMISSIONS or not key:
        return
    name = key.decode(errors="replace")
    row = rows.get(name, NEW)
    consent = mark(row.consent, offset, intake.first_append(item.record))
    rows[name] = msgspec.structs.replace(row, consent=consent)


def _note_order(heads: list[list[tuple[int, int, int, Any]]], outcome: Outcome) -> None:
    """Remember whose facts were appended in another order than they happened."""
    latest: dict[str, tuple[int, int]] = {}
    accepted = [
        (item.appended_ms, rank, offset, at, item.fact.subject)
        for read in heads
        for at, rank, offset, item in read
        if isinstance(item, Accepted)
    ]
    for _, rank, _, at, subject in sorted(accepted):
        before = latest.get(subject)
        if before is not None and (at, rank) < before:
            outcome.disordered.add(subject)
        latest[subject] = max((at, rank), before or (at, rank))


def _note(found: dict[Place, Decided], fact: f.PushDecided, decided: Decided) -> None:
    number = 0
    while (
        place := (fact.subject, fact.journey, fact.step, fact.candidate_at, fact.revision, number)
    ) in found:
        number += 1
    found[place] = decided


def _decided(fact: f.PushDecided) -> Decided:
    return Decided(
        fact.journey,
        fact.subject,
        fact.occurred_at,
        fact.verdict,
        fact.reason,
        fact.step,
        fact.items,
        fact.revision,
    )
