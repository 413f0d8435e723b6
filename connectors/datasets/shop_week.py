"""A simulated week of a small shop, 2 to 8 March 2026, for `optin demo`. Nobody in it is real.

People in several time zones open the app, look, save, fill carts and order. Each belongs to one of four
groups that are asked for permission at a different moment (`shop_person.CONTEXTS`); how many accept depends
on the moment and the platform. Some revoke later, choose frequencies or quiet hours, pause, or are erased.
All facts say `:demo` in their source. The week holds the change to summer time in the United States.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Final

from connectors.datasets.diary import DEVICE
from connectors.datasets.hash_rule import TICKETS, between, draw
from connectors.datasets.shop_person import END_MS, HOUR_MS, MINUTE_MS, SECOND_MS, live
from connectors.datasets.shop_stories import ANNA, stories
from ledger import facts as f

SUBJECTS: Final = 2_000
SUBJECTS_MAX: Final = 99_999
SEED: Final = 2026
OPENED_TICKETS: Final = 1_400
"""Of `TICKETS`: the share of accepted pushes that are opened."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShopWeek:
    """The facts of the week, each topic sorted by (occurred_at, subject)."""

    permissions: tuple[f.SubjectFact, ...]
    tokens: tuple[f.SubjectFact, ...]
    activity: tuple[f.SubjectFact, ...]


_TOKENS: Final = (f.TokenRegistered, f.TokenInvalidated)
_ACTIVITY: Final = (f.AppOpened, f.ItemViewed, f.ItemSaved, f.CartUpdated, f.OrderPlaced)

Accepted = tuple[str, str, str, str, int]
"""A push that its provider took: subject, app, installation, push id, instant (ms)."""


def shop_week(subjects: int = SUBJECTS, seed: int = SEED) -> ShopWeek:
    """Make the week of `subjects` people (`demo-00001`...), and of the three of `shop_stories`."""
    if not 0 <= subjects <= SUBJECTS_MAX:
        raise ValueError(f"subjects must be from 0 to {SUBJECTS_MAX}, not {subjects}")
    diaries = [*stories(END_MS), *(live(number, seed) for number in range(1, subjects + 1))]
    facts = [fact for diary in diaries for fact in diary.until_erased()]
    facts.sort(key=lambda fact: (fact.occurred_at, fact.subject))
    return ShopWeek(
        permissions=tuple(fact for fact in facts if not isinstance(fact, (*_TOKENS, *_ACTIVITY))),
        tokens=tuple(fact for fact in facts if isinstance(fact, _TOKENS)),
        activity=tuple(fact for fact in facts if isinstance(fact, _ACTIVITY)),
    )


def opens(accepted: Iterable[Accepted], seed: int = SEED) -> list[f.PushOpened]:
    """Which accepted pushes were opened, and when.

    Opens name pushes, and pushes exist only once they were decided: `processors.people` goes through the
    week for it. By the hash rule over the push id: 14 % are opened, within three hours, mostly soon.
    `demo-anna` opens hers after 12 minutes. Sorted by time.
    """
    found: dict[str, f.PushOpened] = {}
    for subject, app, installation, push_id, at in accepted:
        if subject == ANNA:
            opened_at = at + 12 * MINUTE_MS
        elif draw(str(seed), "opened", push_id) * TICKETS >> 64 < OPENED_TICKETS:
            number = draw(str(seed), "opened_at", push_id)
            opened_at = between(number * number >> 64, at + 20 * SECOND_MS, at + 3 * HOUR_MS)
        else:
            continue
        found[push_id] = f.PushOpened(
            event_id=hashlib.sha256(f"opened\0{push_id}".encode()).hexdigest()[:32],
            app=app,
            occurred_at=opened_at,
            source=DEVICE,
            subject=subject,
            # Decisions name an installation by its key, deliveries may too; an app knows the plain id.
            installation=installation.removeprefix(f"{app}/"),
            push_id=push_id,
        )
    return sorted(found.values(), key=lambda fact: (fact.occurred_at, fact.push_id))
