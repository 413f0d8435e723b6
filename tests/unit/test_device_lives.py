"""No push after an acknowledged no, in lives of devices with wrong clocks, restarts and queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

from ledger import facts as f
from ledger.consent import EMPTY
from ledger.consent_fold import take_in
from ledger.former_rule import follow_formerly, formerly_effective
from processors.agents.intake import Accepted
from processors.agents.tally import tell_passed_over
from tests.support.device_lives import live, silenced
from tests.support.given import NOON, fact

LIVES = 1_500


def test_nobody_is_pushed_to_after_an_acknowledged_no() -> None:
    """Whatever clock, counter or queue said it; and few whose latest word is a yes are silent."""
    lives = [live(seed) for seed in range(LIVES)]

    assert [life.violations[0] for life in lives if life.violations] == []
    found = sum((silenced(life) for life in lives), Counter[str]())
    assert found["yes"] > LIVES / 3
    assert found["silenced"] < found["yes"] / 4


def test_the_former_rule_is_caught() -> None:
    """The simulator meets what it is for: the rule of before lets pushes out after a no."""
    lives = [live(seed, (follow_formerly, formerly_effective)) for seed in range(300)]

    assert sum(bool(life.violations) for life in lives) > 10


def test_a_word_without_effect_is_counted() -> None:
    """A backend's old yes after the phone's no: it stands in a metric, by its clock."""
    meters = Heard()
    began = Began()
    no = fact(f.PermissionDenied, NOON)
    yes = fact(f.PermissionGranted, NOON + 1, level="authorized", source="server")
    consent = EMPTY
    for offset, one in enumerate((no, yes)):
        consent = take_in(consent, one, NOON + offset, offset)
        item = Accepted(one, SimpleNamespace(offset=offset), NOON + offset)
        tell_passed_over(item, consent, began, meters)  # type: ignore[arg-type]

    assert meters.counted == ["server"]


class Began:
    """A transaction that is durable at once."""

    def once_durable(self, tell: Callable[[], None]) -> None:
        """Tell."""
        tell()


class Heard:
    """Meters that remember."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def add(self, _: object, *, clock: str) -> None:
        """Remember a word's clock."""
        self.counted.append(clock)
