"""Whose fault refusals are, by what else a credential did: real classes, pace and retries in virtual time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from connectors.push import pace, refusals
from connectors.push.http_call import Reply
from connectors.push.pace import Pace
from connectors.push.port import ACCEPTED, LEASE_OVER, Outcome
from connectors.push.webpush.answers import outcome_of
from ledger import retry

OLD_KEY = Outcome("rejected", "credential", "status 403", of_address=True)
OUR_KEY = Outcome("rejected", "credential", "InvalidProviderToken")
BUSY_DEVICE = Outcome("rejected", "transient", "TooManyRequests", retry_after_s=30.0, of_address=True)
LONG_TEXT = Outcome("rejected", "payload", "PayloadTooLarge", by_provider=False)
NOT_ANSWERED = Outcome("unknown", error="timeout")


class Way:
    """A way to a provider, one push after the other."""

    def __init__(self) -> None:
        self.pace = Pace(1e6)
        self.now_s = 1_000.0

    def push(self, answer: Outcome, address: str) -> Outcome:
        """Hand one over; what came of it."""
        self.now_s += 0.1
        assert self.pace.room(self.now_s) > 0
        self.pace.started(1, self.now_s)
        return self.pace.ended(answer, self.now_s, address)

    @property
    def paused_s(self) -> float:
        """For how long nobody goes."""
        return self.pace.paused_s(self.now_s)


def test_subscriptions_of_an_old_key_pause_nobody_and_die_after_a_few_tries() -> None:
    """Others are accepted between: it is not our key. Each old one is asked three times, and that is all."""
    way = Way()
    classes = []
    for number in range(10):
        assert way.push(ACCEPTED, f"good-{number}") == ACCEPTED
        classes += [way.push(OLD_KEY, f"old-{one}").error_class for one in range(9)]
        assert way.paused_s == 0
    assert Counter(classes[:27]) == {"transient": 18, "token_dead": 9}


def test_an_address_does_not_die_while_nothing_else_is_accepted() -> None:
    """Then it may be the credential, however often it is refused."""
    way = Way()
    way.push(ACCEPTED, "good")
    assert {way.push(OLD_KEY, "old").error_class for _ in range(50)} == {"transient"}
    assert way.paused_s == 0, "one address is one piece of news"


def test_an_address_that_is_accepted_in_between_is_not_dead() -> None:
    """Its refusals are counted anew."""
    way = Way()
    for _ in range(20):
        way.push(ACCEPTED, "other")
        assert way.push(OLD_KEY, "late").error_class == "transient"
        way.push(ACCEPTED, "other")
        assert way.push(OLD_KEY, "late").error_class == "transient"
        way.push(ACCEPTED, "late")


@pytest.mark.parametrize("answer", [OLD_KEY, OUR_KEY])
def test_a_credential_that_worked_and_is_refused_by_all_pauses_its_way(answer: Outcome) -> None:
    """By the share of distinct addresses; none of them dies of it, and one that is accepted ends it."""
    way = Way()
    for number in range(refusals.SEEN_MAX):
        way.push(ACCEPTED, f"good-{number}")
    asked = 0
    while not way.paused_s:
        assert way.push(answer, f"good-{asked}").error_class in {"transient", "credential"}
        asked += 1
    assert asked == refusals.SHARE * refusals.SEEN_MAX
    for _ in range(3):
        way.now_s += pace.REFUSED_PAUSE_S + 1
        assert way.push(answer, "good-7").error_class == "credential"
        assert way.paused_s == pytest.approx(pace.REFUSED_PAUSE_S)
    way.now_s += pace.REFUSED_PAUSE_S + 1
    assert way.push(ACCEPTED, "good-7") == ACCEPTED
    assert way.push(answer, "good-8").error_class != "token_dead"
    assert way.paused_s == 0


def test_before_anything_was_accepted_few_refusals_of_the_credential_itself_are_enough() -> None:
    """Refusals that may be the addresses' own must be more."""
    ours, theirs = Way(), Way()
    for number in range(refusals.UNPROVEN_MIN):
        ours.push(OUR_KEY, f"{number}")
    for number in range(refusals.SUSPECT_MIN):
        assert theirs.paused_s == 0
        assert theirs.push(OLD_KEY, f"{number}").error_class == "credential", "nobody dies of it"
    assert ours.paused_s == pytest.approx(pace.REFUSED_PAUSE_S)
    assert theirs.paused_s == pytest.approx(pace.REFUSED_PAUSE_S)


