"""Hands committed attempts over to providers, each within the lease that its read barrier began.

What it returns are results for the lane; what is recorded of them is `push_sender`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from connectors.push.port import Outcome, PushSender
from ledger import facts as f
from ledger.policy import Policy
from processors.agents.delivery_facts import Answered, Due, Lease, LookedAgain, Probe, Probing, Ready
from processors.telemetry import catalogue as c
from processors.telemetry.meters import Meters

log = logging.getLogger(__name__)

ANSWER_S: Final = 15.0
"""What is handed over at the end of a lease has so long to be answered; a rebalance waits as long for it."""

Barrier = Callable[[int, int, int], Awaitable[bool]]
"""`barrier(partition, permissions_next, tokens_next)`: wait until consent is folded as far as it reaches
now, and both topics as far as the decisions cite them; False if that takes too long."""

LOOK_AGAIN: Final = "look again"
"""The kind of effects that need another look at consent before they may go anywhere."""
PROBES: Final = "probes"
"""The kind of silent pushes, which wait for their own rate."""


class Policies(Protocol):
    """The policies that decisions cite, by version."""

    async def look_for(self, versions: Iterable[str]) -> None:
        """Read what was published since, if one of these is not known. Raises `Transient`."""

    def policy(self, version: str) -> Policy | None:
        """A policy that is known."""


Effect = Ready | Due | Probe | Probing


def kind_of(effect: Effect) -> tuple[str, str] | str:
    """What goes apart: a provider that hangs holds up no other, nor another app's way to the same one."""
    if isinstance(effect, Probing):
        return PROBES
    return (effect.push.app, effect.push.provider) if isinstance(effect, Ready) else LOOK_AGAIN


class HandOver:
    """The time and the network side of one send lane. Several sets of a partition may be on their way."""

    def __init__(
        self,
        sender: PushSender,
        policies: Policies,
        barrier: Barrier,
        lease: Lease,
        leaving: Callable[[], bool],
        meters: Meters,
        prober: PushSender | None = None,
    ) -> None:
        """`leaving()`: the group rebalances, so consent is folded no further until it is over.

        `prober`: hands probes over, by a rate of its own; None: there are none.
        """
        self._sender = sender
        self._prober = prober
        self._policies = policies
        self._barrier = barrier
        self._lease_s = lease.lease_s
        self._leaving = leaving
        self._meters = meters
        self._begun_s: dict[int, float] = {}

    def begun_s(self, partition: int) -> float:
        """When the lease of what is folded now began (monotonic s): before its barrier did."""
        return self._begun_s.get(partition, time.monotonic())

    async def begin(self, partition: int, sends: Sequence[f.PushDecided]) -> bool:
        """Begin a lease and pass the read barrier; False: it could not be passed in time."""
        await self._policies.look_for({send.policy_version for send in sends})
        self._begun_s[partition] = time.monotonic()
        return await self._fold_consent(partition, sends)

    async def after(self, partition: int, effects: list[Effect]) -> list[Answered | LookedAgain]:
        """Hand committed attempts over, and look at consent again for what is due, or came too late.

        Delivery guarantee: at most once each; whatever the sender raises leaves its pushes `unknown`.
        """
        now_s = time.monotonic()
        ready: list[Ready | Probing] = []
        late: list[Effect] = []
        for one in effects:
            if isinstance(one, Ready | Probing) and now_s < one.begun_s + self._lease_s:
                ready.append(one)
            else:
                late.append(one)
        results: list[Answered | LookedAgain] = list(await self._handed(ready)) if ready else []
        self._meters.add(c.LEASE_EXPIRIES, sum(isinstance(one, Ready) for one in late))
        if late:
            sends = [one.decision for one in late if isinstance(one, Ready | Due)]
            begun_s = await self._look_again(partition, sends)
            results += [LookedAgain(one, begun_s) for one in late]
        return results

    async def _handed(self, ready: Sequence[Ready | Probing]) -> list[Answered]:
        """All of one kind: either pushes or probes."""
        sender = self._sender
        if self._prober is not None and isinstance(ready[0], Probing):
            sender = self._prober
        until_s = min(one.begun_s for one in ready) + self._lease_s
        try:
            async with asyncio.timeout(until_s - time.monotonic() + ANSWER_S):
                outcomes = await sender.send([one.push for one in ready], until_s=until_s)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows what arrived
            log.warning("a set of %d pushes has no outcome: %s", len(ready), type(error).__name__)
            outcomes = [Outcome("unknown", error=type(error).__name__) for _ in ready]
        return [Answered(one, outcome) for one, outcome in zip(ready, outcomes, strict=True)]

    async def _look_again(self, partition: int, sends: Sequence[f.PushDecided]) -> float | None:
        """Pass the read barrier anew; returns when its lease began. None: it can't be passed any more.

        Then the whole group waits for us, and consent is folded no further until it has its way.
        """
        while True:
            begun_s = time.monotonic()
            await self._policies.look_for({send.policy_version for send in sends})
            if await self._fold_consent(partition, sends):
                return begun_s
            if self._leaving():
                return None

    async def _fold_consent(self, partition: int, sends: Sequence[f.PushDecided]) -> bool:
        permissions_next = max((send.permissions_next for send in sends), default=0)
        tokens_next = max((send.tokens_next for send in sends), default=0)
        return await self._barrier(partition, permissions_next, tokens_next)
