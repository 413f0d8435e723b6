"""The gate: may this candidate be sent now? A table of named checks, all run, all recorded.

The verdict follows from the results: the first failed check of all but `quiet_hours` and `holdout` withholds;
else a failed `holdout` holds out; else failed `quiet_hours` holds until they end; else send. Five things that
are no checks come into it: a met goal withholds, and so does another end of the flow; a step of the subject
that failed withholds marketing; of several that were held one goes and the others are superseded, whatever it
leaves no room for; and one can't be held any longer. The gate sees nothing but its arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import cached_property
from typing import Final

from ledger import choice
from ledger.facts import CheckResult
from ledger.policy import Cap, Policy
from ledger.snapshot import ConsentView, Snapshot
from ledger.subject import CONTACTS_MAX
from ledger.time_zones import DAY_MS, ZoneTable, as_text, calendar_key, next_open, next_quiet

MARKETING: Final = "marketing"
TRANSACTIONAL: Final = "transactional"

GOAL_MET: Final = "goal_met"
"""Reason of a withheld re-decision: what the push asks for has happened while it was held."""

LEFT: Final = "left"
"""Reason of a withheld re-decision: the flow that it belongs to ended while it was held."""

SUPERSEDED: Final = "superseded"
"""Reason of a withheld re-decision: of several that were held over night another one goes."""

EVICTED: Final = "evicted"
"""Reason of a withheld re-decision: the subject's row had no room to hold the candidate any longer."""

