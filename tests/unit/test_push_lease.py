"""How long a push may take from its read barrier to the provider, whatever shares its transaction."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

from connectors.push.port import Outcome, Push
from processors.agents import hand_over
from processors.agents.delivery_facts import Answered, Lease, LookedAgain, Ready
from processors.agents.intake import Accepted
from processors.agents.push_sender import PushSenderHandler
from tests.support.given import NOON, OnePolicy, decision

LEASE_S: Final = 10.0


class Sender:
    """Takes everything, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[Push] = []

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """Accept all."""
        self.sent += pushes
        return [Outcome("accepted") for _ in pushes]


class Clock:
    """A monotonic clock that the test moves (s)."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


def chunk(verdict: str) -> list[Any]:
    """What was read from a chunk with one decision."""
    return [Accepted(decision(verdict=verdict), None, NOON)]


PUSH: Final = Push("p", "shop", "console", "t", "T", "B")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The sender's clock."""
    moved = Clock()
    monkeypatch.setattr(hand_over, "time", SimpleNamespace(monotonic=moved.monotonic))
    return moved


def results_after(waits: Sequence[tuple[str, float]], clock: Clock) -> tuple[list[Any], Sender]:
    """Chunks with these verdicts, each followed by a wait (s), in one transaction; then the hand-over."""
    sender = Sender()

    async def barrier(*_: int) -> bool:
        return True

    handler = PushSenderHandler(
        sender, OnePolicy(), lambda *_: None, barrier, Lease(LEASE_S, 2.0), lambda: NOON
    )

    async def run() -> Any:
        for verdict, wait_s in waits:
            assert await handler.before(0, chunk(verdict))
            clock.now += wait_s
        begun_s = handler._hand_over.begun_s(0)
        return await handler.after(0, [Ready(decision(verdict="send"), "phone", PUSH, 1, NOON, begun_s)])

    return asyncio.run(run()), sender


def test_a_push_is_handed_over_within_the_lease_of_its_barrier(clock: Clock) -> None:
    """The usual course."""
    results, sender = results_after([("send", LEASE_S - 1)], clock)

    (answered,) = results
    assert isinstance(answered, Answered)
    assert answered.outcome.kind == "accepted"
    assert sender.sent == [PUSH]


@pytest.mark.parametrize("others", [[], [("withhold", 0.0)]])
def test_no_push_is_handed_over_after_the_lease(others: list[tuple[str, float]], clock: Clock) -> None:
    """Nor does a chunk without sends, folded in the same transaction, renew it."""
    results, sender = results_after([("send", LEASE_S + 1), *others], clock)

    (again,) = results
    assert isinstance(again, LookedAgain)
    assert again.begun_s == clock.now
    assert sender.sent == []
