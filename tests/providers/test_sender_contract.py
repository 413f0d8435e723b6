"""What every push sender promises, tried on each beside its provider; what only one does is in its own test.

The console has no network and no limits: what is about these is tried on the three others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.push.port import LEASE_OVER, Outcome, Push
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.contract import ALL, BODY, NETWORK, TITLE, Beside, beside
from tests.support.providers.pushes import words

SOON_S, LONG_S = 0.4, 20.0
HALF_A_PAIR = "\ud800"
"""Half of a surrogate pair: a string of Python's that is no text."""

Trial = Callable[[Beside], Awaitable[Any]]
Tried = Callable[..., Any]


@pytest.fixture
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Tried:
    """Runs a trial on the sender of a kind, and gives back what it found."""

    def run(kind: str, trial: Trial, timeout_s: float = 5.0) -> Any:
        apns: ApnsMock | None = request.getfixturevalue("apns") if kind == "apns" else None

        async def on() -> Any:
            async with asyncio.timeout(LONG_S), beside(kind, apns, tmp_path, timeout_s) as there:
                return await trial(there)

        return asyncio.run(on())

    return run


def discreet(outcomes: Sequence[Outcome], pushes: Sequence[Push]) -> None:
    """No outcome says whom or what it was about."""
    for outcome, push in zip(outcomes, pushes, strict=True):
        said = str(outcome)
        assert TITLE not in said
        assert BODY not in said
        assert not push.token.strip() or push.token not in said


async def sent(there: Beside, pushes: Sequence[Push]) -> list[Outcome]:
    """Their outcomes: one each, and discreet."""
    outcomes: list[Outcome] = await there.sender.send(pushes)
    assert len(outcomes) == len(pushes)
    discreet(outcomes, pushes)
    return outcomes


@pytest.mark.parametrize("kind", ALL)
def test_nothing_asks_nobody(kind: str, tried: Tried) -> None:
    """No push, no outcome, no request, no line."""

    async def trial(there: Beside) -> tuple[list[Outcome], int]:
        return await sent(there, []), there.asked_in_all()

    assert tried(kind, trial) == ([], 0)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_begins_when_its_time_is_over(kind: str, tried: Tried) -> None:
    """Each was surely not taken."""

    async def trial(there: Beside) -> tuple[list[Outcome], int]:
        pushes = [there.push(number) for number in range(3)]
        return await there.sender.send(pushes, until_s=time.monotonic()), there.asked_in_all()

    assert tried(kind, trial) == ([LEASE_OVER] * 3, 0)


@pytest.mark.parametrize("kind", ALL)
def test_sets_side_by_side_arrive_once_each(kind: str, tried: Tried) -> None:
    """Every one of them has the outcomes of its own pushes."""

    async def trial(there: Beside) -> tuple[list[int], set[int], int]:
        sets = [[there.push(25 * n + number) for number in range(25)] for n in range(8)]
        found = await asyncio.gather(*(sent(there, some) for some in sets))
        assert {str(outcome) for some in found for outcome in some} == {"accepted"}
        times = {there.asked(push) for some in sets for push in some}
        return [len(some) for some in found], times, there.asked_in_all()

    assert tried(kind, trial, LONG_S) == ([25] * 8, {1}, 200)


@pytest.mark.parametrize("kind", NETWORK)
def test_what_is_too_long_is_not_sent_and_stops_no_other(kind: str, tried: Tried) -> None:
    """By bytes, not letters; outcomes stand in the order of the pushes."""

    async def trial(there: Beside) -> tuple[list[Outcome], list[int]]:
        pushes = [there.push(number) for number in range(5)]
        for place in (1, 3):
            pushes[place] = replace(pushes[place], body=BODY + "ä" * 2_100)
        return await sent(there, pushes), [there.asked(push) for push in pushes]

    outcomes, asked = tried(kind, trial)

    assert [one.kind for one in outcomes] == ["accepted", "rejected", "accepted", "rejected", "accepted"]
    assert asked == [1, 0, 1, 0, 1]
    for one in outcomes[1::2]:
        assert one.error_class == "payload"
        assert one.error.startswith("PayloadTooLarge")


@pytest.mark.parametrize(
    "garbage", ["", " ", "q z", "a\r\nx: y", "ü" * 10, HALF_A_PAIR, "x" * 100_000, "{}", "null"]
)
@pytest.mark.parametrize("kind", ALL)
def test_garbage_for_an_address_is_the_outcome_of_its_own_push(kind: str, garbage: str, tried: Tried) -> None:
    """Whatever an app registered: it raises nothing, the others go on, and the address is dead."""

    async def trial(there: Beside) -> list[Outcome]:
        good, other = there.push(1), there.push(2)
        return await sent(there, [good, replace(there.push(3), token=garbage), other])

    first, wrong, last = tried(kind, trial)

    assert (first.kind, last.kind) == ("accepted", "accepted")
    assert isinstance(wrong, Outcome)
    if kind != "console":
        assert (wrong.kind, wrong.error_class, wrong.by_provider) == ("rejected", "token_dead", False)