def test_one_device_that_gets_too_much_holds_up_no_other() -> None:
    """Its Retry-After is its own, and it is no failure of the provider."""
    way = Way()
    for _ in range(5 * pace.FAILURES_MAX):
        assert way.push(BUSY_DEVICE, "busy") == BUSY_DEVICE
        assert way.paused_s == 0
    assert way.pace.limit >= pace.IN_FLIGHT_FIRST


def test_what_the_sender_itself_refuses_says_nothing_of_the_provider() -> None:
    """It ends no pause, neither is it the trial after one."""
    way = Way()
    for number in range(pace.FAILURES_MAX):
        way.push(NOT_ANSWERED, f"{number}")
    assert way.paused_s > 0
    way.now_s += way.paused_s + 0.1
    way.push(LONG_TEXT, "other")
    assert way.pace.room(way.now_s) == 1, "the next one is the trial"
    way.push(ACCEPTED, "other")
    assert way.pace.room(way.now_s + 1) > 1


def test_what_our_own_lease_ended_is_no_failure_of_the_provider() -> None:
    """A worker that was frozen has many such; they pause nobody."""
    way = Way()
    for number in range(5 * pace.FAILURES_MAX):
        assert way.push(LEASE_OVER, f"{number}") == LEASE_OVER
    assert way.paused_s == 0
    assert way.pace.limit == pace.IN_FLIGHT_FIRST


def test_an_old_key_s_refusal_ends_the_pause_of_a_provider_that_failed() -> None:
    """It answers again."""
    way = Way()
    way.push(ACCEPTED, "good")
    for number in range(pace.FAILURES_MAX):
        way.push(NOT_ANSWERED, f"{number}")
    way.now_s += way.paused_s + 0.1
    way.push(OLD_KEY, "old")
    assert way.pace.room(way.now_s + 1) > 1


@dataclass(slots=True)
class Simulated:
    """A push of the simulation."""

    address: str
    old: bool
    born_s: float
    last_s: float
    tries: int = 0


def served(share: float, seed: int, people: int = 1_200) -> tuple[int, int, int, int]:
    """One push an address, 20 a minute: (good ones, sent in time, old ones called dead, refusals)."""
    rnd, way = random.Random(seed), Pace(2_000.0)
    heap: list[tuple[float, int, Simulated]] = []
    for number in range(people):
        at = 1_000 + rnd.random() * people * 3
        push = Simulated(f"a-{number}", rnd.random() < share, at, at + 890)
        heapq.heappush(heap, (at, number, push))
    number, sent, dead, refused = people, 0, 0, 0
    good = sum(not push.old for _, _, push in heap)
    while heap:
        now_s, _, push = heapq.heappop(heap)
        number += 1
        if paused_s := way.paused_s(now_s):
            outcome = Outcome("rejected", "transient", "paused", retry_after_s=paused_s)
        elif not way.room(now_s):
            heapq.heappush(heap, (now_s + 0.02, number, push))
            continue
        else:
            way.started(1, now_s)
            refused += push.old
            answer = outcome_of(Reply(403 if push.old else 201, b"", None))
            outcome = way.ended(answer, now_s, push.address)
        sent += outcome.kind == "accepted"
        dead += outcome.error_class == "token_dead"
        if not retry.may_go_again("marketing", is_unknown=False, error_class=outcome.error_class):
            continue
        push.tries += 1
        at_ms = retry.next_try(
            push.address,
            push.tries,
            unknowns=0,
            first_ms=10_000,
            retry_after_ms=int((outcome.retry_after_s or 0) * 1_000),
            now=int(now_s * 1_000),
            last=int(push.last_s * 1_000),
        )
        if at_ms is not None:
            heapq.heappush(heap, (at_ms / 1_000, number, push))
    return good, sent, dead, refused


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8])
def test_of_the_good_ones_beside_old_subscriptions_none_is_lost(share: float) -> None:
    """And the old ones are dead after a few tries, but the last ones, after which nothing is accepted."""
    for seed in range(3):
        good, sent, dead, refused = served(share, seed)
        assert sent == good
        assert dead >= 0.9 * (1_200 - good)
        assert refused <= 4 * (1_200 - good)
