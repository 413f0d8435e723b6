"""Builders for tests of the core: facts, definitions and snapshots with sensible values for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, Final, TypeVar

import msgspec

from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from connectors.time_zones import zone_table
from ledger import definitions as d
from ledger import facts as f
from ledger import journey as j
from ledger import policy as p
from ledger.setting import Setting
from ledger.snapshot import ConsentView, InstallationView, Snapshot

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
NOON: Final = 1_772_452_800_000
"""Monday 2 March 2026, 12:00 UTC."""

ANN: Final = "ann"
PHONE: Final = "phone"
ZONES: Final = zone_table()

T = TypeVar("T", bound=f.SubjectFact)
_numbers = count()


def fact(kind: type[T], at: int = NOON, **fields: Any) -> T:
    """A fact of `kind` about `ann` and her `phone`, at `at`, by the device unless told otherwise."""
    known = {"event_id": f"e{next(_numbers)}", "app": "shop", "source": "device", "subject": ANN}
    if "installation" in kind.__struct_fields__:
        known["installation"] = PHONE
    return kind(**{**known, "occurred_at": at, **fields})


def decision(**changes: Any) -> f.PushDecided:
    """A `send` of the cart's reminder to ann's phone."""
    known: dict[str, Any] = {
        "decision_id": "decision-1",
        "revision": 0,
        "candidate_at": NOON,
        "journey": "cart",
        "journey_version": "j",
        "policy_version": "p",
        "instance": "instance-1",
        "step": "reminder",
        "category": "marketing",
        "topic": "carts",
        "verdict": "send",
        "checks": (),
        "snapshot": b"",
        "permissions_next": 0,
        "tokens_next": 0,
    }
    return fact(f.PushDecided, **{**known, **changes})


def policy(**changes: Any) -> p.Policy:
    """Two pushes a day, silence from 22 to 8, marketing to those who said yes."""
    known: dict[str, Any] = {
        "name": "test",
        "marketing_permissions": ("authorized", "provisional"),
        "transactional_permissions": ("authorized", "provisional", "ephemeral", "pre_granted"),
        "caps": (p.Cap(max_pushes=2, window="rolling_day"),),
        "quiet_hours": p.QuietHours(start_minute=22 * 60, end_minute=8 * 60),
        "topics_on": ("carts",),
        "send_within_ms": 15 * MINUTE,
        "lateness_max_ms": DAY,
        "transactional_messages": ("receipt",),
    }
    return p.Policy(**{**known, **changes})


class OnePolicy:
    """The same policy whatever version a decision cites."""

    def __init__(self, rules: p.Policy | None = None) -> None:
        self._rules = rules or policy()

    async def look_for(self, versions: Iterable[str]) -> None:
        """Nothing is missing."""

    def policy(self, version: str) -> p.Policy | None:  # noqa: ARG002 - any
        return self._rules


def message(**changes: Any) -> j.Message:
    """A reminder of a cart."""
    known: dict[str, Any] = {
        "name": "reminder",
        "category": "marketing",
        "topic": "carts",
        "title": "T",
        "body": "B",
    }
    return j.Message(**{**known, **changes})


RECEIPT: Final = message(name="receipt", category="transactional", topic="service")


def journey(wait_ms: int = HOUR, said: j.Message | None = None, **changes: Any) -> j.Journey:
    """Cart abandonment: one push after the wait, without a holdout."""
    known: dict[str, Any] = {
        "name": "cart",
        "triggers": (j.Match(fact="CartUpdated", items="item", where={"change": "added"}),),
        "exits": (
            j.Exit(fact="OrderPlaced", items="items", outcome="converted"),
            j.Exit(fact="CartUpdated", items="item", where={"change": "removed"}, outcome="emptied"),
        ),
        "steps": (j.Wait(step="wait", for_ms=wait_ms), j.Push(step="reminder", message=said or message())),
        "opt_out_ends": False,
        "holdout": j.Holdout(salt="s", percent=0),
        "attribution_ms": DAY,
    }
    return j.Journey(**{**known, **changes})


def setting(rules: p.Policy | None = None, *journeys: j.Journey, **changes: Any) -> Setting:
    """Definitions in force; offsets 0 unless told otherwise."""
    definitions = d.in_force(rules or policy(), journeys or (journey(),), {})
    return Setting(
        **{
            "definitions": definitions,
            "zone_table": ZONES,
            "rules": CelRules(),
            "texts": LiquidTexts(),
            "permissions_next": 0,
            "tokens_next": 0,
            **changes,
        }
    )


def installation(**changes: Any) -> InstallationView:
    """A phone in Berlin that may be pushed to."""
    known: dict[str, Any] = {
        "key": "shop/phone",
        "permission": "authorized",
        "token_live": True,
        "time_zone": "Europe/Berlin",
        "country": None,
    }
    return InstallationView(**{**known, **changes})


def consent_view(*installations: InstallationView, **changes: Any) -> ConsentView:
    """Consent of somebody who chose nothing."""
    known: dict[str, Any] = {
        "erased": False,
        "installations": installations or (installation(),),
        "topic_on": None,
        "pause_until": None,
        "suppressions": (),
        "frequency": None,
        "quiet": None,
    }
    return ConsentView(**{**known, **changes})


def snapshot(consent: ConsentView | None = None, **changes: Any) -> Snapshot:
    """A marketing candidate that every check lets pass at noon."""
    view = consent or consent_view()
    known: dict[str, Any] = {
        "consent": view,
        "category": "marketing",
        "topic": "carts",
        "last_active": (-1,) * len(view.installations),
        "contacts": (),
        "holdout": False,
        "goal_met": False,
    }
    return Snapshot(**{**known, **changes})


def changed(value: Any, /, **changes: Any) -> Any:
    """A copy of a frozen struct with other fields."""
    return msgspec.structs.replace(value, **changes)
