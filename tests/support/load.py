"""A stream of consent and cart facts of a few hundred people, for tests that disturb the workers meanwhile.

Made from a seed; times are the wall clock's, as an app backend's are. All of it is good; nothing is late.
"""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import Any, Final

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.wall_clock import wall_ms

BATCH: Final = 50
PAUSE_S: Final = 0.05

POLICY: Final = """\
name: load
marketing_permissions: [authorized, provisional]
transactional_permissions: [authorized, provisional, ephemeral, pre_granted]
caps:
  - {max_pushes: 3, window: rolling_day}
quiet_hours: {from: "00:00", to: "00:00"}
zones_otherwise: [UTC]
topics_on: [cart_reminders]
send_within: 15m
lateness_max: 24h
"""
"""Nobody is held until tomorrow, or the test would have to wait for it."""


def definitions(folder: Path, wait: str = "2s") -> Path:
    """Write a policy without quiet hours and the shipped journey with a short wait."""
    from processors.definitions import write_with_wait

    write_with_wait(folder, wait)
    (folder / "policy.yaml").write_text(POLICY)
    return folder


def facts(seed: int, count: int, people: int) -> list[f.SubjectFact]:
    """`count` facts about `people` persons; their times are set when they are published."""
    draw = random.Random(seed)
    made: list[f.SubjectFact] = []
    for number in range(count):
        person = draw.randrange(people)
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
                made.append(f.InstallationSeen(**envelope, **here, platform="ios", time_zone="Europe/Berlin"))
            case 1 | 2 | 3:
                made.append(f.PermissionGranted(**envelope, **here, level="authorized"))
            case 4:
                made.append(f.PermissionRevoked(**envelope, **here, cause="os_settings"))
            case 5 | 6:
                token = f"token-{person}-{draw.randrange(2)}"
                made.append(f.TokenRegistered(**envelope, **here, provider="console", token=token))
            case 7:
                made.append(
                    f.FrequencyChosen(**envelope, max_pushes=draw.randrange(4), window="rolling_week")
                )
            case 8:
                kind = draw.choice([f.MarketingPaused, f.MarketingResumed])
                made.append(kind(**envelope))
            case 9:
                item = f"item-{draw.randrange(3)}"
                made.append(f.OrderPlaced(**envelope, order_id=f"o-{number}", items=(item,)))
            case _:
                item = f"item-{draw.randrange(3)}"
                made.append(f.CartUpdated(**envelope, **here, item=item, change="added"))
    return made


class Load(threading.Thread):
    """Publishes facts in the background; `acknowledged` holds the ids that Kafka confirmed."""

    def __init__(self, bootstrap: str, made: list[f.SubjectFact]) -> None:
        super().__init__(name="load", daemon=True)
        self.acknowledged: set[str] = set()
        self.failure: BaseException | None = None
        self._where = bootstrap
        self._made = made

    def run(self) -> None:
        """Publish everything, in small batches."""
        try:
            asyncio.run(self._publish())
        except BaseException as failure:  # noqa: BLE001 - told by `finish`, in the test's thread
            self.failure = failure

    def finish(self) -> frozenset[str]:
        """Wait for the end; the acknowledged ids."""
        self.join()
        if self.failure is not None:
            raise self.failure
        return frozenset(self.acknowledged)

    async def _publish(self) -> None:
        async with FactPublisher(self._where) as publisher:
            for begin in range(0, len(self._made), BATCH):
                now = wall_ms()
                batch = [dated(fact, now) for fact in self._made[begin : begin + BATCH]]
                await publisher.publish(batch)
                self.acknowledged |= {fact.event_id for fact in batch}
                await asyncio.sleep(PAUSE_S)


def dated(fact: f.SubjectFact, at: int) -> f.SubjectFact:
    """The fact as of `at`."""
    import msgspec

    return msgspec.structs.replace(fact, occurred_at=at)
