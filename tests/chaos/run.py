"""One run: a system, load, a plan of faults, and the judgement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from tests.chaos.judge import SETTLED_S, Finding, judge
from tests.chaos.plan import plan
from tests.chaos.providers import Providers
from tests.chaos.strike import Striker
from tests.chaos.system import System

WARM_UP_S: Final = 8.0
"""The workers come up meanwhile, and the first pushes go out."""


def run(
    folder: Path,
    *,
    name: str,
    nodes: int,
    seed: int,
    counts: Mapping[str, int],
    last_s: float,
    rate: float,
    hits_min: int,
    progress: Callable[[str], None],
    bugs: str = "",
    settled_s: float = SETTLED_S,
    providers: Providers | None = None,
) -> Finding:
    """Run `counts` faults of each kind within about `last_s`, on so many Kafka nodes; judge it.

    `bugs`: what is planted in the workers, to see that it is caught. `providers`: they have faults of their
    own meanwhile; None: pushes go to a file.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients, while a node is away
    started = time.monotonic()

    def tell(words: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        progress(f"[{name} {minutes:02d}:{seconds:02d}] {words}")

    with System(
        folder, nodes=nodes, seed=seed, rate=rate, progress=tell, bugs=bugs, providers=providers
    ) as system:
        time.sleep(WARM_UP_S)
        faults = plan(seed, counts, last_s)
        tell(f"{len(faults)} faults follow")
        with providers.disturbed(seed) if providers is not None else nullcontext():
            struck = Striker(system, tell).strike(faults)
        return judge(system, struck, name, hits_min, tell, settled_s)
