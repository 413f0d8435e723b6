"""What the people of a simulation do: consent given, refined and taken back, carts filled, around due times.

Revocations are aimed at the moment when a cart's reminder is due, from a millisecond to seconds apart on
either side, since that is where a send and a revocation race.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any, Final

from ledger import facts as f
from ledger.consent import token_id
from tests.support.given import DAY

TOPIC: Final = "carts"
APP: Final = "shop"
ITEMS: Final = ("lamp", "book", "shoe")
ZONES: Final = ("Europe/Berlin", "Asia/Tokyo", "America/New_York")
LEVELS: Final = ("authorized", "authorized", "authorized", "provisional", "ephemeral")


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A fact and when its producer tells it (virtual s)."""

    at: float
    fact: f.SubjectFact | f.InstallationClaimed
    note: str = ""


Story = list[Told]


@dataclasses.dataclass(slots=True)
class _Device:
    """An installation and its clock: how far it is ahead (ms), and whether it numbers its facts."""

    name: str
    ahead: int
    counts: bool
    number: int = 0


class _Teller:
    """Makes the facts of one person."""

    def __init__(self, subject: str, draw: random.Random, start_ms: int) -> None:
        self.subject = subject
        self.draw = draw
        self.start_ms = start_ms
        self.server_ahead = _ahead(draw)
        self.facts: Story = []
        self.devices = [
            _Device(f"{subject}-{letter}", _ahead(draw), draw.random() < 0.3)
            for letter in "ab"[: draw.choice((1, 1, 2))]
        ]

    def tell(self, kind: type[f.SubjectFact], at: float, device: _Device | None, **fields: Any) -> None:
        """One fact at `at`, by the device's clock, or by a server's."""
        ahead = self.server_ahead if device is None else device.ahead
        source, sequence = self.draw.choice(("server", "server", "import")), None
        if device is not None:
            source = "device"
            if device.counts:
                device.number += 1
                sequence = device.number
        fact = kind(
            event_id=f"{self.subject}-{len(self.facts)}",
            app=APP,
            occurred_at=self.start_ms + int(at * 1000) + ahead,
            source=source,
            sequence=sequence,
            subject=self.subject,
            **fields,
        )
        note = f"clock {ahead / 1000:+.0f} s" if abs(ahead) > 1_000 else ""
        self.facts.append(Told(max(0.0, at), fact, note))

    def claim(self, at: float, device: _Device, subject: str | None) -> None:
        """Somebody logs in on the device, or out."""
        if device.counts:
            device.number += 1
        fact = f.InstallationClaimed(
            event_id=f"{self.subject}-{len(self.facts)}",
            app=APP,
            occurred_at=self.start_ms + int(at * 1000) + device.ahead,
            source="device",
            sequence=device.number if device.counts else None,
            installation=device.name,
            subject=subject,
        )
        self.facts.append(Told(max(0.0, at), fact, "a claim"))

    def yes(self, at: float, device: _Device) -> None:
        """Everything that makes an installation reachable, or a part of it again."""
        here = {"installation": device.name}
        match self.draw.randrange(5):
            case 0 | 1:
                self.tell(f.PermissionGranted, at, device, **here, level=self.draw.choice(LEVELS))
            case 2:
                self.tell(f.TopicSubscribed, at, device, topic=TOPIC)
            case 3:
                self.tell(f.MarketingResumed, at, device)
            case _:
                self.tell(f.SubjectReleased, at, None, reason="legal")

    def no(self, at: float, device: _Device) -> None:
        """Something that stands in the way of marketing."""
        here = {"installation": device.name}
        until = self.draw.choice((None, None, self.start_ms + int(at * 1000) + 60_000))
        match self.draw.randrange(12):
            case 0 | 1 | 2:
                self.tell(f.PermissionRevoked, at, device, **here, cause="os_settings")
            case 3:
                self.tell(f.PermissionDenied, at, None, **here)
            case 4 | 5:
                self.tell(f.TopicUnsubscribed, at, device, topic=TOPIC)
            case 6:
                self.tell(f.MarketingPaused, at, device, until=until)
            case 7:
                self.tell(f.SubjectSuppressed, at, None, reason="legal", until=until)
            case 8:
                dead = token_id("console", self._token(device))
                self.tell(f.TokenInvalidated, at, None, **here, token_id=dead, reason="gone")
            case 9:
                most = self.draw.randrange(3)
                self.tell(f.FrequencyChosen, at, device, max_pushes=most, window="rolling_day")
            case 10:
                level = self.draw.choice(f.PERMISSIONS)
                self.tell(f.PermissionObserved, at, device, **here, permission=level)
            case _:
                self.tell(f.SubjectErased if self.draw.random() < 0.3 else f.MarketingPaused, at, None)

    def cart(self, at: float, device: _Device, wait_s: float) -> None:
        """Something is put into the cart; around its reminder's time there may be a change of mind."""
        here, item = {"installation": device.name}, self.draw.choice(ITEMS)
        self.tell(f.CartUpdated, at, device, **here, item=item, change="added")
        due = at + wait_s
        for _ in range(self.draw.choice((0, 1, 1, 2))):
            near = 10 ** self.draw.uniform(-3, 1) * self.draw.choice((-1, 1))
            self.draw.choice((self.no, self.no, self.yes))(max(at, due + near), device)
        match self.draw.randrange(8):
            case 0:
                paid = at + self.draw.uniform(0, 2 * wait_s)
                self.tell(f.OrderPlaced, paid, None, order_id=f"{self.subject}-{at}", items=(item,))
            case 1:
                away = at + self.draw.uniform(0, 2 * wait_s)
                self.tell(f.CartUpdated, away, device, **here, item=item, change="removed")
            case _:
                pass

    def arrive(self, device: _Device) -> None:
        """The first facts of an installation, mostly all that a push needs."""
        here, at = {"installation": device.name}, self.draw.uniform(0, 1)
        zone = self.draw.choice(ZONES)
        self.tell(f.InstallationSeen, at, device, **here, platform="ios", time_zone=zone)
        if self.draw.random() < 0.9:
            self.tell(f.PermissionGranted, at, device, **here, level=self.draw.choice(LEVELS))
        if self.draw.random() < 0.9:
            self.tell(f.TokenRegistered, at, device, **here, provider="console", token=self._token(device))

    def _token(self, device: _Device) -> str:
        return f"token-{device.name}-{self.draw.randrange(2)}"


