"""Where faults strike: each role's effects are counted, and a fault waits for its number."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.loop import Process
from tests.simulation.scenario import Fault

RESTART_S: Final = 1.0
"""After a death that no fault asked for (fenced, or drained too slowly)."""


class Strike:
    """The faults of one effect."""

    def __init__(self, faults: Sequence[Fault], carry_out: Callable[[Fault, Process], None]) -> None:
        self._faults = faults
        self._carry_out = carry_out
        self.slow_s = sum(fault.seconds for fault in faults if fault.kind == "slow")

    def hits(self, when: str) -> bool:
        """Whether something happens to the worker at this moment of the call."""
        return any(fault.when == when and fault.kind != "slow" for fault in self._faults)

    async def strike(self, process: Process) -> None:
        """Let it happen. A killed process does not get past this; a frozen one does when it is thawed."""
        for fault in self._faults:
            self._carry_out(fault, process)
        await asyncio.sleep(0)


class Strikes:
    """Counts a role's effects, all of them and by kind."""

    def __init__(self, faults: Sequence[Fault], carry_out: Callable[[Fault, Process], None]) -> None:
        self._waiting: dict[tuple[str, int], list[Fault]] = {}
        for fault in faults:
            self._waiting.setdefault((fault.call, fault.effect), []).append(fault)
        self._carry_out = carry_out
        self._none = Strike((), carry_out)
        self.effects: Counter[str] = Counter()
        self.struck: list[tuple[Fault, str]] = []
        """Faults that found their effect, with what the call was."""

    def next(self, call: str) -> Strike:
        """Count one effect of this kind."""
        effects, waiting = self.effects, self._waiting
        effects[""] += 1
        effects[call] += 1
        found = [*waiting.get(("", effects[""]), ()), *waiting.get((call, effects[call]), ())]
        if not found:
            return self._none
        self.struck += [(fault, call) for fault in found]
        return Strike(found, self._carry_out)
