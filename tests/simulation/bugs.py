"""Planted bugs: each changes one thing that a promise rests on, and says by which objection it is caught.

`python -m tests.simulation.bugs` tells the first seed that catches each; a scenario that changed needs it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final
from unittest import mock

from ledger import candidates
from ledger import facts as f
from processors import wiring
from processors.agents import intake
from processors.agents.delivery_facts import Ready
from processors.agents.hand_over import HandOver
from processors.agents.identity_linker import IdentityLinker
from processors.agents.push_sender import PushSenderHandler
from processors.agents.reach_rows import Attempt
from processors.agents.subject_rows import SubjectHandler
from processors.lane import markers
from processors.lane.lane import Lane
from processors.lane.table import LaneTable
from processors.lane.transaction import Transaction
from tests.simulation.broker import Broker, Fenced
from tests.simulation.ports import Ends, Reappender, Writer
from tests.simulation.run import run
from tests.simulation.scenario import scenario

Planted = Callable[[], AbstractContextManager[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Bug:
    """How to plant it, words of the objection to it, and the first seed (from 0 on) whose run gives that."""

    plant: Planted
    caught_by: str
    seed: int


def _instead(where: Any, name: str, make: Callable[[Any], Any]) -> Planted:
    """Put what `make` makes of the honest thing in its place."""

    @contextmanager
    def plant() -> Iterator[None]:
        with mock.patch.object(where, name, make(getattr(where, name))):
            yield

    return plant


def _without_rows(honest: Any) -> Any:
    def writes(self: Transaction) -> Any:
        found = honest(self)
        return {
            topic: items[-1:] if topic == self.table.changelog else items for topic, items in found.items()
        }

    return writes


def _effects_first(honest: Any) -> Any:
    """Hand pushes over before their attempts are committed."""

    async def commit(self: Lane, transaction: Transaction) -> None:
        if transaction.effects and self.hooks.after is not None and self.hooks.conclude is not None:
            results = await self.hooks.after(transaction.partition, transaction.effects)
            transaction.effects = []
            for result in results:
                self.hooks.conclude(result, transaction)
        await honest(self, transaction)

    return commit


def _fence_ignored(honest: Any) -> Any:
    """Go on as if the commit had succeeded."""

    async def transact(self: Writer, partition: int, writes: Any) -> None:
        with suppress(Fenced):
            await honest(self, partition, writes)

    return transact


def _forgotten_attempt(honest: Any) -> Any:
    def put(self: Transaction, key: bytes, row: Any) -> None:
        if not isinstance(row, Attempt):
            honest(self, key, row)

    return put


async def _true(*_: Any) -> bool:
    return True


async def _none(*_: Any) -> None:
    pass


async def _nothing(*_: Any) -> dict[Any, bool]:
    return {}


def _stable(honest: Any) -> Any:  # noqa: ARG001 - every change is given the honest thing
    """Ask for the last stable offset, where the high watermark is needed."""

    async def ends(self: Ends, places: Any) -> Any:
        broker, asked = self._wire.world.broker, list(places)
        self._wire.world.asked(self._wire.process, asked)
        return await self._wire.call("watermarks", lambda: {p: broker.stable_offset(p) for p in asked})

    return ends


def _lease_renewed(honest: Any) -> Any:
    """Start the lease when pushes are handed over."""

    async def after(self: HandOver, partition: int, effects: Any) -> Any:
        now_s = asyncio.get_running_loop().time()
        renewed = [
            dataclasses.replace(one, begun_s=now_s) if isinstance(one, Ready) else one for one in effects
        ]
        return await honest(self, partition, renewed)

    return after


def _called_unknown_on_its_way(honest: Any) -> Any:
    """An attempt's own row ends it while its answer is still to come."""

    def fire(self: PushSenderHandler, key: bytes, row: Any, transaction: Transaction) -> None:
        self._on_their_way.clear()
        honest(self, key, row, transaction)

    return fire


def _doubled(honest: Any) -> Any:
    def store(self: Any, key: bytes, row: Any, after: Any, facts: Any, transaction: Any) -> None:
        honest(self, key, row, after, facts, transaction)
        if facts and isinstance(facts[-1], f.PushDecided):
            honest(self, key, after, after, facts[-1:], transaction)

    return store


