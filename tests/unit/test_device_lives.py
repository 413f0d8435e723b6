"""No push after an acknowledged no, in lives of devices with wrong clocks, restarts and queues."""

from __future__ import annotations

from collections import Counter

from ledger.former_rule import follow_formerly, formerly_effective
from tests.support.device_lives import live, silenced

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
