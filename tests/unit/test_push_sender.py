"""What push_sender does when its lease ran out before the hand-over, as after a freeze."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

from connectors import codec
from connectors.push.port import Outcome, Push
from ledger import facts as f
from processors.agents import reach_rows
from processors.agents.delivery_facts import Lease, Ready
from processors.agents.push_sender import PushSenderHandler
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from processors.topic_names import DELIVERIES
from tests.support.given import NOON, OnePolicy, decision

PUSH = Push("push-1", "shop", "console", "token", "title", "body")
DECIDED = decision(installations=("phone",))


class Barriers:
    """Barriers that are passed or not, in this order; and a provider that accepts everything."""

    def __init__(self, *passed: bool) -> None:
        self.left = list(passed)
        self.got: list[Push] = []

    async def barrier(self, *_: int) -> bool:
        """The next answer."""
        return self.left.pop(0)

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """Accept."""
        self.got += pushes
        return [Outcome("accepted") for _ in pushes]

    def conclude(self, *, leaving: bool) -> tuple[list[f.Fact], Transaction]:
        """What becomes of an attempt whose lease was over at once."""
        lease_over = Lease(0.0, 1.0)
        handler = PushSenderHandler(
            self,
            OnePolicy(),
            lambda *_: None,
            self.barrier,
            lease_over,
            lambda: NOON,
            leaving=lambda: leaving,
        )
        ready = Ready(DECIDED, "phone", PUSH, 1, NOON, time.monotonic())
        table = LaneTable("changelog", reach_rows.ROWS)
        table.partitions[0] = Partition()
        transaction = Transaction(table, 0, NOON)
        for result in asyncio.run(handler.after(0, [ready])):
            handler.conclude(result, transaction)
        values = [value for _, value in transaction.outputs[DELIVERIES]]
        return [codec.decode(value) for value in values], transaction


def test_consent_is_looked_at_again_when_the_lease_ran_out() -> None:
    """A barrier that takes several tries is waited for; here consent is gone meanwhile."""
    world = Barriers(False, False, True)

    (fact_,), _ = world.conclude(leaving=False)

    assert isinstance(fact_, f.PushWithheldLate)
    assert fact_.reason == "permission"
    assert (world.got, world.left) == ([], [])


def test_a_worker_that_has_to_leave_does_not_wait_for_its_barrier() -> None:
    """Nothing is folded any more, so the push, never handed over, is withheld; the group goes on."""
    world = Barriers(False, True)

    (fact_,), transaction = world.conclude(leaving=True)

    assert isinstance(fact_, f.PushWithheldLate)
    assert fact_.reason == "expired"
    assert (world.got, world.left) == ([], [True])
    assert transaction.effects == []
    assert transaction.rows == {reach_rows.attempt_key("push-1"): None}
