"""What the core asks of rules and texts, which are compiled outside and passed in, and what they may look at.

A rule that can't be evaluated (it reads an attribute that nobody set) does not hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Protocol

from ledger.journey import Message
from ledger.profile import Profile, view

Values = Mapping[str, Any]
"""`profile` (see `profile.view`), `attributes`, `items`, `trigger` (what was kept of it), `now` (ms), `zones`
(where the person may be, for texts), and `fact`, where there is one at hand."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A rendered message; `missing` names what it speaks of and nobody said, or is empty."""

    title: str
    body: str
    missing: str = ""
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Rules(Protocol):
    """Rules by their source."""

    def holds(self, source: str, values: Values) -> bool:
        """Whether the rule holds for these values. Total: never raises for a rule that was checked."""


class Texts(Protocol):
    """Messages made of templates."""

    def render(self, message: Message, values: Values) -> Text:
        """The message's text for these values. Total."""


def values(
    profile: Profile,
    now: int,
    *,
    items: tuple[str, ...] = (),
    trigger: Mapping[str, Any] | None = None,
    fact: Any = None,
    zones: tuple[tzinfo, ...] = (),
) -> Values:
    """What a rule or a text may look at, of one subject at `now` (ms) in `zones`, which rules do not see."""
    return {
        "profile": view(profile, now),
        "attributes": {name: attribute.value for name, attribute in profile.attributes.items()},
        "items": list(items),
        "trigger": nested(trigger or {}),
        "fact": fact,
        "now": now,
        "zones": zones,
    }


def nested(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were kept by their path (`properties.order`), as maps in maps."""
    found: dict[str, Any] = {}
    for path, value in kept.items():
        name, _, entry = path.partition(".")
        if entry:
            found.setdefault(name, {})[entry] = value
        else:
            found[name] = value
    return found
