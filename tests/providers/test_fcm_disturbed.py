"""Sets of pushes to an FCM that fails in their midst: all arrive in the end, each once; the rate adapts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from connectors.push import pace
from connectors.push.pace import Pace
from connectors.push.paced import PacedSender
from connectors.push.port import Outcome, Push
from ledger.retry import may_go_again
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.pushes import fcm_push as push
from tests.support.providers.pushes import words

SETS, SET = 4, 150
MOMENT_S = 0.05

Disturb = Callable[[FcmFake], Awaitable[None]]


class Sending:
    """Sets side by side; what was surely not taken goes again, as it would by the lane's timers."""

    def __init__(self, fake: FcmFake, paced: PacedSender) -> None:
        self.fake = fake
        self.paced = paced
        self.refused: list[Outcome] = []

    async def all(self, disturb: Disturb) -> list[Outcome]:
        """The final outcomes of all pushes, with the disturbance once some of them were accepted."""
        sets = [[push(100 * SET * n + number) for number in range(SET)] for n in range(SETS)]
        self.fake.delay_s = 0.01
        sending = [asyncio.create_task(self._through(some)) for some in sets]
        async with asyncio.timeout(60):
            while len(self.fake.accepted) < SET:  # noqa: ASYNC110 - the stand-in tells nobody
                await asyncio.sleep(0.01)
            await disturb(self.fake)
            found = [outcome for some in sending for outcome in await some]
        told = Counter(message["data"]["push_id"] for message in self.fake.accepted)
        assert told == Counter(one.push_id for some in sets for one in some), "one was lost, or came twice"
        return found

    async def _through(self, pushes: Sequence[Push]) -> list[Outcome]:
        final: list[Outcome] = []
        while pushes:
            outcomes = await self.paced.send(pushes)
            again = [
                may_go_again("marketing", is_unknown=o.kind == "unknown", error_class=o.error_class)
                for o in outcomes
            ]
            final += [outcome for outcome, goes in zip(outcomes, again, strict=True) if not goes]
            self.refused += [outcome for outcome, goes in zip(outcomes, again, strict=True) if goes]
            pushes = [one for one, goes in zip(pushes, again, strict=True) if goes]
            await asyncio.sleep(MOMENT_S)
        return final


async def quota(fake: FcmFake) -> None:
    """The project's quota is used up, for a second."""
    fake.refusals.append(("QUOTA_EXCEEDED", "1", ""))


async def failing(fake: FcmFake) -> None:
    """A server error for whatever comes, for a while."""
    fake.refusals += [("INTERNAL", "", "")] * 10_000
    await asyncio.sleep(1.0)
    fake.refusals.clear()


async def no_token(fake: FcmFake) -> None:
    """The access token is over, and the token server away for a while."""
    fake.token_status = 503
    fake.revoke()
    await asyncio.sleep(1.0)
    fake.token_status = 200


async def key_refused(fake: FcmFake) -> None:
    """Google takes neither the access token nor the key that a new one is asked for with."""
    fake.token_status = 400
    fake.revoke()
    await asyncio.sleep(1.0)
    fake.token_status = 200


@pytest.mark.parametrize(
    ("disturb", "reasons"),
    [
        (quota, {"rejected transient QUOTA_EXCEEDED", "rejected transient paused"}),
        (failing, {"rejected transient INTERNAL", "rejected transient paused"}),
        (
            no_token,
            {
                "rejected credential UNAUTHENTICATED",
                "rejected transient no access token: RefreshError",
                "rejected transient paused",
            },
        ),
        (
            key_refused,
            {
                "rejected credential UNAUTHENTICATED",
                "rejected credential no access token: RefreshError",
                "rejected transient paused",
            },
        ),
    ],
)
def test_none_is_lost_and_none_doubled(
    disturb: Disturb, reasons: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in mid-batch; each refusal is of the class that it belongs to."""
    monkeypatch.setattr(pace, "REFUSED_PAUSE_S", 0.5)

    async def outcomes() -> tuple[list[Outcome], list[Outcome]]:
        async with FcmFake() as fake, fake.sender() as sender:
            sending = Sending(fake, PacedSender(sender, Pace(1e6)))
            return await sending.all(disturb), sending.refused

    final, refused = asyncio.run(outcomes())

    assert words(final) == {"accepted": SETS * SET}
    assert set(words(refused)) <= reasons
    assert len(refused) >= 1


def test_a_token_server_that_is_away_while_the_token_is_good_is_not_noticed() -> None:
    """Renewal begins ahead of the end; a failed one is tried again, and no push waits for it."""

    async def outcomes() -> list[Outcome]:
        async with FcmFake() as fake, fake.sender() as sender:
            fake.token_lasts_s = 120  # less than is kept ahead: renewal is due at once
            sending = Sending(fake, PacedSender(sender, Pace(1e6)))

            async def away(fake: FcmFake) -> None:
                fake.token_status = 503

            found = await sending.all(away)
            during = fake.tokens
            fake.token_status, fake.token_lasts_s = 200, 3_600
            found += await sender.send([push(-1)])
            async with asyncio.timeout(30):
                while fake.tokens == during:  # noqa: ASYNC110 - the stand-in tells nobody
                    await asyncio.sleep(0.05)
            return found

    assert words(asyncio.run(outcomes())) == {"accepted": SETS * SET + 1}


def test_dozens_of_refusals_of_one_access_token_ask_for_one_new() -> None:
    """Late refusals of the old token must not throw the new one away."""

    async def tokens() -> int:
        async with FcmFake() as fake, fake.sender() as sender:
            await sender.send([push(0)])
            fake.delay_s = 0.2
            slow = asyncio.create_task(sender.send([push(number) for number in range(20)]))
            await asyncio.sleep(0.1)
            fake.revoke()
            fake.delay_s = 0.0
            assert words(await sender.send([push(21)])) == {"rejected credential UNAUTHENTICATED": 1}
            assert words(await sender.send([push(22)])) == {"accepted": 1}
            assert words(await slow) == {"rejected credential UNAUTHENTICATED": 20}
            assert words(await sender.send([push(23)])) == {"accepted": 1}
            return fake.tokens

    assert asyncio.run(tokens()) == 2


def test_the_rate_adapts_to_what_fcm_bears() -> None:
    """Fewer are on their way at once while it fails, and more again once it works."""

    async def most() -> tuple[int, int, int]:
        async with FcmFake() as fake, fake.sender() as sender:
            paced = PacedSender(sender, Pace(1e6))
            sending = Sending(fake, paced)
            seen = []

            async def overloaded(fake: FcmFake) -> None:
                """Fails every other push for a while: too few in a row for a pause."""
                seen.append(fake.in_flight_most)
                paced.pace.limit = 64.0
                fake.refusals += [("UNAVAILABLE", "", "")] * 15

            await sending.all(overloaded)
            shrunk = paced.pace.limit
            fake.in_flight_most = 0
            await paced.send([push(-number) for number in range(1, 400)])
            return seen[0], int(shrunk), int(paced.pace.limit)

    before, shrunk, after = asyncio.run(most())

    assert before >= pace.IN_FLIGHT_FIRST
    assert shrunk < 64
    assert after > shrunk