def _unnamed_first_append(honest: Any) -> Any:
    async def append(
        self: Reappender, topic: str, partition: int, key: bytes, value: bytes, first_ms: int
    ) -> None:
        del first_ms
        await honest(self, topic, partition, key, value, self._wire.world.broker.now_ms())

    return append


def _links_first(honest: Any) -> Any:
    """Tell of a new owner before the old one is unlinked."""

    async def announce(self: IdentityLinker, partition: int, announcements: Any) -> None:
        for fact in announcements:
            if isinstance(fact, f.InstallationLinked):
                await honest(self, partition, [fact])
        await honest(self, partition, [a for a in announcements if not isinstance(a, f.InstallationLinked)])

    return announce


def _remembers_one(honest: Any) -> Any:  # noqa: ARG001 - every change is given the honest thing
    """Forget all sends but the last."""
    return lambda _, contact, __: ((contact,), 0)


BUGS: Final[dict[str, Bug]] = {
    "position advanced without state": Bug(
        _instead(Transaction, "writes", _without_rows), "is not the fold of its facts", 0
    ),
    "handed over before the commit": Bug(
        _instead(Lane, "_commit", _effects_first), "handed over before its attempt was committed", 0
    ),
    "a fenced commit is passed over": Bug(
        _instead(Writer, "transact", _fence_ignored), "is not the fold of its facts", 51
    ),
    "no fence on claim": Bug(_instead(Broker, "fencing", lambda _: False), "dead letters", 13),
    "answers trusted, not markers": Bug(
        _instead(markers, "marked", lambda _: _none), "handed over before its attempt was committed", 0
    ),
    "a hanging transaction is not settled": Bug(
        _instead(markers, "settle", lambda _: _nothing), "dead letters", 0
    ),
    "hanging transactions are aborted": Bug(
        _instead(markers, "_complete", lambda _: lambda *_: False), "times", 8
    ),
    "barrier skipped": Bug(
        _instead(wiring, "_folded", lambda _: _true), "without a barrier within the lease", 0
    ),
    "barrier at the stable offset": Bug(_instead(Ends, "ends", _stable), "handed over after a revocation", 9),
    "attempt row not written": Bug(
        _instead(Transaction, "put", _forgotten_attempt), "has the outcomes []", 7
    ),
    "timers not rebuilt": Bug(
        _instead(LaneTable, "rebuild_timers", lambda _: lambda *_: None), "does not come to rest", 16
    ),
    "re-append dropped": Bug(_instead(SubjectHandler, "before", lambda _: _true), "not appended again", 0),
    "re-append without its first time": Bug(
        _instead(Reappender, "append", _unnamed_first_append), "not appended again", 0
    ),
    "output doubled": Bug(_instead(SubjectHandler, "_store", _doubled), "is there 2 times", 0),
    "dead letter forgotten": Bug(
        _instead(intake, "dead_letter", lambda _: lambda *_: None), "has 0 dead letters", 0
    ),
    "lease renewed at the hand-over": Bug(
        _instead(HandOver, "after", _lease_renewed), "without a barrier within the lease", 150
    ),
    "called unknown on its way": Bug(
        _instead(PushSenderHandler, "fire", _called_unknown_on_its_way), "has the outcomes", 7
    ),
    "linked before it is unlinked": Bug(
        _instead(IdentityLinker, "announce", _links_first), "before it unlinked the former one", 9
    ),
    "contacts forgotten": Bug(_instead(candidates, "with_contact", _remembers_one), "pushes within", 18),
}

SEARCHED_MAX: Final = 2_000


def catches(bug: Bug, seed: int) -> bool:
    """Whether the seed's run objects to the planted bug, in its words."""
    with bug.plant():
        return any(bug.caught_by in objection for objection in run(scenario(seed)).objections)


if __name__ == "__main__":
    for title, planted in BUGS.items():
        found = next((seed for seed in range(SEARCHED_MAX) if catches(planted, seed)), None)
        print(f"{title}: seed {found}", flush=True)
