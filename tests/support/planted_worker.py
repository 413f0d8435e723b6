"""A worker with a planted bug, to see that the oracle catches it: `python planted_worker.py BUG ROLE`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from connectors import codec
from ledger import consent, consent_fold
from ledger import facts as f
from processors.agents.subject_rows import SubjectHandler
from processors.topic_names import DECISIONS

EVERY: Final = 40


def drop_facts() -> None:
    """Every fortieth record is folded into nothing."""
    honest, count = SubjectHandler.fold, 0

    def fold(self: Any, item: Any, transaction: Any) -> None:
        nonlocal count
        count += 1
        if count % EVERY:
            honest(self, item, transaction)

    SubjectHandler.fold = fold  # type: ignore[method-assign]


def double_decisions() -> None:
    """Every decision is written twice."""
    honest = SubjectHandler._store

    def store(self: Any, key: bytes, row: Any, after: Any, facts: Any, transaction: Any) -> None:
        honest(self, key, row, after, facts, transaction)
        if facts and isinstance(facts[-1], f.PushDecided):
            transaction.emit(DECISIONS, key, codec.encode(facts[-1]))

    SubjectHandler._store = store  # type: ignore[method-assign]


def ignore_revocations() -> None:
    """A revocation changes nothing."""
    honest = consent.evolve

    def evolve(state: Any, fact: f.SubjectFact, at: int) -> Any:
        return state if isinstance(fact, f.PermissionRevoked) else honest(state, fact, at)

    consent_fold.evolve = evolve  # type: ignore[attr-defined, assignment]


BUGS: Final[dict[str, Callable[[], None]]] = {
    "dropped_fact": drop_facts,
    "doubled_decision": double_decisions,
    "ignored_revocation": ignore_revocations,
}

if __name__ == "__main__":
    from processors.cli import main

    BUGS[sys.argv[1]]()
    sys.argv = ["optin", "worker", sys.argv[2]]
    main()
