"""One simulated person of the demo's shop week: what they do, when they are asked, and what they answer.

Uses `random.Random(<whole number>).random()` and nothing else of `random`, so that every version of Python
makes the same person. The shares are invented; they are chosen so that moments and platforms differ.
"""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from connectors.datasets.diary import PROVIDER, SERVER, Diary
from ledger import facts as f
from ledger.consent import token_id

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
DAYS: Final = 7
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
START_MS: Final = int(START.timestamp()) * SECOND_MS
END_MS: Final = START_MS + DAYS * DAY_MS

SESSIONS_MAX: Final = 6
VIEWS_MAX: Final = 7
ITEMS: Final = 300
CATEGORIES: Final = ("living", "shoes", "accessories", "kitchen", "garden", "toys")
TOPIC: Final = "cart_reminders"

Shares = tuple[tuple[str, float], ...]

HOMES: Final[Shares] = (
    ("Europe/Berlin DE", 0.38),
    ("Europe/London GB", 0.16),
    ("Europe/Lisbon PT", 0.10),
    ("America/New_York US", 0.13),
    ("America/Los_Angeles US", 0.07),
    ("Asia/Tokyo JP", 0.08),
    ("Asia/Kolkata IN", 0.08),
)
TOLD: Final[Shares] = (("zone", 0.82), ("country", 0.12), ("nothing", 0.06))
"""How much of the home the app tells: the time zone with the country, the country, or nothing."""
PLATFORMS: Final[Shares] = (("android", 0.46), ("ios", 0.42), ("web", 0.12))
CONTEXTS: Final[Shares] = (
    ("first_open", 0.25),
    ("after_save", 0.25),
    ("after_cart", 0.25),
    ("after_order", 0.25),
)
"""When a person is asked: as soon as the app is open, or after the first act of the kind."""
UNASKED: Final[dict[str, Shares]] = {
    "android": (("pre_granted", 0.14), ("", 0.86)),
    "ios": (("provisional", 0.09), ("", 0.91)),
    "web": (("", 1.0),),
}
"""Permissions that come without asking: an upgraded Android, a quiet trial on iOS."""
PRIMER_ACCEPTED: Final = {"first_open": 0.44, "after_save": 0.58, "after_cart": 0.63, "after_order": 0.76}
DIALOG_ACCEPTED: Final = {"android": 0.90, "ios": 0.84, "web": 0.71}
UNPREPARED: Final = 0.55
"""How often a dialog without a primer before it is accepted, relative to one with."""
ACTS: Final[Shares] = (("save", 0.10), ("cart", 0.17), ("none", 0.73))
"""What comes of looking at an item."""
REVOKED: Final = {"first_open": 0.13, "after_save": 0.07, "after_cart": 0.06, "after_order": 0.04}
FREQUENCIES: Final[Shares] = (
    ("1 calendar_day", 0.4),
    ("1 rolling_week", 0.2),
    ("3 calendar_week", 0.25),
    ("2 rolling_month", 0.15),
)
QUIET: Final[Shares] = (("1260 540", 0.4), ("1380 420", 0.2), ("720 840", 0.2), ("0 0", 0.2))


def live(number: int, seed: int) -> Diary:
    """The week of person `number` (from 1), subject `demo-<number>`."""
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311 - a simulation, repeatable on purpose
    person = _Person(chance, Diary(f"demo-{number:05d}", END_MS))
    person.settle()
    for session in person.sessions():
        person.visit(session)
    if person.diary.facts:
        person.reconsider()
    return person.diary


