"""One subject's facts through the core by the event clock, as a lane folds them, without a lane.

For tests of definitions, dry runs and backtests: the same functions in the same order, and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ledger import facts as f
from ledger.fold import fold
from ledger.journeys import fire
from ledger.setting import Setting
from ledger.subject import NEW, Subject, wake_at


@dataclasses.dataclass(slots=True)
class Life:
    """The state of subject `name`, and all that followed so far."""

    name: str
    setting: Setting
    subject: Subject = NEW
    said: list[f.SubjectFact] = dataclasses.field(default_factory=list)
    now: int = 0
    """The time of what was folded or fired last (ms). It never goes back: what a late fact makes due in the
    past is due when the fact arrived."""

    def fold(self, fact: f.SubjectFact, appended_ms: int, now: int) -> None:
        """Let pass what is due before `now` (ms), then fold a fact."""
        self.pass_until(now)
        self.now = max(self.now, now)
        self.subject, facts = fold(self.subject, self.name, fact, appended_ms, now, self.setting)
        self.said += facts

    def fold_all(self, facts: Iterable[tuple[f.SubjectFact, int]]) -> None:
        """Fold facts with the time at which each arrived (ms), in the order of arrival."""
        for fact, arrived in facts:
            self.fold(fact, arrived, arrived)

    def pass_until(self, instant: float) -> None:
        """Let everything fire that is due before `instant` (ms); infinity empties the timers."""
        while (due := wake_at(self.subject)) is not None and due < instant:
            self.now = max(self.now, due)
            self.subject, facts = fire(self.subject, self.name, self.now, self.setting)
            self.said += facts
