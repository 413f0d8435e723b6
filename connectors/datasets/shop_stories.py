"""Three people of the demo's week whose stories are written by hand, for `optin explain`.

`demo-anna` grants after filling a cart, is held over the night, gets her push, opens it and orders; later
she revokes, and the next push is withheld. `demo-ben` orders while his push is held: goal met.
`demo-carla` wants one push a day: her second of the day is withheld.

The stories assume the journey's wait of one hour and quiet hours from 22:00 to 08:00.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Final

from connectors.datasets.diary import PROVIDER, Diary
from ledger import facts as f

ANNA: Final = "demo-anna"
BEN: Final = "demo-ben"
CARLA: Final = "demo-carla"

_SECOND_MS: Final = 1000


def stories(end_ms: int) -> tuple[Diary, ...]:
    """The three diaries of the week."""
    return _anna(end_ms), _ben(end_ms), _carla(end_ms)


def _at(day: int, hour: int, minute: int, second: int = 0) -> int:
    """An instant in March 2026 (UTC)."""
    return int(datetime(2026, 3, day, hour, minute, second, tzinfo=UTC).timestamp()) * _SECOND_MS


@dataclasses.dataclass(frozen=True, slots=True)
class _Phone:
    diary: Diary
    installation: str
    platform: str

    def first_seen(self, at: int, time_zone: str, country: str) -> None:
        self.diary.write(
            f.InstallationSeen,
            at,
            installation=self.installation,
            platform=self.platform,
            time_zone=time_zone,
            country=country,
        )

    def opened(self, at: int) -> None:
        self.diary.write(f.AppOpened, at, installation=self.installation)

    def asked_and_granted(self, at: int, context: str) -> None:
        """Primer, the system's dialog, the grant and the token, within half a minute."""
        write, here = self.diary.write, self.installation
        for prompt, later in (("primer", 0), ("os", 15_000)):
            shown = {"installation": here, "prompt": prompt, "context": context}
            write(f.PromptShown, at + later, **shown, copy_version="a")
            write(f.PromptAnswered, at + later + 9_000, **shown, copy_version="a", answer="accepted")
        granted = at + 25_000
        write(f.PermissionGranted, granted, installation=here, level="authorized", context=context)
        token = f"demo-{here}-1"
        write(f.TokenRegistered, granted + 1_000, installation=here, provider=PROVIDER, token=token)

    def viewed(self, at: int, item: str, category: str) -> None:
        self.diary.write(f.ItemViewed, at, item=item, category=category, installation=self.installation)

    def carted(self, at: int, item: str, category: str) -> None:
        """A look, and 40 s later the item is in the cart."""
        self.viewed(at - 40_000, item, category)
        here = {"item": item, "category": category, "installation": self.installation}
        self.diary.write(f.CartUpdated, at, change="added", **here)

    def ordered(self, at: int, item: str, amount_minor: int) -> None:
        self.diary.write(
            f.OrderPlaced,
            at,
            order_id=f"{self.diary.subject}-{item}",
            items=(item,),
            amount_minor=amount_minor,
            currency="EUR",
            installation=self.installation,
        )


def _anna(end_ms: int) -> Diary:
    """Berlin, one hour ahead of UTC."""
    phone = _Phone(Diary(ANNA, end_ms), "demo-anna-phone", "ios")
    phone.first_seen(_at(2, 17, 20), "Europe/Berlin", "DE")
    phone.opened(_at(2, 17, 20, 1))
    phone.viewed(_at(2, 17, 22), "lamp-2", "living")
    phone.carted(_at(2, 17, 26), "lamp-7", "living")
    phone.asked_and_granted(_at(2, 17, 26, 5), "after_cart")
    phone.ordered(_at(2, 17, 40), "lamp-7", 4_900)
    phone.opened(_at(4, 20, 31))
    phone.viewed(_at(4, 20, 35), "boots-1", "shoes")
    phone.carted(_at(4, 20, 40), "boots-3", "shoes")  # due 22:40 in Berlin: held until Thursday 08:00
    phone.ordered(_at(5, 7, 31), "boots-3", 11_900)  # half an hour after the push, which she opened
    phone.diary.write(
        f.PermissionRevoked, _at(6, 18, 0), installation=phone.installation, cause="os_settings"
    )
    phone.opened(_at(7, 10, 5))
    phone.carted(_at(7, 10, 10), "scarf-9", "accessories")  # due 12:10 in Berlin: withheld, permission
    return phone.diary


def _ben(end_ms: int) -> Diary:
    """Lisbon, which keeps UTC."""
    phone = _Phone(Diary(BEN, end_ms), "demo-ben-phone", "android")
    phone.first_seen(_at(3, 12, 0), "Europe/Lisbon", "PT")
    phone.opened(_at(3, 12, 0, 1))
    phone.asked_and_granted(_at(3, 12, 0, 10), "first_open")
    phone.opened(_at(4, 21, 45))
    phone.carted(_at(4, 21, 50), "bag-2", "accessories")  # due 22:50: held until Thursday 08:00
    phone.ordered(_at(5, 7, 20), "bag-2", 6_500)
    return phone.diary


def _carla(end_ms: int) -> Diary:
    """New York, five hours behind UTC."""
    phone = _Phone(Diary(CARLA, end_ms), "demo-carla-phone", "ios")
    phone.first_seen(_at(2, 22, 0), "America/New_York", "US")
    phone.opened(_at(2, 22, 0, 1))
    phone.carted(_at(2, 22, 4), "desk-1", "living")
    phone.asked_and_granted(_at(2, 22, 4, 10), "after_cart")
    phone.ordered(_at(2, 22, 20), "desk-1", 18_900)
    phone.diary.write(f.FrequencyChosen, _at(2, 22, 25), max_pushes=1, window="calendar_day")
    phone.opened(_at(5, 14, 55))
    phone.carted(_at(5, 15, 0), "chair-4", "living")  # due 11:00 in New York: sent
    phone.carted(_at(5, 19, 0), "chair-6", "living")  # due 15:00, the same day: withheld
    return phone.diary
