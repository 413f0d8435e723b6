"""People with an address, and pushes decided for them: one by the core, and as many like it as are wanted."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from connectors.placement import partition_of
from ledger import facts as f
from ledger.fold import fold
from ledger.journeys import fire
from ledger.subject import NEW
from processors.benchmarks.arena import PARTITIONS
from processors.definitions.loader import examine
from processors.definitions.setting import setting_of
from processors.wall_clock import wall_ms
from tests.providers.cost.client import BODY, TITLE
from tests.support.given import HOUR, NOON, fact
from tests.support.load import ONE_PUSH

DEFINITIONS: Final[Path] = ONE_PUSH
AGO_MS: Final = HOUR
SEND_WITHIN_MS: Final = HOUR
"""Longer than any run, so that nothing is withheld for being late."""

Address = Callable[[int], str]
Ends = Mapping[int, int]


def person(provider: str, number: int) -> str:
    """The person of this number who is reached by the provider."""
    return f"{provider}-{number}"


def reachable(name: str, provider: str, address: str, at: int) -> list[f.SubjectFact]:
    """What makes a person reachable."""

    def said(kind: type[f.SubjectFact], **fields: Any) -> f.SubjectFact:
        return fact(kind, at, subject=name, event_id=f"{name}-{kind.__name__}", **fields)

    return [
        said(f.InstallationSeen, platform="ios", time_zone="Europe/Berlin"),
        said(f.PermissionGranted, level="authorized"),
        said(f.TokenRegistered, provider=provider, token=address),
    ]


def people(provider: str, count: int, address: Address) -> Iterator[f.SubjectFact]:
    """So many people who may be pushed to."""
    at = wall_ms() - AGO_MS
    for number in range(count):
        yield from reachable(person(provider, number), provider, address(number), at)


@cache
def decided() -> f.PushDecided:
    """A `send` with all that the gate looked at, as the journeys role would have appended it."""
    found = examine(DEFINITIONS).definitions
    assert found is not None
    setting = setting_of(found)
    for number in itertools.count():  # some are held out
        name, state = f"somebody-{number}", NEW
        cart = fact(f.CartUpdated, NOON, subject=name, item="boots", change="added")
        for one in (*reachable(name, "apns", "address", NOON - HOUR), cart):
            state, _ = fold(state, name, one, one.occurred_at, one.occurred_at, setting)
        _, said = fire(state, name, NOON + 2 * HOUR, setting)
        for one in said:
            if isinstance(one, f.PushDecided) and one.verdict == "send":
                return one
    raise AssertionError("nobody is sent anything")


def decisions(
    provider: str, count: int, permissions_next: Ends, tokens_next: Ends
) -> Iterator[f.PushDecided]:
    """A decided push to each of these people, never decided before."""
    model, now = decided(), wall_ms()
    for number in range(count):
        name, unique = person(provider, number), str(uuid.uuid4())
        home = partition_of(name.encode(), PARTITIONS)
        yield msgspec.structs.replace(
            model,
            subject=name,
            event_id=unique,
            decision_id=unique,
            instance=unique,
            occurred_at=now,
            candidate_at=now,
            send_before=now + SEND_WITHIN_MS,
            permissions_next=permissions_next[home],
            tokens_next=tokens_next[home],
            title=TITLE,
            body=BODY,
        )
