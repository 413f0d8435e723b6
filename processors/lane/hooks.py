"""What a lane asks of those who use it: the meaning of its topics, and what to do around a fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, Protocol

from processors.lane.transaction import Transaction


class Handler(Protocol):
    """The meaning of one topic's records."""

    def read(self, record: Any) -> tuple[int, Any]:
        """Decode one record to (its own time in ms, item). Must not raise for bad input."""

    def fold(self, record: Any, transaction: Transaction) -> None:
        """Fold what `read` returned."""

    def fold_failed(self, item: Any, place: str, transaction: Transaction, /) -> None:
        """Put an item aside whose fold raised at `place`; what it wrote is undone. Must not raise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hooks:
    """What a lane does besides folding. All optional.

    `owned(partition)`: awaited, by the wall clock, before anything else after a takeover.
    `fire(key, row, transaction)`: a row's due time has come. `fire_failed(key, row, place, transaction)`:
    it raised at `place`, and what it wrote is undone; must not raise, and must leave the row without that due
    time. `conclude_failed(result, place, transaction)`: the same of `conclude`. Without them the lane ends.
    `before(partition, items)`: awaited before items are folded (a barrier); False: try again.
    `announce(partition, announcements)`: awaited after the fold and before the commit (appends elsewhere that
    must be acknowledged before the state moves). A crash in between repeats them; an error ends the process.
    `after(partition, effects)`: awaited after the commit; its results go to `conclude`, in a transaction
    of their own, until no effects are left. By the wall clock the lane goes on meanwhile: effects of
    different `kind` are awaited apart, and while too many of one are, no others are begun.
    """

    owned: Callable[[int], Awaitable[None]] | None = None
    fire: Callable[[bytes, Any, Transaction], None] | None = None
    fire_failed: Callable[[bytes, Any, str, Transaction], None] | None = None
    before: Callable[[int, Sequence[Any]], Awaitable[bool]] | None = None
    announce: Callable[[int, list[Any]], Awaitable[None]] | None = None
    after: Callable[[int, list[Any]], Coroutine[Any, Any, list[Any]]] | None = None
    conclude: Callable[[Any, Transaction], None] | None = None
    conclude_failed: Callable[[Any, str, Transaction], None] | None = None
    kind: Callable[[Any], Hashable] = lambda _: None


Prepare = Callable[[Sequence[Any]], Awaitable[bool]]
"""Awaited with a chunk's records before they are read, to get what reading them takes. False: call again."""
