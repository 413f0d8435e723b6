"""A stream of consent and cart facts of a few hundred people, for tests that disturb the workers meanwhile.

Made from a seed; times are the wall clock's, as an app backend's are. All of it is good; nothing is late.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from connectors.errors import OptinError
from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.wall_clock import wall_ms

BATCH: Final = 50
PAUSE_S: Final = 0.05
AGAIN_S: Final = 1.0
FAILURES_MAX: Final = 200
"""Batches that may fail before the load gives up; one fails in a broker's outage now and then."""

POLICY: Final = """\
name: load
marketing_permissions: [authorized, provisional]
transactional_permissions: [authorized, provisional, ephemeral, pre_granted]
caps:
  - {max_pushes: 3, window: rolling_day}
quiet_hours: null
zones_otherwise: [UTC]
topics: {cart_reminders: on}
send_within: 15m
lateness_max: 24h
"""
"""Nobody is held until tomorrow, or the test would have to wait for it."""


ONE_PUSH: Final = Path(__file__).parent / "one_push"
"""The journey and the policy of docs/reference/journey-rule.md."""


def definitions(folder: Path, wait: str = "2s") -> Path:
    """Write a policy without quiet hours and a journey of one push with a short wait."""
    from processors.definitions import write_definitions

    write_definitions(folder, ONE_PUSH, wait)
    (folder / "policy.yaml").write_text(POLICY)
    return folder


def facts(seed: int, count: int, people: int) -> list[f.SubjectFact]:
    """`count` facts about `people` persons; their times are set when they are published."""
    draw = random.Random(seed)
    return [fact(draw, seed, number, draw.randrange(people)) for number in range(count)]


def racing(seed: int, spread: int, address: Callable[[int], tuple[str, str]]) -> Iterator[f.SubjectFact]:
    """People without an end who can be reached and leave a cart; every other one revokes soon after.

    The revocation comes up to `spread` facts later: before, with, or after the push. `address`: a person's
    provider and token.
    """
    draw = random.Random(seed)
    numbers = itertools.count()
    later: list[tuple[int, int]] = []

    def made(kind: Any, person: int, **fields: Any) -> f.SubjectFact:
        about: f.SubjectFact = kind(
            event_id=f"race-{seed}-{next(numbers)}",
            app="shop",
            occurred_at=0,
            source="device",
            subject=f"race-{person}",
            installation=f"phone-{person}",
            **fields,
        )
        return about

    for person in itertools.count():
        yield made(f.PermissionGranted, person, level="authorized")
        provider, token = address(person)
        yield made(f.TokenRegistered, person, provider=provider, token=token)
        yield made(f.CartUpdated, person, item="boots", change="added")
        if draw.random() < 1 / 2:
            heapq.heappush(later, (3 * person + draw.randrange(spread), person))
        while later and later[0][0] <= 3 * person:
            yield made(f.PermissionRevoked, heapq.heappop(later)[1], cause="os_settings")


def passing(seed: int, at_once: int, each: int) -> Iterator[f.SubjectFact]:
    """Facts without an end about `at_once` persons at a time, some `each` of everyone, who then gives way.

    So caps are reached, and there are always people left whom they do not hold back.
    """
    draw = random.Random(seed)
    for number in itertools.count():
        yield fact(draw, seed, number, number // each + draw.randrange(at_once))


def fact(draw: random.Random, seed: int, number: int, person: int) -> f.SubjectFact:
    """One fact about a person, without its time."""
    envelope: dict[str, Any] = {
        "event_id": f"load-{seed}-{number}",
        "app": "shop",
        "occurred_at": 0,
        "source": draw.choice(["device", "device", "device", "server", "import"]),
        "subject": f"load-{person}",
    }
    here: dict[str, Any] = {"installation": f"phone-{person}"}
    match draw.randrange(12):
        case 0:
            return f.InstallationSeen(**envelope, **here, platform="ios", time_zone="Europe/Berlin")
        case 1 | 2 | 3:
            return f.PermissionGranted(**envelope, **here, level="authorized")
        case 4:
            return f.PermissionRevoked(**envelope, **here, cause="os_settings")
        case 5 | 6:
            token = f"token-{person}-{draw.randrange(2)}"
            return f.TokenRegistered(**envelope, **here, provider="console", token=token)
        case 7:
            return f.FrequencyChosen(**envelope, max_pushes=draw.randrange(4), window="rolling_week")
        case 8:
            kinds: list[type[f.SubjectFact]] = [f.MarketingPaused, f.MarketingResumed]
            return draw.choice(kinds)(**envelope)
        case 9:
            item = f"item-{draw.randrange(3)}"
            return f.OrderPlaced(**envelope, order_id=f"o-{number}", items=(item,))
        case _:
            item = f"item-{draw.randrange(3)}"
            return f.CartUpdated(**envelope, **here, item=item, change="added")


class Load(threading.Thread):
    """Publishes facts in the background; `acknowledged` holds the ids that Kafka confirmed.

    A batch that Kafka did not take is published again, as a backend would do it: the same facts, with the
    same times, by a new producer. `rate`: facts a second at most.
    """

    def __init__(self, bootstrap: str, made: Iterable[f.SubjectFact], rate: float = BATCH / PAUSE_S) -> None:
        super().__init__(name="load", daemon=True)
        self.acknowledged: set[str] = set()
        self.failure: BaseException | None = None
        self.failed_batches = 0
        self._where = bootstrap
        self._made = iter(made)
        self._pause_s = BATCH / rate
        self._enough = threading.Event()

    def run(self) -> None:
        """Publish everything, in small batches."""
        try:
            asyncio.run(self._publish())
        except BaseException as failure:  # noqa: BLE001 - told by `finish`, in the test's thread
            self.failure = failure

    def stop(self) -> frozenset[str]:
        """Publish no more than the batch at hand; the acknowledged ids."""
        self._enough.set()
        return self.finish()

    def finish(self) -> frozenset[str]:
        """Wait for the end; the acknowledged ids."""
        self.join()
        if self.failure is not None:
            raise self.failure
        return frozenset(self.acknowledged)

    async def _publish(self) -> None:
        left: list[f.SubjectFact] = []
        while True:
            try:
                async with FactPublisher(self._where) as publisher:
                    while True:
                        left = left or self._batch()
                        if not left:
                            return
                        await publisher.publish(left)
                        self.acknowledged |= {fact.event_id for fact in left}
                        left = []
                        await asyncio.sleep(self._pause_s)
            except OptinError:
                self.failed_batches += 1
                if self.failed_batches > FAILURES_MAX:
                    raise
                await asyncio.sleep(AGAIN_S)

    def _batch(self) -> list[f.SubjectFact]:
        if self._enough.is_set():
            return []
        now = wall_ms()
        return [dated(fact, now) for fact in itertools.islice(self._made, BATCH)]


def dated(fact: f.SubjectFact, at: int) -> f.SubjectFact:
    """The fact as of `at`."""
    import msgspec

    return msgspec.structs.replace(fact, occurred_at=at)