def story(subject: str, draw: random.Random, start_ms: int, span_s: float, wait_s: float) -> Story:
    """All that one person does within `span_s`, not in order of time."""
    teller = _Teller(subject, draw, start_ms)
    _live(teller, draw, span_s, wait_s)
    return teller.facts


def shared(
    people: tuple[str, str], draw: random.Random, start_ms: int, span_s: float, wait_s: float
) -> Story:
    """Two people on one device: logins and logouts, and what each tells of it while it is theirs.

    Most handovers lie around the time when a reminder of the former one's cart is due.
    """
    tellers = [_Teller(subject, draw, start_ms) for subject in people]
    device = tellers[0].devices[0]
    at, last = 0.5, None
    for _ in range(draw.randint(2, 5)):
        whose = draw.choice((*tellers, *tellers, None))
        teller = whose or last or tellers[0]
        teller.claim(at, device, whose.subject if whose is not None else None)
        if whose is not None:
            _arrive_again(whose, at + draw.uniform(0, 0.2), device)
            at += draw.uniform(0.1, span_s / 4)
            whose.cart(at, device, wait_s)
            at += max(0.01, wait_s + 10 ** draw.uniform(-3, 1) * draw.choice((-1, 1)))
        else:
            at += draw.uniform(0.1, span_s / 4)
        last = whose
    for teller in tellers:
        teller.facts = [told for told in teller.facts if told.at <= 2 * span_s + wait_s]
    return [told for teller in tellers for told in teller.facts]


def _arrive_again(teller: _Teller, at: float, device: _Device) -> None:
    here = {"installation": device.name}
    teller.tell(f.InstallationSeen, at, device, **here, platform="ios", time_zone="Europe/Berlin")
    teller.tell(f.PermissionGranted, at + 0.01, device, **here, level="authorized")
    token = f"token-{device.name}"
    teller.tell(f.TokenRegistered, at + 0.01, device, **here, provider="console", token=token)


def _live(teller: _Teller, draw: random.Random, span_s: float, wait_s: float) -> None:
    for device in teller.devices:
        teller.arrive(device)
    for at in _moments(draw, span_s):
        device = draw.choice(teller.devices)
        here = {"installation": device.name}
        match draw.randrange(8):
            case 0 | 1 | 2 | 3:
                teller.cart(at, device, wait_s)
            case 4:
                teller.tell(f.ItemSaved, at, device, **here, item=draw.choice(ITEMS))
            case 5:
                teller.tell(f.AppOpened, at, device, **here)
            case 6:
                teller.yes(at, device)
            case _:
                token = teller._token(device)
                teller.tell(f.TokenRegistered, at, device, **here, provider="console", token=token)


def _moments(draw: random.Random, span_s: float) -> Iterator[float]:
    for _ in range(draw.randint(2, 8)):
        yield draw.uniform(1, span_s)


def _ahead(draw: random.Random) -> int:
    """How far a producer's clock is ahead (ms): mostly not at all, now and then up to a day either way."""
    return draw.choice(
        (0, 0, 0, 0, draw.randint(-2_000, 2_000), draw.randint(-250_000, 250_000), draw.randint(-DAY, DAY))
    )
