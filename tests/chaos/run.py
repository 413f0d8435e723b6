"""One run: a system, load, a plan of faults, and the judgement."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.judge import SETTLED_S, Finding, judge
from tests.chaos.plan import plan
from tests.chaos.strike import Striker
from tests.chaos.system import System
from tests.support.providers.apns_mock import ApnsMock

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
    apns: ApnsMock | None = None,
) -> Finding:
    """Run `counts` faults of each kind within about `last_s`, on so many Kafka nodes; judge it.

    `bugs`: what is planted in the workers, to see that it is caught. `apns`: the provider, which has faults
    of its own meanwhile; None: pushes go to a file.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients, while a node is away
    started = time.monotonic()

    def tell(words: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        progress(f"[{name} {minutes:02d}:{seconds:02d}] {words}")

    with System(folder, nodes=nodes, seed=seed, rate=rate, progress=tell, bugs=bugs, apns=apns) as system:
        time.sleep(WARM_UP_S)
        faults = plan(seed, counts, last_s)
        tell(f"{len(faults)} faults follow")
        with provider_faults(apns, seed):
            struck = Striker(system, tell).strike(faults)
        return judge(system, struck, name, hits_min, tell, settled_s)


@contextmanager
def provider_faults(apns: ApnsMock | None, seed: int) -> Iterator[None]:
    """Meanwhile the provider refuses some pushes for a time, resets connections, and closes others well."""
    if apns is None:
        yield
        return
    over, draw = threading.Event(), random.Random(seed)

    def disturb() -> None:
        while not over.wait(draw.uniform(1.0, 4.0)):
            match draw.randrange(4):
                case 0:
                    apns.tell("cut", "rst", draw.randrange(1, 20))
                case 1:
                    apns.tell("cut", "goaway", draw.randrange(1, 20))
                case _:
                    apns.tell("fail", draw.choice(["SERVICE_UNAVAILABLE", "SHUTDOWN"]), draw.randrange(1, 15))

    thread = threading.Thread(target=disturb, name="provider faults", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
