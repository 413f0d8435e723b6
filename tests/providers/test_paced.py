"""A provider that fails is left alone, and asked again once it works: over real connections."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import pytest

from connectors.push import pace
from connectors.push.pace import Pace
from connectors.push.paced import PacedSender
from connectors.push.port import ACCEPTED, Outcome, Push
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.disturbed_path import DisturbedPath
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.pushes import apns_push, fcm_push, words


class Slow:
    """Takes a moment for each set, and notes how many pushes were on their way at once."""

    def __init__(self, took_s: float = 0.01) -> None:
        self.most = self.now = self.total = 0
        self._took_s = took_s

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """Accept."""
        self.total += len(pushes)
        self.now += len(pushes)
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._took_s)
        self.now -= len(pushes)
        return [ACCEPTED] * len(pushes)


def test_all_get_through_with_a_bounded_number_on_their_way() -> None:
    """In the order given, shared by all partitions of a worker."""
    slow = Slow()
    paced = PacedSender(slow, Pace(1e6))

    async def outcomes() -> list[list[Outcome]]:
        sets = [[apns_push(number) for number in range(400)] for _ in range(4)]
        return await asyncio.gather(*(paced.send(some) for some in sets))

    assert [words(one) for one in asyncio.run(outcomes())] == [{"accepted": 400}] * 4
    assert slow.total == 1_600
    assert slow.most <= pace.IN_FLIGHT_MAX
    assert paced.pace.in_flight == 0


def test_what_has_no_time_left_is_not_begun() -> None:
    """A lease that ends in the middle of a set: the rest was surely not taken."""
    slow = Slow(took_s=0.05)
    paced = PacedSender(slow, Pace(1e6))

    async def outcomes() -> list[Outcome]:
        pushes = [apns_push(number) for number in range(2_000)]
        return await paced.send(pushes, until_s=time.monotonic() + 0.12)

    found = words(asyncio.run(outcomes()))

    assert set(found) == {"accepted", "rejected transient lease_over"}
    assert found["accepted"] == slow.total
    assert found.total() == 2_000


def test_a_set_that_is_given_up_frees_its_places() -> None:
    """Cancelled in flight, nothing stays counted as on its way."""
    paced = PacedSender(Slow(took_s=5.0), Pace(1e6))

    async def given_up() -> None:
        sending = asyncio.create_task(paced.send([apns_push(number) for number in range(20)]))
        await asyncio.sleep(0.05)
        assert paced.pace.in_flight == 20
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(given_up())
    assert paced.pace.in_flight == 0


def test_a_black_hole_opens_the_breaker_and_a_way_back_closes_it(apns: ApnsMock) -> None:
    """A few pushes are unknown, the others are not begun; nobody waits longer than one call may take."""

    async def outcomes() -> tuple[list[Outcome], float, list[Outcome], list[Outcome]]:
        async with (
            DisturbedPath(apns.port) as path,
            apns.sender(path.port, timeout_s=0.5) as sender,
        ):
            paced = PacedSender(sender, Pace(1e6))
            assert words(await paced.send([apns_push(0)])) == {"accepted": 1}
            path.mode = "swallows"
            began_s = time.monotonic()
            during = await paced.send([apns_push(number) for number in range(1, 600)])
            took_s = time.monotonic() - began_s
            paused = await paced.send([apns_push(number) for number in range(600, 700)])
            path.mode = "passes"
            await asyncio.sleep(paced.pace.paused_s(time.monotonic()) + 0.05)
            after = await paced.send([apns_push(number) for number in range(700, 800)])
            return during, took_s, paused, after

    during, took_s, paused, after = asyncio.run(outcomes())

    found = words(during)
    assert set(found) == {"unknown timeout", "rejected transient paused"}
    assert found["unknown timeout"] < 100, found
    assert took_s < 5
    assert words(paused) == {"rejected transient paused": 100}
    assert all(one.retry_after_s for one in paused)
    assert words(after) == {"accepted": 100}
    assert apns.accepted_twice() == []


@pytest.mark.parametrize("reason", ["EXPIRED_PROVIDER_TOKEN", "TOO_MANY_PROVIDER_TOKEN_UPDATES"])
def test_refused_credentials_pause_their_way(apns: ApnsMock, reason: str) -> None:
    """Of a thousand pushes few reach the provider, and none is the token's fault."""

    async def outcomes() -> list[Outcome]:
        async with apns.sender() as sender:
            apns.tell("fail", reason, 10_000)
            return await PacedSender(sender, Pace(1e6)).send([apns_push(n) for n in range(1_000)])

    found = asyncio.run(outcomes())

    assert {one.error_class for one in found} == {"credential", "transient"}
    assert apns.counts()[reason] <= 2 * pace.IN_FLIGHT_FIRST
    assert words(found)["rejected transient paused"] >= 900


def test_quota_is_respected() -> None:
    """FCM says 429 with Retry-After: everything waits that long, then goes on."""

    async def outcomes() -> tuple[list[Outcome], list[Outcome], int]:
        async with FcmFake() as fake, fake.sender() as sender:
            paced = PacedSender(sender, Pace(1e6))
            fake.refusals.append(("QUOTA_EXCEEDED", "1", ""))
            first = await paced.send([fcm_push(0)])
            during = await paced.send([fcm_push(number) for number in range(50)])
            asked = fake.requests
            await asyncio.sleep(1.1)
            return [*first, *during], await paced.send([fcm_push(n) for n in range(50)]), asked

    during, after, asked = asyncio.run(outcomes())

    assert words(during) == {"rejected transient QUOTA_EXCEEDED": 1, "rejected transient paused": 50}
    assert asked == 1
    assert words(after) == {"accepted": 50}
