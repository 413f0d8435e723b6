"""News of an item goes out as fast as it is folded, and no faster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from connectors.kafka.append import Addressed
from processors.agents import item_watcher
from processors.agents.item_watcher import UNFOLDED_MAX, ItemWatcher


class Appended:
    """Takes records, and what waits to be folded at each look."""

    def __init__(self, waiting: list[int]) -> None:
        self.waiting = waiting
        self.calls = 0
        self.looks = 0

    async def append_all(self, records: Sequence[Addressed]) -> None:
        """Take records."""
        del records
        self.calls += 1

    async def behind(self) -> int:
        """What waits; the last figure stays."""
        assert self.calls == 0, "it is looked at before anything is appended"
        self.looks += 1
        return self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]


def announce(appended: Appended) -> None:
    """One part of nobody's news."""
    table: Any = None
    watcher = ItemWatcher(table, 4, appended.append_all, appended.behind)
    asyncio.run(watcher.announce(0, []))


def test_a_part_waits_until_the_ones_before_it_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again and again."""
    monkeypatch.setattr(item_watcher, "UNFOLDED_POLL_S", 0)
    appended = Appended([UNFOLDED_MAX + 1, UNFOLDED_MAX + 1, UNFOLDED_MAX])

    announce(appended)

    assert (appended.looks, appended.calls) == (3, 1)


def test_a_part_goes_out_in_the_end_though_nothing_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance must not wait for a role that stands still."""
    monkeypatch.setattr(item_watcher, "PATIENCE_S", 0)
    appended = Appended([UNFOLDED_MAX * 9])

    announce(appended)

    assert (appended.looks, appended.calls) == (1, 1)
