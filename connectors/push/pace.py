"""How fast a provider is asked: learnt from what it answers, and paused when it fails.

Pure: times are passed in (monotonic seconds). One `Pace` belongs to one app at one provider in one worker,
for all of its partitions.
"""

from __future__ import annotations

import math
from typing import Final

from connectors.push.port import Outcome
from connectors.push.refusals import Refusals

IN_FLIGHT_FIRST: Final = 32
IN_FLIGHT_MIN: Final = 4
IN_FLIGHT_MAX: Final = 500
SHRINK: Final = 0.5
SHRINK_EVERY_S: Final = 1.0
"""A burst of failures is one piece of news."""
RAMP_S: Final = 60.0
"""FCM: let traffic grow to its full rate over a minute or more, and spread what would start on the hour."""
RAMP_FROM: Final = 0.1
IDLE_S: Final = 60.0
"""After so long without a push the rate grows from the beginning again."""
BURST_S: Final = 0.25
FAILURES_MAX: Final = 20
"""So many failures in a row, and the provider is left alone."""
PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 60.0
REFUSED_PAUSE_S: Final = 60.0


class Pace:
    """How many pushes may be handed over now. `rate_max`: a second, once it has grown."""

    def __init__(self, rate_max: float) -> None:
        self.limit = float(IN_FLIGHT_FIRST)
        self.in_flight = 0
        self.paused_until_s = -math.inf
        self.pause_s = PAUSE_S
        self._rate_max = rate_max
        self._tokens = 0.0
        self._filled_s = -math.inf
        self._ramp_since_s = -math.inf
        self._shrunk_s = -math.inf
        self._failures = 0
        self._refusals = Refusals()
        self._by_refusals = False
        """The pause is for a refused credential, not for a provider that fails."""
        self._trial = False
        """After a pause one push finds out whether the provider works again."""
        self._trying = False
        """That push is on its way. Until then what comes in is news from before the pause."""

    def paused_s(self, now_s: float) -> float:
        """For how long the provider is left alone yet."""
        return max(0.0, self.paused_until_s - now_s)

    def room(self, now_s: float) -> int:
        """How many may be handed over now."""
        if self.paused_s(now_s):
            return 0
        if self._trial:
            return 0 if self.in_flight else 1
        self._fill(now_s)
        return max(0, min(int(self.limit) - self.in_flight, int(self._tokens)))

    def started(self, count: int, now_s: float) -> None:
        """So many are being handed over."""
        self._fill(now_s)
        self._tokens -= count
        self.in_flight += count
        self._trying = self._trial

    def ended(self, outcome: Outcome, now_s: float, address: str = "") -> Outcome:
        """One has its outcome; returns it with the class that all which is known of the credential gives it.

        `address`: where it went; without one it is taken for an address of its own.
        """
        self.in_flight -= 1
        is_late_news = self._trial and not self._trying
        if not outcome.by_provider:
            self._trying = False
            return outcome
        if outcome.retry_after_s and not outcome.of_address:
            self._pause(outcome.retry_after_s, now_s)
        if outcome.kind == "rejected" and outcome.error_class == "credential":
            return self._refused(outcome, address, now_s, is_late_news=is_late_news)
        if outcome.kind == "unknown" or (outcome.error_class == "transient" and not outcome.of_address):
            if not is_late_news:
                self._failed(now_s)
            return outcome
        # Accepted, or refused for what the message or its address is: the provider works.
        self._refusals.answered(address, accepted=outcome.kind == "accepted")
        self._works()
        self.pause_s = PAUSE_S
        self.limit = min(IN_FLIGHT_MAX, self.limit + 1 / self.limit)
        return outcome

    def _refused(self, outcome: Outcome, address: str, now_s: float, *, is_late_news: bool) -> Outcome:
        """A refusal of our credential: for all addresses or for this one, the others' answers tell."""
        if self._refusals.refused(outcome, address) or (self._trial and self._by_refusals):
            if not is_late_news:
                self._pause(REFUSED_PAUSE_S, now_s)
                self._by_refusals = True
            return outcome
        if self._trying:
            self._works()
        return self._refusals.of_one(outcome, address)

    def _works(self) -> None:
        """The provider answers: the end of a pause's trial."""
        if self._by_refusals:
            self._refusals.forget()
        self._failures = 0
        self._trial = self._trying = self._by_refusals = False

    def _failed(self, now_s: float) -> None:
        self._failures += 1
        if now_s - self._shrunk_s >= SHRINK_EVERY_S:
            self._shrunk_s = now_s
            self.limit = max(IN_FLIGHT_MIN, self.limit * SHRINK)
        if self._trial or self._failures >= FAILURES_MAX:
            self._pause(self.pause_s, now_s)
            self.pause_s = min(PAUSE_S_MAX, 2 * self.pause_s)

    def _pause(self, for_s: float, now_s: float) -> None:
        self.paused_until_s = max(self.paused_until_s, now_s + for_s)
        self._trial, self._trying = True, False
        self._failures = 0

    def _fill(self, now_s: float) -> None:
        """Fill the bucket of tokens at the rate of now."""
        passed_s = now_s - self._filled_s
        if passed_s > IDLE_S:
            self._ramp_since_s = now_s
            passed_s = BURST_S
            self._tokens = max(1.0, self._tokens)  # one at once, however low the rate
        grown = min(1.0, RAMP_FROM + (1 - RAMP_FROM) * (now_s - self._ramp_since_s) / RAMP_S)
        rate = self._rate_max * grown
        self._tokens = min(max(1.0, rate * BURST_S), self._tokens + rate * passed_s)
        self._filled_s = now_s
