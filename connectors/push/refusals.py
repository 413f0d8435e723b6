"""Tells a credential that is refused from addresses that are, by what else the same credential did.

Pure. Knows addresses by a hash only.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Final

from connectors.push.faults import dead
from connectors.push.port import Outcome

SEEN_MAX: Final = 100
"""Distinct addresses whose latest answer is looked at."""
SHARE: Final = 0.98
"""Of them must be refused for the credential to be at fault: beside nine old subscriptions of ten, good ones
go on."""
SUSPECT_MIN: Final = 50
"""So many distinct addresses must be refused at least, where the fault may be theirs."""
NAMED_MIN: Final = 20
"""So many, where the provider names the credential, which has worked before."""
UNPROVEN_MIN: Final = 3
"""So many, where nothing was accepted yet either: each further refusal may get us blocked."""
TRIES_MAX: Final = 3
"""An address is dead by the third refusal, others having been accepted between each two of them."""
SUSPECTS_MAX: Final = 10_000


class Refusals:
    """What was refused and accepted lately by one credential at one provider."""

    def __init__(self) -> None:
        self.proven = False
        """The credential has had a push accepted."""
        self._refused: OrderedDict[int, bool] = OrderedDict()
        self._suspects: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """Address -> (refusals that count, how many pushes had been accepted before the last of them)."""
        self._accepted = 0
        self._nameless = 0

    def answered(self, address: str, *, accepted: bool) -> None:
        """The credential passed: the push was accepted, or refused for something else."""
        self._note(address, refused=False)
        if accepted:
            self.proven = True
            self._accepted += 1
            self._suspects.pop(hash(address), None)

    def refused(self, outcome: Outcome, address: str) -> bool:
        """Note a refusal of class `credential`; whether the credential is at fault by all that is known."""
        self._note(address, refused=True)
        count = sum(self._refused.values())
        named = NAMED_MIN if self.proven else UNPROVEN_MIN
        least = SUSPECT_MIN if outcome.of_address else named
        return count >= least and count >= SHARE * len(self._refused)

    def of_one(self, outcome: Outcome, address: str) -> Outcome:
        """A refusal while the credential is not at fault: the address is tried a few times, then dead."""
        if not (self.proven and outcome.of_address):
            return outcome
        if address:
            name = hash(address)
            times, before = self._suspects.get(name, (0, -1))
            if self._accepted > before:
                times += 1
            if times >= TRIES_MAX:
                self._suspects.pop(name, None)
                return dead(outcome)
            self._suspects[name] = times, self._accepted
            self._suspects.move_to_end(name)
            if len(self._suspects) > SUSPECTS_MAX:
                self._suspects.popitem(last=False)
        return dataclasses.replace(outcome, error_class="transient")

    def forget(self) -> None:
        """Begin to count anew: the credential works again."""
        self._refused.clear()

    def _note(self, address: str, *, refused: bool) -> None:
        if not address:
            self._nameless += 1
        name = hash(address) if address else -self._nameless
        self._refused[name] = refused
        self._refused.move_to_end(name)
        if len(self._refused) > SEEN_MAX:
            self._refused.popitem(last=False)
