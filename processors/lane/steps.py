"""Takes a lane's steps one by one, so that one that raises is put aside and the others go on.

A step is the fold of one record, the firing of one timer, or the conclusion of one effect. What a failed one
wrote is undone, and whoever owns the meaning writes what stands in its place, in the same transaction: so it
is as durable, and as much done once, as the step would have been. Errors of I/O and fencing are no step's.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import Any, Final, Protocol

from processors.lane.hooks import Handler, Hooks
from processors.lane.probe import Probe
from processors.lane.table import UnreadableState
from processors.lane.transaction import Transaction

log = logging.getLogger(__name__)

ENDING: Final = (UnreadableState, MemoryError, OSError)
"""What is never one step's fault: the process ends."""


class Share(Protocol):
    """Counts good and failed steps."""

    good: int
    """Good ones since the last `note`."""

    def note(self, *, refused: bool) -> None:
        """Count a failed one. Raises what ends the process once there are too many."""


class Steps:
    """Takes the steps of one lane.

    `share` bounds how many may fail; errors of the types `ending` end the process, whatever step they come
    from.
    """

    def __init__(self, share: Share, ending: tuple[type[Exception], ...], lane: str, probe: Probe) -> None:
        self._share = share
        self._ending: tuple[type[BaseException], ...] = (*ENDING, *ending)
        self._lane = lane
        self._probe = probe

    def fold(self, handler: Handler, items: Sequence[Any], transaction: Transaction) -> None:
        """Fold what `handler.read` returned, one by one, or have `handler.fold_failed` see to it."""
        begin, fold, failed = transaction.begin_step, handler.fold, 0
        for item in items:
            begin()
            try:
                fold(item, transaction)
            except self._ending:
                raise
            except Exception as error:  # noqa: BLE001 - one person's fault ends nobody else's work
                failed += 1
                self._undo("fold", error, transaction)
                handler.fold_failed(item, place_of(error), transaction)
        self._share.good += len(items) - failed

    def fire(self, hooks: Hooks, key: bytes, transaction: Transaction) -> None:
        """Fire the timer of a row, or have `hooks.fire_failed` see to it."""
        row = transaction.get(key)
        if row is None or hooks.fire is None:
            return
        transaction.begin_step()
        try:
            hooks.fire(key, row, transaction)
        except self._ending:
            raise
        except Exception as error:
            self._undo("fire", error, transaction)
            if hooks.fire_failed is None:
                raise
            hooks.fire_failed(key, row, place_of(error), transaction)
        else:
            self._share.good += 1

    def conclude(self, hooks: Hooks, result: Any, transaction: Transaction) -> None:
        """Record what became of an effect, or have `hooks.conclude_failed` see to it."""
        assert hooks.conclude is not None
        transaction.begin_step()
        try:
            hooks.conclude(result, transaction)
        except self._ending:
            raise
        except Exception as error:
            self._undo("conclude", error, transaction)
            if hooks.conclude_failed is None:
                raise
            hooks.conclude_failed(result, place_of(error), transaction)
        else:
            self._share.good += 1

    def _undo(self, step: str, error: Exception, transaction: Transaction) -> None:
        transaction.undo_step()
        place = place_of(error)
        log.error("lane %s/%d: a %s failed: %s", self._lane, transaction.partition, step, place)
        self._share.note(refused=True)
        lane, probe = self._lane, self._probe
        transaction.once_durable(lambda: probe.failed(lane, step))


def place_of(error: BaseException) -> str:
    """What was raised and where, without its message: that may quote what a person said."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} in {last.name}, {'/'.join(last.filename.split('/')[-3:])}:{last.lineno}"