INTERNAL_ERROR: Final = "internal_error"
"""Reason of a withheld marketing push: a step of the subject failed, unsettled (`ledger.failed_steps`)."""

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
        return choice.usable(self.snapshot, self._allowed)

    @cached_property
    def reachable(self) -> tuple[int, ...]:
        """Usable installations with a live token, the most recently active first."""
        return choice.reachable(self.snapshot, self._allowed)

    @property
    def _allowed(self) -> tuple[str, ...]:
        if self.snapshot.category == TRANSACTIONAL:
            return self.policy.transactional_permissions
        return self.policy.marketing_permissions

    @cached_property
    def zones(self) -> tuple[tzinfo, ...]:
        """Where the person may be, judged by the installation that would get the push."""
        views = self.snapshot.consent.installations
        order = self.reachable or choice.by_activity(self.snapshot, range(len(views)))
        zone, country = (views[order[0]].time_zone, views[order[0]].country) if order else (None, None)
        names = self.zone_table.plausible(
            zone, country, self.policy.zones_otherwise, by_name_alone=not self.snapshot.rules
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
        limit = self.now + self.policy.within_ms(transactional=self.snapshot.category == TRANSACTIONAL)
        if self.snapshot.category == TRANSACTIONAL or self.quiet_hours is None:
            return limit
        return next_quiet(self.now, limit, *self.quiet_hours, self.zones)

    @cached_property
    def opted_in_since(self) -> int:
        """Since when the person has allowed marketing: the earliest of what counts now; -1: nobody said."""
        views = self.snapshot.consent.installations
        return min((views[i].since for i in self.usable), default=-1)

    def sent_within(self, window: str) -> int:
        """Sends of the category that count in `window`; with several zones, the zone with the most."""
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


Check = Callable[[Question], tuple[bool, str]]
"""Answers (passed, detail); the detail is for people and names no person."""

_EXEMPT: Final = (True, "transactional")


def _erased(q: Question) -> tuple[bool, str]:
    return not q.snapshot.consent.erased, ""


def _suppressed(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    active = suppressions(q.snapshot.consent, q.policy, q.now)
    return not active, ", ".join(active)


def suppressions(view: ConsentView, policy: Policy, now: int) -> list[str]:
    """The reasons for which somebody must not be addressed at `now` (ms).

    One without an end may have one by policy: a support system that forgets to close a ticket must not
    silence a person for ever.
    """
    since = view.suppressed_since or (now,) * len(view.suppressions)
    active = []
    for (reason, until), at in zip(view.suppressions, since, strict=True):
        longest = policy.suppression_ms.get(reason)
        end = at + longest if until < 0 and longest is not None else until
        if end < 0 or now < end:
            active.append(reason)
    return active


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
    detail = ", ".join(_of(sent, cap.max_pushes, cap.window) for sent, cap in counts)
    return all(sent < cap.max_pushes for sent, cap in counts), detail


def _frequency_choice(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    chosen = q.snapshot.consent.frequency
    if chosen is None:
        return True, "no choice"
    max_pushes, window = chosen
    sent = q.sent_within(window)
    return sent < max_pushes, _of(sent, max_pushes, window)


def _quiet_hours(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    if not q.zones or q.open_at is None:
        return False, "no common open time"
    return q.open_at <= q.now, "" if q.open_at <= q.now else f"until {as_text(q.open_at)}"


def _category(q: Question) -> tuple[bool, str]:
    """A message is transactional only where policy lists it; one of an older decision has no name."""
    if q.snapshot.category != TRANSACTIONAL or not q.snapshot.message:
        return True, ""
    listed = q.snapshot.message in q.policy.transactional_messages
    return listed, "" if listed else f"{q.snapshot.message} is not listed as transactional"


def _text(q: Question) -> tuple[bool, str]:
    missing = q.snapshot.text_missing
    return not missing, f"{missing} is missing" if missing else ""


def _stale(q: Question) -> tuple[bool, str]:
    at, limit = q.snapshot.news_at, q.policy.item_news_ms
    if at < 0 or not limit:
        return True, ""
    return q.now - at <= limit, f"it happened {as_text(at)}"


def _recent_purchase(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    at, rest = q.snapshot.last_order, q.policy.after_purchase_ms
    if at < 0 or not rest:
        return True, ""
    return q.now - at >= rest, f"until {as_text(at + rest)}" if q.now - at < rest else ""


def _ramp(q: Question) -> tuple[bool, str]:
    """Somebody who said yes a short while ago gets less, until they open something."""
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    ramp = q.policy.ramp
    if ramp is None or q.snapshot.opens >= ramp.opens or q.now - q.opted_in_since >= ramp.for_ms:
        return True, ""
    sent = q.sent_within(ramp.window)
    return sent < ramp.max_pushes, _of(sent, ramp.max_pushes, ramp.window)


def _min_gap(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    contacts, gap = q.snapshot.contacts, q.policy.min_gap_ms
    if not contacts or not gap:
        return True, ""
    free_at = contacts[-1] + gap
    return q.now >= free_at, f"until {as_text(free_at)}" if q.now < free_at else ""


def _transactional_rate(q: Question) -> tuple[bool, str]:
    """Marketing has its own caps; this one keeps a runaway backend from a person's phone."""
    cap: Cap | None = q.policy.transactional_cap
    if q.snapshot.category != TRANSACTIONAL or cap is None:
        return True, ""
    sent = q.sent_within(cap.window)
    return sent < cap.max_pushes, _of(sent, cap.max_pushes, cap.window)


def _of(sent: int, most: int, window: str) -> str:
    return f"{sent} of {most} per {window}"


def _holdout(q: Question) -> tuple[bool, str]:
    if q.snapshot.category == TRANSACTIONAL:
        return _EXEMPT
    return not q.snapshot.holdout, "held out" if q.snapshot.holdout else ""


CHECKS: dict[str, Check] = {
    "erased": _erased,
    "suppressed": _suppressed,
    "unreadable_fact": _unreadable_fact,
    "category": _category,
    "permission": _permission,
    "token": _token,
    "topic": _topic,
    "paused": _paused,
    "unknown_time_zone": _unknown_time_zone,
    "text": _text,
    "stale": _stale,
    "recent_purchase": _recent_purchase,
    "ramp": _ramp,
    "frequency_policy": _frequency_policy,
    "frequency_choice": _frequency_choice,
    "min_gap": _min_gap,
    "transactional_rate": _transactional_rate,
    "quiet_hours": _quiet_hours,
    "holdout": _holdout,
}
"""All checks, in the order in which the first failed one names the reason."""

CHECKS_ADDED: Final = (
    "unreadable_fact",
    "category",
    "text",
    "stale",
    "recent_purchase",
    "ramp",
    "min_gap",
    "transactional_rate",
)
"""Checks that came after the first decisions were recorded, in the order in which they came: an older
decision has none of the later ones, and can be derived again all the same (`verify`)."""

_NOT_WITHHOLDING: Final = frozenset({"quiet_hours", "holdout"})
_BY_A_SEND: Final = frozenset({"ramp", "frequency_policy", "frequency_choice", "min_gap"})
"""Checks that may fail because another candidate was sent a moment ago."""


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
    if snapshot.superseded:
        # That another one went says more than that there is no room beside it.
        withholding = [name for name in withholding if name not in _BY_A_SEND]
    if snapshot.goal_met:
        return Decision("withhold", GOAL_MET, None, checks, ())
    if snapshot.left_as:
        return Decision("withhold", LEFT, None, checks, ())
    if withholding:
        return Decision("withhold", withholding[0], None, checks, ())
    if snapshot.failed_steps and snapshot.category != TRANSACTIONAL:
        return Decision("withhold", INTERNAL_ERROR, None, checks, ())
    if "holdout" in failed:
        return Decision("hold_out", None, None, checks, ())
    if snapshot.superseded:
        return Decision("withhold", SUPERSEDED, None, checks, ())
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
