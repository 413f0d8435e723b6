"""The gate: may this candidate be sent now? A table of named checks, all run, all recorded.

The verdict follows from the results: the first failed check of all but `quiet_hours` and `holdout` withholds;
else a failed `holdout` holds out; else failed `quiet_hours` holds until they end; else send. Two things that
are no checks come into it: a met goal withholds, and a candidate that can't be held any longer is withheld.
A "no" is a value. The gate sees nothing but its arguments, so a decision can be derived again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import cached_property
from typing import Final

from ledger.definitions import Policy
from ledger.facts import CheckResult
from ledger.snapshot import InstallationView, Snapshot
from ledger.subject import CONTACTS_MAX
from ledger.time_zones import DAY_MS, ZoneTable, as_text, calendar_key, next_open, next_quiet

MARKETING: Final = "marketing"
TRANSACTIONAL: Final = "transactional"

GOAL_MET: Final = "goal_met"
"""Reason of a withheld re-decision: what the push asks for has happened while it was held."""

EVICTED: Final = "evicted"
"""Reason of a withheld re-decision: the subject's row had no room to hold the candidate any longer."""

ROLLING_MS: Final[Mapping[str, int]] = {
    "rolling_day": DAY_MS,
    "rolling_week": 7 * DAY_MS,
    "rolling_month": 30 * DAY_MS,
}
CALENDAR_UNITS: Final[Mapping[str, str]] = {
    "calendar_day": "day",
    "calendar_week": "week",
    "calendar_month": "month",
}
WINDOW_MS_MAX: Final = 32 * DAY_MS
"""No window is longer than this (a calendar month with its clock changes)."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A candidate before the gate: everything that a check may look at."""

    snapshot: Snapshot
    policy: Policy
    zone_table: ZoneTable
    now: int

    @cached_property
    def usable(self) -> tuple[int, ...]:
        """Indices of installations whose permission suffices for the category."""
        allowed = (
            self.policy.transactional_permissions
            if self.snapshot.category == TRANSACTIONAL
            else self.policy.marketing_permissions
        )
        views = self.snapshot.consent.installations
        return tuple(i for i, view in enumerate(views) if view.permission in allowed)

    @cached_property
    def reachable(self) -> tuple[int, ...]:
        """Usable installations with a live token, the most recently active first."""
        views = self.snapshot.consent.installations
        return self._by_activity(tuple(i for i in self.usable if views[i].token_live))

    @cached_property
    def zones(self) -> tuple[tzinfo, ...]:
        """Where the person may be, judged by the installation that would get the push."""
        views = self.snapshot.consent.installations
        order = self.reachable or self._by_activity(tuple(range(len(views))))
        view = views[order[0]] if order else None
        names = self.zone_table.plausible(
            view.time_zone if view else None,
            view.country if view else None,
            self.policy.zones_otherwise,
        )
        return tuple(self.zone_table.zones[name] for name in names)

    @cached_property
    def open_at(self) -> int | None:
        """The first instant from now on that is quiet nowhere the person may be; None: never."""
        if self.quiet_hours is None:
            return self.now
        return next_open(self.now, *self.quiet_hours, self.zones)

    @cached_property
    def quiet_hours(self) -> tuple[int, int] | None:
        """(start, end) minute of the local day: the person's own, else the policy's."""
        hours = self.policy.quiet_hours
        ours = None if hours is None else (hours.start_minute, hours.end_minute)
        return self.snapshot.consent.quiet or ours

    @property
    def send_before(self) -> int:
        """When a push that is decided now is too late: the policy's limit, or the next quiet hours."""
        limit = self.now + self.policy.send_within_ms
        if self.snapshot.category == TRANSACTIONAL or self.quiet_hours is None:
            return limit
        return next_quiet(self.now, limit, *self.quiet_hours, self.zones)

    def sent_within(self, window: str) -> int:
        """Marketing sends that count in `window`; with several zones, the zone with the most."""
        contacts = self.snapshot.contacts
        if window in ROLLING_MS:
            return sum(1 for at in contacts if at > self.now - ROLLING_MS[window])
        unit = CALENDAR_UNITS[window]
        if not self.zones:
            # Nobody knows the local day: count everything that could be in the same period.
            return len(contacts)
        return max(
            sum(1 for at in contacts if calendar_key(at, unit, zone) == today)
            for zone in self.zones
            for today in (calendar_key(self.now, unit, zone),)
        )

    def _by_activity(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        active = self.snapshot.last_active
        views: tuple[InstallationView, ...] = self.snapshot.consent.installations
        return tuple(sorted(indices, key=lambda i: (-active[i], views[i].key)))


Check = Callable[[Question], tuple[bool, str]]
"""Answers (passed, detail); the detail is for people and names no person."""

_EXEMPT: Final = (True, "transactional")


def _erased(q: Question) -> tuple[bool, str]:
    return not q.snapshot.consent.erased, ""


def _suppressed(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    active = [r for r, until in q.snapshot.consent.suppressions if until < 0 or q.now < until]
    return not active, ", ".join(active)


def _unreadable_fact(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    marks = q.snapshot.consent.unreadable
    return not marks, f"{marks} not settled" if marks else ""


def _permission(q: Question) -> tuple[bool, str]:
    states = [view.permission for view in q.snapshot.consent.installations]
    return bool(q.usable), ", ".join(states) or "no installation"


def _token(q: Question) -> tuple[bool, str]:
    return bool(q.reachable), f"{len(q.reachable)} reachable"


def _topic(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    chosen = q.snapshot.consent.topic_on
    if chosen is None:
        return q.snapshot.topic in q.policy.topics_on, "by policy"
    return chosen, "by choice"


def _paused(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    until = q.snapshot.consent.pause_until
    if until is None:
        return True, ""
    return 0 <= until <= q.now, "without an end" if until < 0 else f"until {as_text(until)}"


def _unknown_time_zone(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    if not q.zones:
        return False, "no zone is plausible"
    return q.open_at is not None, f"{len(q.zones)} plausible zone{'s' if len(q.zones) > 1 else ''}"


def _frequency_policy(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    if len(q.snapshot.contacts) >= CONTACTS_MAX:
        # A slot that can't be kept must not be taken: caps stay exact.
        return False, f"no room for more than {CONTACTS_MAX} sends"
    counts = [(q.sent_within(cap.window), cap) for cap in q.policy.caps]
    detail = ", ".join(f"{sent} of {cap.max_pushes} per {cap.window}" for sent, cap in counts)
    return all(sent < cap.max_pushes for sent, cap in counts), detail


def _frequency_choice(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    choice = q.snapshot.consent.frequency
    if choice is None:
        return True, "no choice"
    max_pushes, window = choice
    sent = q.sent_within(window)
    return sent < max_pushes, f"{sent} of {max_pushes} per {window}"


def _quiet_hours(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    if not q.zones or q.open_at is None:
        return False, "no common open time"
    return q.open_at <= q.now, "" if q.open_at <= q.now else f"until {as_text(q.open_at)}"


def _holdout(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    return not q.snapshot.holdout, "held out" if q.snapshot.holdout else ""


CHECKS: dict[str, Check] = {
    "erased": _erased,
    "suppressed": _suppressed,
    "unreadable_fact": _unreadable_fact,
    "permission": _permission,
    "token": _token,
    "topic": _topic,
    "paused": _paused,
    "unknown_time_zone": _unknown_time_zone,
    "frequency_policy": _frequency_policy,
    "frequency_choice": _frequency_choice,
    "quiet_hours": _quiet_hours,
    "holdout": _holdout,
}
"""All checks, in the order in which the first failed one names the reason."""

CHECKS_ADDED: Final = ("unreadable_fact",)
"""Checks that came after the first decisions were recorded, in the order in which they came: an older
decision has none of the later ones, and can be derived again all the same (`verify`)."""

_NOT_WITHHOLDING: Final = frozenset({"quiet_hours", "holdout"})


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer. `installations` (keys), `send_before` only for `send`, `hold_until` for `hold`."""

    verdict: str
    reason: str | None
    hold_until: int | None
    checks: tuple[CheckResult, ...]
    installations: tuple[str, ...]
    send_before: int | None = None


def decide(snapshot: Snapshot, policy: Policy, zone_table: ZoneTable, now: int) -> Decision:
    """Run every check on one candidate at `now` (ms) and return the verdict with all results."""
    question = Question(snapshot, policy, zone_table, now)
    results = []
    for name, check in CHECKS.items():
        passed, detail = check(question)
        results.append(CheckResult(name=name, passed=passed, detail=detail))
    checks = tuple(results)
    failed = [result.name for result in checks if not result.passed]
    withholding = [name for name in failed if name not in _NOT_WITHHOLDING]
    if snapshot.goal_met:
        return Decision("withhold", GOAL_MET, None, checks, ())
    if withholding:
        return Decision("withhold", withholding[0], None, checks, ())
    if "holdout" in failed:
        return Decision("hold_out", None, None, checks, ())
    if snapshot.evicted:
        return Decision("withhold", EVICTED, None, checks, ())
    if "quiet_hours" in failed:
        return Decision("hold", "quiet_hours", question.open_at, checks, ())
    views = snapshot.consent.installations
    chosen = question.reachable
    if snapshot.category != TRANSACTIONAL:
        chosen = chosen[:1]
    keys = tuple(views[i].key for i in chosen)
    return Decision("send", None, None, checks, keys, question.send_before)
