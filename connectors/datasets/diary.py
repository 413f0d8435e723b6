"""Collects the facts of one simulated subject of the demo's shop, with derived ids and honest sources."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Final, TypeVar

from ledger import facts as f

APP: Final = "shop"
DEVICE: Final = "device:demo"
SERVER: Final = "server:demo"
PROVIDER: Final = "console"
"""Simulated addresses belong to the provider that only prints: none can reach a real push service."""

_Kind = TypeVar("_Kind", bound=f.SubjectFact)


@dataclasses.dataclass(frozen=True, slots=True)
class Diary:
    """What one subject did; `end_ms` bounds it: facts at or after it are not written down."""

    subject: str
    end_ms: int
    facts: list[f.SubjectFact] = dataclasses.field(default_factory=list)

    def write(self, kind: type[_Kind], at: int, source: str = DEVICE, **fields: Any) -> None:
        """Add one fact; the id is made of the subject and how many facts came before."""
        made_of = f"{APP}\0{self.subject}\0{len(self.facts)}"
        if at < self.end_ms:
            fact = kind(
                event_id=hashlib.sha256(made_of.encode()).hexdigest()[:32],
                app=APP,
                occurred_at=at,
                source=source,
                subject=self.subject,
                **fields,
            )
            self.facts.append(fact)

    def until_erased(self) -> list[f.SubjectFact]:
        """The facts by time; after an erasure an app has nothing more to say of the subject."""
        ends = [fact.occurred_at for fact in self.facts if isinstance(fact, f.SubjectErased)]
        last = min(ends, default=self.end_ms)
        kept = [fact for fact in self.facts if fact.occurred_at <= last]
        return sorted(kept, key=lambda fact: fact.occurred_at)