@pytest.mark.parametrize(
    "field",
    [
        {"title": TITLE + HALF_A_PAIR},
        {"body": HALF_A_PAIR},
        {"link": HALF_A_PAIR},
        {"collapse_id": HALF_A_PAIR},
        {"data": {"k": HALF_A_PAIR}},
    ],
    ids=lambda field: next(iter(field)),
)
@pytest.mark.parametrize("kind", NETWORK)
def test_what_is_no_text_is_refused_before_it_is_sent(kind: str, field: dict[str, Any], tried: Tried) -> None:
    """Half of a surrogate pair can't be written as UTF-8; the others go on."""

    async def trial(there: Beside) -> tuple[list[Outcome], int]:
        pushes = [there.push(1), there.push(2, **field), there.push(3)]
        return await sent(there, pushes), there.asked_in_all()

    outcomes, asked = tried(kind, trial)

    assert [str(one) for one in outcomes] == ["accepted", "rejected payload NotText: not Unicode", "accepted"]
    assert asked == 2


@pytest.mark.parametrize("kind", NETWORK)
def test_what_is_not_answered_is_unknown_and_asked_once(kind: str, tried: Tried) -> None:
    """The provider got it, nobody hears of it, and no sender tries again by itself."""

    async def trial(there: Beside) -> tuple[list[Outcome], set[int]]:
        assert words(await sent(there, [there.push(0)])) == {"accepted": 1}
        there.path.mode = "hears_nothing"
        pushes = [there.push(number) for number in range(1, 20)]
        outcomes = await sent(there, pushes)
        await asyncio.sleep(2 * SOON_S)
        return outcomes, {there.asked(push) for push in pushes}

    outcomes, times = tried(kind, trial, SOON_S)

    assert words(outcomes) == {"unknown timeout": 19}
    assert times == {1}


@pytest.mark.parametrize("kind", NETWORK)
def test_a_reset_leaves_what_is_on_its_way_unknown(kind: str, tried: Tried) -> None:
    """Asked once each; what comes after it goes over new connections."""

    async def trial(there: Beside) -> tuple[list[Outcome], set[int], list[Outcome]]:
        await sent(there, [there.push(0)])
        there.path.mode = "hears_nothing"
        pushes = [there.push(number) for number in range(1, 20)]
        sending = asyncio.create_task(sent(there, pushes))
        while there.asked_in_all() < 20:  # noqa: ASYNC110 - providers tell nobody
            await asyncio.sleep(0.02)
        there.path.reset()
        during = await sending
        there.path.mode = "passes"
        return during, {there.asked(push) for push in pushes}, await sent(there, [there.push(20)])

    during, times, after = tried(kind, trial)

    assert {one.kind for one in during} == {"unknown"}
    assert times == {1}
    assert words(after) == {"accepted": 1}


@pytest.mark.parametrize("kind", NETWORK)
def test_where_nobody_listens_nothing_was_taken(kind: str, tried: Tried) -> None:
    """Surely not: so it may go again later."""

    async def trial(there: Beside) -> list[Outcome]:
        await sent(there, [there.push(0)])
        await there.path.close()
        return await sent(there, [there.push(number) for number in range(1, 20)])

    outcomes = tried(kind, trial)

    assert {(one.kind, one.error_class) for one in outcomes} == {("rejected", "transient")}
    assert {one.error.partition(":")[0] for one in outcomes} == {"unreachable"}


@pytest.mark.parametrize("kind", NETWORK)
def test_a_set_that_is_given_up_harms_no_other(kind: str, tried: Tried) -> None:
    """Cancelled in flight; those beside it, and those after it, arrive."""

    async def trial(there: Beside) -> tuple[list[Outcome], list[Outcome], set[int]]:
        await sent(there, [there.push(0)])
        there.path.delay_s = 0.2
        given_up = asyncio.create_task(there.sender.send([there.push(number) for number in range(1, 20)]))
        others = [there.push(number) for number in range(20, 40)]
        beside_it = asyncio.create_task(sent(there, others))
        await asyncio.sleep(0.1)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert given_up.cancelled()
        return await beside_it, await sent(there, [there.push(40)]), {there.asked(one) for one in others}

    others, after, times = tried(kind, trial)

    assert words(others) == {"accepted": 20}
    assert words(after) == {"accepted": 1}
    assert times == {1}


@pytest.mark.parametrize("kind", NETWORK)
@pytest.mark.parametrize("pushes", [0, 1])
def test_closed_twice_is_closed(kind: str, pushes: int, tried: Tried) -> None:
    """Also one that never sent anything."""

    async def trial(there: Beside) -> None:
        await sent(there, [there.push(number) for number in range(pushes)])
        await there.sender.close()
        await there.sender.close()

    tried(kind, trial)
