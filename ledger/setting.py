"""What holds while one chunk is folded, and what one subject's turn in it gathers."""

from __future__ import annotations

import dataclasses

from ledger import facts as f
from ledger.definitions import Definitions, UnknownDefinition
from ledger.ids import derived
from ledger.journey import Journey
from ledger.rules import Rules, Texts
from ledger.subject import Instance, Subject
from ledger.time_zones import ZoneTable

Step = tuple[Subject, tuple[f.SubjectFact, ...]]
"""The next state and the facts that follow from it, in order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Definitions, zones, rules and texts, and how far the ledger was read."""

    definitions: Definitions
    zone_table: ZoneTable
    rules: Rules
    texts: Texts
    permissions_next: int
    tokens_next: int
    recalled: frozenset[str] = frozenset()
    """Versions of journeys that nothing goes on by; see `recall`."""

    def journey(self, name: str, version: str) -> Journey:
        """The body of a version. Raises `UnknownDefinition`."""
        body = self.definitions.journey(version)
        if body is None:
            raise UnknownDefinition(f"{name} {version}")
        return body


@dataclasses.dataclass(slots=True)
class Turn:
    """One fact or one due moment of subject `name` at `now` (ms), and the facts that follow."""

    name: str
    now: int
    setting: Setting
    facts: list[f.SubjectFact] = dataclasses.field(default_factory=list)

    def end(self, instance: Instance, outcome: str) -> None:
        """Say that an instance ended."""
        ended = f.JourneyEnded(
            event_id=derived("ended", instance.instance),
            app=instance.app,
            occurred_at=self.now,
            source="processor",
            subject=self.name,
            journey=instance.journey,
            journey_version=instance.journey_version,
            instance=instance.instance,
            outcome=outcome,
        )
        self.facts.append(ended)
