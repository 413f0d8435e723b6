"""A load that goes on until it is told to stop, with new people all the time, so that caps end no pushes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import count
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from connectors import codec
from connectors.kafka.publish import FactPublisher
from connectors.placement import partition_of
from ledger import facts as f
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.load import Load, dated, facts

ROUND_FACTS: Final = 200
ROUND_PEOPLE: Final = 20
BATCH: Final = 10
CLAIMED: Final = 40
"""Tablets that people share."""


class SteadyLoad(Load):
    """About `per_s` facts a second from `start` to `finish`; `rest` and `go_on` in between."""

    def __init__(self, bootstrap: str, seed: int, per_s: float) -> None:
        super().__init__(bootstrap, [])
        self._seed = seed
        self._pause_s = BATCH / per_s
        self._enough = threading.Event()
        self._going = threading.Event()
        self._resting = threading.Event()
        self._going.set()

    def check(self) -> None:
        """Raise what ended the load before its time."""
        if self.failure is not None:
            raise self.failure

    def rest(self) -> frozenset[str]:
        """Publish nothing until `go_on`; the ids that were acknowledged so far."""
        self._resting.clear()
        self._going.clear()
        while self.is_alive() and not self._resting.wait(0.1):
            pass
        self.check()
        return frozenset(self.acknowledged)

    def go_on(self) -> None:
        """Publish again."""
        self._going.set()

    def finish(self) -> frozenset[str]:
        """Stop; the acknowledged ids."""
        self._enough.set()
        self.go_on()
        return super().finish()

    def misplace(self, count: int, partitions: int) -> None:
        """Append grants of `count` new people one partition further than where they belong."""
        people = [f"lost-{len(self.acknowledged)}-{number}" for number in range(count)]
        grants = [
            fact(f.PermissionGranted, wall_ms(), subject=who, event_id=f"{who}-g", level="authorized")
            for who in people
        ]

        async def append() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self._where) as producer:
                for one in grants:
                    key = one.subject.encode()
                    elsewhere = (partition_of(key, partitions) + 1) % partitions
                    await producer.send_and_wait(
                        "optin.permissions", codec.encode(one), key=key, partition=elsewhere
                    )
                    self.acknowledged.add(one.event_id)

        asyncio.run(append())

    async def _publish(self) -> None:
        made = _people(self._seed)
        async with FactPublisher(self._where) as publisher:
            while not self._enough.is_set():
                if not self._going.is_set():
                    self._resting.set()
                    await asyncio.sleep(0.05)
                    continue
                batch: list[f.Fact] = [dated(next(made), wall_ms()) for _ in range(BATCH)]
                batch.append(_claim(len(self.acknowledged), wall_ms()))
                await publisher.publish(batch)
                self.acknowledged |= {one.event_id for one in batch}
                await asyncio.sleep(self._pause_s)


def _claim(number: int, at: int) -> f.InstallationClaimed:
    """A shared tablet changes hands again and again."""
    return f.InstallationClaimed(
        event_id=f"claim-{number}",
        app="shop",
        occurred_at=at,
        source="device",
        installation=f"tablet-{number % CLAIMED}",
        subject=f"guest-{number}",
    )


def _people(seed: int) -> Iterator[f.SubjectFact]:
    for number in count():
        for one in facts(seed + number, ROUND_FACTS, ROUND_PEOPLE):
            yield msgspec.structs.replace(one, subject=f"{one.subject}-{number}")
