"""The rules that hold for every journey and campaign of a deployment, as values made from YAML."""

from __future__ import annotations

from typing import Final

import msgspec

EACH: Final = "each"
LAST_ONLY: Final = "last_only"


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max_pushes` pushes per `window` (one of `facts.WINDOWS`)."""

    max_pushes: int
    window: str


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of the local day in which marketing is silent; equal: none."""

    start_minute: int
    end_minute: int


class Ramp(msgspec.Struct, frozen=True, kw_only=True):
    """For `for_ms` after a person opted in a lower cap holds, unless they opened `opens` pushes before."""

    for_ms: int
    max_pushes: int
    window: str
    opens: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules. Fields that came later have defaults by which an older body means what it meant.

    `decision_window_ms`: so long candidates are gathered, to decide on them by priority. `after_hold`: of
    several that were held, `each` is decided on, or the `last_only` has a chance.
    """

    name: str
    marketing_permissions: tuple[str, ...]
    transactional_permissions: tuple[str, ...]
    caps: tuple[Cap, ...]
    quiet_hours: QuietHours | None
    zones_otherwise: tuple[str, ...] = ()
    topics_on: tuple[str, ...] = ()
    send_within_ms: int
    lateness_max_ms: int
    decision_window_ms: int = 0
    after_hold: str = EACH
    min_gap_ms: int = 0
    ramp: Ramp | None = None
    after_purchase_ms: int = 0
    item_news_ms: int = 0
    suppression_ms: dict[str, int] = {}
    """How long a suppression holds at most that was given no end, by its reason."""
    transactional_messages: tuple[str, ...] = ()
    transactional_cap: Cap | None = None
    transactional_within_ms: int | None = None

    def within_ms(self, *, transactional: bool) -> int:
        """How long after its decision a push may be handed over."""
        own_ms = self.transactional_within_ms if transactional else None
        return self.send_within_ms if own_ms is None else own_ms
