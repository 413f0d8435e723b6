"""How a provider's answers make us faster, slower, or leave it alone: in virtual time."""

from __future__ import annotations

import pytest

from connectors.push.pace import (
    FAILURES_MAX,
    IN_FLIGHT_MAX,
    IN_FLIGHT_MIN,
    PAUSE_S_MAX,
    REFUSED_PAUSE_S,
    Pace,
)
from connectors.push.port import ACCEPTED, Outcome
from connectors.push.refusals import UNPROVEN_MIN

BUSY = Outcome("rejected", "transient", "ServiceUnavailable")
LOST = Outcome("unknown", error="timeout")
WRONG_KEYS = Outcome("rejected", "credential", "InvalidProviderToken")
DEAD = Outcome("rejected", "token_dead", "Unregistered")


class World:
    """A provider that answers at once, second by second."""

    def __init__(self, rate: float = 1e6) -> None:
        self.pace = Pace(rate)
        self.now_s = 1_000.0

    def second(self, answer: Outcome, want: int = 10**9, step_s: float = 0.05) -> int:
        """Hand over as much as is allowed for a second; how many there were."""
        total = 0
        for _ in range(round(1 / step_s)):
            self.now_s += step_s
            count = min(want - total, self.pace.room(self.now_s))
            self.pace.started(count, self.now_s)
            for _ in range(count):
                self.pace.ended(answer, self.now_s)
            total += count
        return total


@pytest.mark.parametrize("answer", [ACCEPTED, DEAD])
def test_a_provider_that_works_is_asked_more(answer: Outcome) -> None:
    """Also where its answers are refusals of tokens: then it works, too."""
    world = World()
    before = world.pace.limit
    for _ in range(300):
        world.second(answer)
    assert before < world.pace.limit <= IN_FLIGHT_MAX


def test_the_rate_grows_over_a_minute_to_its_bound() -> None:
    """And from the beginning again after a pause in our work."""
    world = World(rate=1_000.0)
    counts = [world.second(ACCEPTED) for _ in range(90)]
    assert counts[0] <= 400
    assert all(count <= 1_100 for count in counts)
    assert 950 <= counts[-1] <= 1_050
    assert counts[10] < counts[30] < counts[55]
    world.now_s += 3_600
    assert world.second(ACCEPTED) <= 400


@pytest.mark.parametrize("answer", [BUSY, LOST])
def test_failures_make_us_slower_and_then_leave_it_alone(answer: Outcome) -> None:
    """Twenty in a row; then one at a time tries, after pauses that double."""
    world = World()
    world.second(ACCEPTED)
    before = world.pace.limit
    assert world.second(answer) >= FAILURES_MAX
    assert world.pace.limit < before
    pauses = []
    for _ in range(12):
        pause_s = world.pace.paused_s(world.now_s)
        pauses.append(pause_s)
        assert world.pace.room(world.now_s) == 0
        world.now_s += pause_s + 0.001
        assert world.pace.room(world.now_s) == 1
        world.pace.started(1, world.now_s)
        assert world.pace.room(world.now_s) == 0, "one trial at a time"
        world.pace.ended(answer, world.now_s)
    assert pauses[-1] == pytest.approx(PAUSE_S_MAX)
    assert pauses == sorted(pauses)
    assert world.pace.limit >= IN_FLIGHT_MIN

    world.now_s += PAUSE_S_MAX + 0.001
    world.pace.started(1, world.now_s)
    world.pace.ended(ACCEPTED, world.now_s)
    assert world.pace.room(world.now_s + 1) > 1, "one that is accepted ends it"


def test_what_was_on_its_way_before_a_pause_does_not_lengthen_it() -> None:
    """A hundred lost answers are one failure of the provider."""
    world = World()
    for _ in range(100):
        world.second(ACCEPTED)
    world.pace.started(100, world.now_s)
    for _ in range(100):
        world.pace.ended(LOST, world.now_s)
    assert world.pace.paused_s(world.now_s) == pytest.approx(1.0)


def test_refused_credentials_pause_soon() -> None:
    """A provider may block who keeps asking with a wrong key."""
    world = World()
    asked = world.second(WRONG_KEYS, want=UNPROVEN_MIN)
    assert asked == UNPROVEN_MIN
    assert world.pace.paused_s(world.now_s) > REFUSED_PAUSE_S - 2
    world.now_s += REFUSED_PAUSE_S + 1
    assert world.second(WRONG_KEYS) == 1


def test_a_provider_says_how_long_it_wants_to_be_left_alone() -> None:
    """Retry-After holds for all pushes of the way."""
    world = World()
    world.pace.started(1, world.now_s)
    world.pace.ended(Outcome("rejected", "transient", "QUOTA_EXCEEDED", retry_after_s=30.0), world.now_s)
    assert world.pace.paused_s(world.now_s) == pytest.approx(30.0)


def test_a_single_failure_stops_nothing() -> None:
    """Neither does a bad token among good ones."""
    world = World()
    for answer in (BUSY, ACCEPTED, WRONG_KEYS, DEAD, ACCEPTED, LOST, ACCEPTED) * 10:
        world.pace.started(1, world.now_s)
        world.pace.ended(answer, world.now_s)
        world.now_s += 0.1
        assert world.pace.paused_s(world.now_s) == 0


@pytest.mark.parametrize("rate", [0.01, 0.5, 2_000.0])
def test_one_goes_at_once_after_a_time_without_any_however_low_the_rate(rate: float) -> None:
    """It must not wait for longer than a lease lasts; the ones after it do."""
    pace = Pace(rate)
    now_s = 1_000.0

    assert pace.room(now_s) >= 1
    pace.started(pace.room(now_s), now_s)
    assert pace.room(now_s) == 0
