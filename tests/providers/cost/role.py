"""What a push costs with all bookkeeping: a worker of the delivery role, from decisions on Kafka to outcomes.

The worker reads and checks each decision, passes the read barrier, looks at consent again, commits the
attempt, hands the push over at its provider's pace, and commits the outcome, exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import nullcontext
from typing import Any, Final

from aiokafka import TopicPartition

from connectors import codec
from connectors.errors import Transient
from ledger import facts as f
from processors.benchmarks.arena import PARTITIONS, WAIT_S_MAX, Arena, Moment, Running
from processors.benchmarks.changelog import Follower, committed, ends_of
from processors.prepare import publish
from processors.stack import Servers
from processors.topic_names import CONSENT_CHANGELOG, DELIVERIES, PERMISSIONS, TOKENS
from tests.providers.cost.decisions import DEFINITIONS, decisions, people
from tests.providers.cost.figures import Figures
from tests.providers.cost.rounds import Look
from tests.providers.cost.servers import credentials, server
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.push_service import subscription

RATE: Final = 100_000.0
"""Of the credentials, the highest that they may name: a tenth of it, where the pace's growth begins, is more
than one core can send."""
RECOVERED: Final = "recovered optin.delivery"
LANES: Final = 2
POLL_MS: Final = 20


class Found:
    """What a worker recorded of its pushes. `accepted`: their ids."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self._kinds: Counter[str] = Counter()

    def note(self, fact: f.Fact) -> None:
        """Take in one fact of deliveries."""
        self._kinds[type(fact).__name__] += 1
        if isinstance(fact, f.PushAccepted):
            self.accepted.add(fact.push_id)

    @property
    def outcomes(self) -> int:
        """How many have come to an end."""
        return self._kinds.total() - self._kinds["PushAttempted"]

    @property
    def words(self) -> str:
        """How many facts there are of each kind."""
        return ", ".join(f"{count:,} {kind}" for kind, count in sorted(self._kinds.items()))


class Delivery:
    """People are told of once; then each run has decisions of its own and a worker of its own."""

    def __init__(self, arena: Arena, apns: ApnsMock, pushes: int) -> None:
        self._arena = arena
        self._apns = apns
        self._pushes = pushes
        self._known: dict[str, int] = {}
        arena.empty()
        publish(DEFINITIONS)(Servers(arena.kafka, ""))

    def run(self, provider: str, look: Look = lambda _: nullcontext()) -> Figures:
        """One worker over `pushes` decisions that are there before it starts."""
        with server(provider, self._apns) as told:
            self._tell_of_people(provider, told)
            ends = [asyncio.run(ends_of(self._arena.kafka, topic)) for topic in (PERMISSIONS, TOKENS)]
            before = asyncio.run(ends_of(self._arena.kafka, DELIVERIES))
            self._arena.publish(decisions(provider, self._pushes, *ends), "decisions")
            self._arena.progress(f"Delivering {self._pushes:,} pushes by {provider}")
            path = credentials(self._arena.folder, provider, told, RATE)
            running = self._arena.worker("delivery", env={"OPTIN_PUSH_CREDENTIALS": str(path)})
            try:
                begun = _recovered(running)
                with look(running):
                    done, found = asyncio.run(self._until_all_have_an_outcome(running, before))
            finally:
                running.stop()
        return Figures.between(begun, done, self._pushes, len(found.accepted), found.words)

    def _tell_of_people(self, provider: str, told: dict[str, Any]) -> None:
        """Publish who may be pushed to, and wait until a worker has folded them: that is not measured.

        Anew for Web Push: its stand-in has another origin each time, and the subscriptions name it.
        """
        address = {
            "apns": lambda number: f"{number:064x}",
            "fcm": lambda number: f"token-{number}",
            "web_push": lambda number: subscription(told["origin"], number),
        }[provider]
        if self._known.get(provider) and provider != "web_push":
            return
        self._known[provider] = 1
        self._arena.publish(people(provider, self._pushes, address), f"people with {provider}")
        running = self._arena.worker("delivery")
        try:
            asyncio.run(self._until_folded(running))
        finally:
            running.stop()

    async def _until_folded(self, running: Running) -> None:
        for topic in (PERMISSIONS, TOKENS):
            async with Follower(self._arena.kafka, CONSENT_CHANGELOG, topic) as follower:
                await follower.until(await ends_of(self._arena.kafka, topic), running.check)

    async def _until_all_have_an_outcome(
        self, running: Running, before: dict[int, int]
    ) -> tuple[Moment, Found]:
        """The moment at which the last one was seen, and what is on deliveries by then."""
        found = Found()
        consumer = committed(self._arena.kafka)
        await consumer.start()
        try:
            tps = [TopicPartition(DELIVERIES, number) for number in range(PARTITIONS)]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, before[tp.partition])
            moment, deadline = running.now(), time.monotonic() + WAIT_S_MAX
            while found.outcomes < self._pushes:
                answer = await consumer.getmany(*tps, timeout_ms=POLL_MS)
                moment = running.now()
                for records in answer.values():
                    for record in records:
                        found.note(codec.decode(record.value))
                if time.monotonic() > deadline:
                    raise Transient(f"of {self._pushes} pushes these came: {found.words}")
            return moment, found
        finally:
            await consumer.stop()


def _recovered(running: Running) -> Moment:
    """The last moment at which a worker can't have read a decision yet: both lanes' tables are read back."""
    moment, _ = running.wait_for(RECOVERED)
    while running.log.read_text().count(RECOVERED) < LANES:
        moment = running.now()
        time.sleep(0.005)
    return moment
