"""What the road tells whoever measures it, once per chunk, transaction or rebalance and never per record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What the watchdog saw while the broker answered.

    `lag`: records between what is folded and the end, by (topic, partition). `idle_s`: since the last
    progress, 0 while there is nothing to do. `rows` and `timers`: by lane.
    """

    lag: Mapping[tuple[str, int], int]
    idle_s: float
    coordinator_known: bool
    rows: Mapping[str, int]
    timers: Mapping[str, int]


class Probe:
    """Hears everything and keeps nothing; a subclass measures. Called in the event loop; must not raise."""

    def beat(self) -> None:
        """The event loop turns."""

    def revoked(self) -> None:
        """Partitions are taken away: nothing is folded until `ready`."""

    def recovering(self) -> None:
        """Partitions were assigned; now their state is read back."""

    def settled(self, lane: str, fate: str) -> None:
        """A partition had a transaction hanging, without markers; it was `committed` or `aborted` there."""

    def unsettled(self, lane: str) -> None:
        """A transaction hangs and nothing shows its fate: the process ends, having written nothing."""

    def recovered(self, lane: str, records: int, claim_s: float, read_s: float) -> None:
        """A lane claimed what came and read back so many changelog records."""

    def ready(self) -> None:
        """The assignment is recovered and folding goes on."""

    def folded(self, lane: str, chunks: Sequence[int], seconds: float) -> None:
        """Chunks of so many records each were decoded and folded for one transaction."""

    def failed(self, lane: str, step: str) -> None:
        """A step was put aside: a `fold`, a `fire` or a `conclude` raised."""

    def committed(self, lane: str, records: int, seconds: float) -> None:
        """A transaction is durable; it folded so many records (and, by the event clock, dues)."""

    def looked(self, look: Look) -> None:
        """The watchdog looked."""

    def broker_silent(self) -> None:
        """The watchdog asked the broker and got no answer in time."""


UNMEASURED = Probe()
