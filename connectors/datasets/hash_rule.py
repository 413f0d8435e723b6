"""The seeded hash rule: which simulated person gets what, recomputable from the published table alone.

A draw is the first 8 bytes of SHA-256(seed NUL name NUL subject), big-endian, over 2^64: a number u with
0 <= u < 1. Everything follows from draws by whole-number arithmetic, so that any language finds the same.
`SHARES` is the one table; docs/reference/simulated-facts.md shows it and a test compares the two.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Final

TICKETS: Final = 10_000
"""Shares are counted in tickets; a draw holds ticket floor(u x TICKETS)."""

_BITS: Final = 64

SHARES: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    # -- one draw for each subject --
    "installations": (("two", 1500), ("one", 8200), ("none", 300)),
    "topic": (("unsubscribed", 500), ("untouched", 9500)),
    "topic_back": (("yes", 3000), ("no", 7000)),
    "frequency": (("chosen", 1200), ("untouched", 8800)),
    "frequency_choice": (
        ("1 calendar_day", 3000),
        ("1 rolling_week", 2500),
        ("3 calendar_week", 1500),
        ("1 rolling_day", 1000),
        ("2 rolling_month", 1000),
        ("1 calendar_month", 500),
        ("0 rolling_day", 500),
    ),
    "quiet": (("chosen", 1000), ("untouched", 9000)),
    "quiet_choice": (
        ("0 0", 2500),
        ("1260 540", 2500),
        ("1380 420", 2000),
        ("1230 615", 1500),
        ("720 840", 1000),
        ("0 1350", 500),
    ),
    "paused": (("yes", 400), ("no", 9600)),
    "pause_end": (("three_days", 5000), ("resumed", 2000), ("open", 3000)),
    "suppressed": (("yes", 300), ("no", 9700)),
    "suppression_reason": (("complaint", 5000), ("support_case", 5000)),
    "suppression_end": (("two_days", 3000), ("released", 3000), ("open", 4000)),
    "erased": (("yes", 100), ("no", 9900)),
    # -- one draw for each installation; the name of the draw is `a.` or `b.` and this --
    "platform": (("android", 5500), ("ios", 3500), ("web", 1000)),
    "place": (("time_zone", 8000), ("country", 1200), ("nothing", 800)),
    "time_zone": (
        ("Pacific/Auckland", 400),
        ("Europe/Berlin", 1200),
        ("America/New_York", 1200),
        ("Asia/Kathmandu", 300),
        ("Asia/Urumqi", 400),
        ("Asia/Shanghai", 6500),
    ),
    "time_zone_germany": (
        ("America/New_York", 150),
        ("Europe/London", 250),
        ("Europe/Vienna", 400),
        ("Europe/Berlin", 9200),
    ),
    "seen_again": (("yes", 3000), ("no", 7000)),
    "moved": (("yes", 2000), ("no", 8000)),
    "permission_android": (("authorized", 6600), ("pre_granted", 1100), ("denied", 1700), ("nothing", 600)),
    "permission_ios": (("authorized", 5300), ("provisional", 2200), ("denied", 1900), ("nothing", 600)),
    "permission_web": (("authorized", 7000), ("denied", 2400), ("nothing", 600)),
    "observed": (("yes", 2500), ("no", 7500)),
    "revoked": (("yes", 1000), ("no", 9000)),
    "revoked_how": (("reported", 7000), ("observed", 3000)),
    "regranted": (("yes", 4000), ("no", 6000)),
    "changed_mind": (("yes", 800), ("no", 9200)),
    "imported": (("yes", 400), ("no", 9600)),
    "server_refused": (("yes", 200), ("no", 9800)),
    "token": (("yes", 9600), ("no", 400)),
    "token_dead": (("no", 9700), ("yes", 300)),
    "token_back": (("yes", 5000), ("no", 5000)),
}
"""Outcome and tickets of every draw that chooses; in this order, and each list sums to `TICKETS`."""


def draw(seed: str, name: str, subject: str) -> int:
    """The draw as a whole number, u x 2^64."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def choose(number: int, shares: tuple[tuple[str, int], ...]) -> str:
    """Which outcome holds the ticket of a draw: the first whose tickets, summed up, exceed it."""
    ticket = number * TICKETS >> _BITS
    for outcome, tickets in shares:
        ticket -= tickets
        if ticket < 0:
            return outcome
    raise ValueError(f"shares must sum to {TICKETS} tickets: {shares}")


def between(number: int, start: int, end: int) -> int:
    """The instant start + floor(u x (end - start)) of a draw."""
    return start + (number * (end - start) >> _BITS)


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """All draws of one simulated subject."""

    seed: str
    subject: str

    def number(self, name: str) -> int:
        """The draw `name`, u x 2^64."""
        return draw(self.seed, name, self.subject)

    def pick(self, table: str, prefix: str = "", name: str | None = None) -> str:
        """The outcome in `SHARES[table]` of the draw `prefix` + `name` (the table's name, unless told)."""
        return choose(self.number(prefix + (name or table)), SHARES[table])

    def says(self, table: str, prefix: str = "") -> bool:
        """Whether a yes/no draw says yes."""
        return self.pick(table, prefix) == "yes"

    def at(self, name: str, start: int, end: int) -> int:
        """The instant in [start, end] that the draw `name` gives."""
        return between(self.number(name), start, end)
