"""A worker with planted bugs, to see that they are caught: `python planted_worker.py BUG+BUG ROLE`."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from typing import Any, Final

from connectors import codec
from connectors.push.console import ConsoleSender
from ledger import consent, consent_fold, gate
from ledger import facts as f
from ledger.words import Place
from processors.agents.subject_rows import SubjectHandler
from processors.lane.writer import TransactionalWriter
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

    def evolve(state: Any, fact: f.SubjectFact, at: int, place: Place) -> Any:
        return state if isinstance(fact, f.PermissionRevoked) else honest(state, fact, at, place)

    consent_fold.evolve = evolve  # type: ignore[attr-defined, assignment]


def ignore_caps() -> None:
    """Neither the policy's caps nor the subject's own count."""
    for name in ("frequency_policy", "frequency_choice"):
        gate.CHECKS[name] = lambda _: (True, "")


def double_pushes() -> None:
    """Every set of pushes is handed over twice."""
    honest = ConsoleSender.send

    async def send(self: Any, pushes: Any, **until: Any) -> Any:
        await honest(self, pushes, **until)
        return await honest(self, pushes, **until)

    ConsoleSender.send = send  # type: ignore[method-assign]


def fence_nobody() -> None:
    """Every process writes under transactional ids of its own, so nobody's transactions are ended."""
    honest = TransactionalWriter.__init__

    def init(self: Any, bootstrap: str, prefix: str, *rest: Any) -> None:
        honest(self, bootstrap, f"{prefix}-{uuid.uuid4()}", *rest)

    TransactionalWriter.__init__ = init  # type: ignore[assignment, method-assign]


BUGS: Final[dict[str, Callable[[], None]]] = {
    "dropped_fact": drop_facts,
    "doubled_decision": double_decisions,
    "ignored_revocation": ignore_revocations,
    "ignored_cap": ignore_caps,
    "doubled_push": double_pushes,
    "unfenced": fence_nobody,
}


def plant(bugs: str) -> None:
    """Plant bugs by name, `+` between them."""
    for bug in bugs.split("+"):
        BUGS[bug]()


if __name__ == "__main__":
    from processors.cli import main

    plant(sys.argv[1])
    sys.argv = ["optin", "worker", sys.argv[2]]
    main()