@dataclasses.dataclass(slots=True)
class _Person:
    chance: random.Random
    diary: Diary
    zone: str = ""
    platform: str = ""
    told: str = ""
    country: str = ""
    context: str = ""
    asked: bool = False
    granted_at: int | None = None
    token_at: int | None = None
    cart: list[str] = dataclasses.field(default_factory=list)

    @property
    def installation(self) -> str:
        return f"{self.diary.subject}-1"

    def settle(self) -> None:
        """Decide who this is."""
        self.zone, _, self.country = self.pick(HOMES).partition(" ")
        self.platform, self.told, self.context = self.pick(PLATFORMS), self.pick(TOLD), self.pick(CONTEXTS)

    def pick(self, shares: Shares) -> str:
        left = self.chance.random()
        for outcome, share in shares:
            left -= share
            if left < 0:
                return outcome
        return shares[-1][0]

    def says(self, share: float) -> bool:
        return self.chance.random() < share

    def later(self, at: int, least_ms: int, most_ms: int) -> int:
        """An instant that much after `at`."""
        return at + least_ms + int(self.chance.random() * (most_ms - least_ms))

    def sessions(self) -> list[int]:
        """When the person opens the app: at local day time, mostly in the evening."""
        instants = []
        for _ in range(1 + int(self.chance.random() * SESSIONS_MAX)):
            day = int(self.chance.random() * DAYS)
            # The larger of two draws: few in the morning, most between 17:00 and midnight.
            hour = 7 + 17 * max(self.chance.random(), self.chance.random())
            wall = datetime(2026, 3, 2, tzinfo=ZoneInfo(self.zone)) + timedelta(days=day, hours=hour)
            at = int(wall.timestamp()) * SECOND_MS
            if START_MS <= at < END_MS - HOUR_MS:
                instants.append(at)
        return sorted(instants)

    def visit(self, at: int) -> None:
        """One session: the app is opened, items are looked at, saved, put into the cart, ordered."""
        write, here = self.diary.write, {"installation": self.installation}
        if not self.diary.facts:
            self.arrive(at)
        write(f.AppOpened, at, **here)
        if self.context == "first_open":
            at = self.ask(at + 5 * SECOND_MS)
        for _ in range(1 + int(self.chance.random() * VIEWS_MAX)):
            at = self.later(at, 8 * SECOND_MS, 3 * MINUTE_MS)
            number = int(self.chance.random() * ITEMS)
            item, category = f"item-{number}", CATEGORIES[number % len(CATEGORIES)]
            write(f.ItemViewed, at, item=item, category=category, **here)
            act = self.pick(ACTS)
            if act == "save":
                write(f.ItemSaved, at + 4 * SECOND_MS, item=item, category=category, **here)
                at = self.ask(at + 6 * SECOND_MS) if self.context == "after_save" else at
            elif act == "cart":
                added = {"item": item, "category": category, "change": "added"}
                write(f.CartUpdated, at + 6 * SECOND_MS, **added, **here)
                if item not in self.cart:
                    self.cart.append(item)
                at = self.ask(at + 8 * SECOND_MS) if self.context == "after_cart" else at
        if self.cart and self.says(0.38):
            self.order(self.later(at, MINUTE_MS, 25 * MINUTE_MS))

    def arrive(self, at: int) -> None:
        """The first start of the app: it tells of itself, and may be allowed to push unasked."""
        write, here = self.diary.write, {"installation": self.installation}
        zone = self.zone if self.told == "zone" else None
        country = None if self.told == "nothing" else self.country
        write(f.InstallationSeen, at, **here, platform=self.platform, time_zone=zone, country=country)
        unasked = self.pick(UNASKED[self.platform])
        if not unasked:
            return
        self.asked = True
        if unasked == "provisional":
            write(f.PermissionGranted, at + SECOND_MS, **here, level=unasked, context="unasked")
            self.granted_at = at + SECOND_MS
        else:
            write(f.PermissionObserved, at + SECOND_MS, **here, permission=unasked)
        self.register(at + 2 * SECOND_MS)

    def ask(self, at: int) -> int:
        """Ask once; returns when the person goes on."""
        if self.asked:
            return at
        self.asked = True
        copy_version = "a" if self.says(0.5) else "b"
        chance = DIALOG_ACCEPTED[self.platform]
        if self.says(0.8):
            # The second copy is a little better, and there is something to find out.
            share = PRIMER_ACCEPTED[self.context] + (0.04 if copy_version == "b" else 0.0)
            answer = "accepted" if self.says(share) else self.pick((("declined", 0.6), ("dismissed", 0.4)))
            at = self.prompt("primer", answer, copy_version, at)
            if answer != "accepted":
                return at
        else:
            chance *= UNPREPARED
        accepted = self.says(chance)
        at = self.prompt("os", "accepted" if accepted else "declined", None, at)
        here = {"installation": self.installation, "context": self.context}
        if not accepted:
            self.diary.write(f.PermissionDenied, at, **here)
            return at
        self.diary.write(f.PermissionGranted, at, level="authorized", **here)
        self.granted_at = at
        self.register(at + SECOND_MS)
        return at + SECOND_MS

    def prompt(self, prompt: str, answer: str, copy_version: str | None, at: int) -> int:
        shown = {"installation": self.installation, "prompt": prompt, "context": self.context}
        answered_at = self.later(at, 2 * SECOND_MS, 20 * SECOND_MS)
        self.diary.write(f.PromptShown, at, **shown, copy_version=copy_version)
        self.diary.write(f.PromptAnswered, answered_at, **shown, copy_version=copy_version, answer=answer)
        return answered_at

    def register(self, at: int) -> None:
        if self.says(0.97):
            self.token_at = at
            address = {"provider": PROVIDER, "token": f"demo-{self.installation}-1"}
            self.diary.write(f.TokenRegistered, at, installation=self.installation, **address)

    def order(self, at: int) -> None:
        amount = sum(900 + 37 * int(item.removeprefix("item-")) for item in self.cart)
        self.diary.write(
            f.OrderPlaced,
            at,
            order_id=f"{self.diary.subject}-{at}",
            items=tuple(self.cart),
            amount_minor=amount,
            currency="EUR",
            installation=self.installation,
        )
        self.cart.clear()
        if self.context == "after_order":
            self.ask(at + 3 * SECOND_MS)

    def reconsider(self) -> None:
        """What people change later: permission, preferences; and what happens to them."""
        write, here = self.diary.write, {"installation": self.installation}
        if self.granted_at is not None:
            since = self.granted_at
            if self.says(REVOKED[self.context]):
                gone = self.later(since, 6 * HOUR_MS, 5 * DAY_MS)
                if self.says(0.8):
                    write(f.PermissionRevoked, gone, **here, cause="os_settings")
                else:
                    write(f.PermissionObserved, gone, **here, permission="denied")
            self.prefer(since)
        if self.token_at is not None and self.says(0.02):
            dead = token_id(PROVIDER, f"demo-{self.installation}-1")
            gone = self.later(self.token_at, HOUR_MS, 4 * DAY_MS)
            write(f.TokenInvalidated, gone, SERVER, **here, token_id=dead, reason="unregistered")
        if self.says(0.012):
            at = self.later(START_MS, DAY_MS, 5 * DAY_MS)
            reason = "complaint" if self.says(0.5) else "support_case"
            write(f.SubjectSuppressed, at, SERVER, reason=reason)
            if reason == "support_case" and self.says(0.7):
                write(f.SubjectReleased, self.later(at, HOUR_MS, DAY_MS), SERVER, reason=reason)
        if self.says(0.004):
            write(f.SubjectErased, self.later(START_MS, DAY_MS, 7 * DAY_MS), SERVER)

    def prefer(self, since: int) -> None:
        write = self.diary.write
        at = self.later(since, MINUTE_MS, DAY_MS)
        if self.says(0.04):
            write(f.TopicUnsubscribed, at, topic=TOPIC)
            if self.says(0.25):
                write(f.TopicSubscribed, self.later(at, HOUR_MS, 2 * DAY_MS), topic=TOPIC)
        at += SECOND_MS
        if self.says(0.08):
            count, _, window = self.pick(FREQUENCIES).partition(" ")
            write(f.FrequencyChosen, at, max_pushes=int(count), window=window)
        if self.says(0.06):
            start, _, end = self.pick(QUIET).partition(" ")
            at += SECOND_MS
            write(f.QuietHoursChosen, at, start_minute=int(start), end_minute=int(end))
        if self.says(0.04):
            until = at + 2 * DAY_MS if self.says(0.5) else None
            write(f.MarketingPaused, at, until=until)
            if until is None and self.says(0.6):
                write(f.MarketingResumed, self.later(at, HOUR_MS, 2 * DAY_MS))
