"""Where the consent role's time goes: a flame graph, and the share of samples that each part of the work has.

`python -m processors.benchmarks.flame GRAPH.svg COSTS.json` folds the usual facts twice under a sampler
(py-spy), once for each form. Only figures that nobody samples go into docs/benchmarks.md.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from connectors.errors import Misconfigured, Transient
from processors import report
from processors.benchmarks import contest
from processors.benchmarks.arena import Arena, Running
from processors.benchmarks.sizes import FULL

SAMPLES_S: Final = 200
RECORD_S_MAX: Final = 600
ENDING_S: Final = 30
OTHER: Final = "other"
WAITING: Final = "selectors.py"

COSTS: Final = (
    ("decode a fact", ("connectors/codec.py",)),
    ("check and admit it", ("processors/agents/intake.py", "ledger/admission.py", "agents/bad_share.py")),
    ("encode changed rows", ("ledger/subject.py", "processors/lane/transaction.py")),
    ("fold it", ("/ledger/",)),
    ("place it (murmur2)", ("connectors/placement.py", "aiokafka/partitioner.py")),
    ("handlers of the agents", ("processors/agents/",)),
    ("write a transaction", ("processors/lane/writer.py", "aiokafka/producer/")),
    ("fetch records", ("aiokafka/consumer/", "processors/lane/transport.py")),
    ("the lane", ("processors/lane/",)),
    ("connections", ("aiokafka/",)),
    ("Faust", ("/faust/", "/mode/")),
    ("the event loop, and C code that it calls", ("/asyncio/",)),
)
"""Parts of the work by their files. A sample belongs to its innermost frame that is in one of them."""


def cost_of(stack: str) -> str:
    """Which part of the work a sampled stack (`outer (file:line);...;inner (file:line)`) was in."""
    for frame in reversed(stack.split(";")):
        for name, files in COSTS:
            if any(part in frame for part in files):
                return name
    return OTHER


def costs(folded: Iterable[str]) -> dict[str, float]:
    """The share of each part in samples in the folded format (`stack count`), the largest first.

    A thread that waits for a socket costs nothing, even if the sampler took it for a busy one.
    """
    counts: Counter[str] = Counter()
    for line in folded:
        stack, _, count = line.rstrip().rpartition(" ")
        if WAITING not in stack.rpartition(";")[2]:
            counts[cost_of(stack)] += int(count)
    total = counts.total()
    return {name: round(count / total, 3) for name, count in counts.most_common()}


def sampled(*options: str) -> Callable[[Running], AbstractContextManager[None]]:
    """Have py-spy look at a process while the context lasts; its file is there after it."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise Misconfigured("a flame graph needs py-spy, which `make setup-dev` installs")

    @contextmanager
    def sampling(running: Running) -> Iterator[None]:
        # The graph's title is this command, so it names no folder of this machine.
        command = ["py-spy", "record", "--pid", str(running.pid), *options]
        command += ["--rate", str(SAMPLES_S), "--duration", str(RECORD_S_MAX)]
        with subprocess.Popen(  # noqa: S603 - our own command, no shell
            command, executable=program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as sampler:
            try:
                yield
            finally:
                sampler.send_signal(signal.SIGINT)
                _, said = sampler.communicate(timeout=ENDING_S)
            if sampler.returncode:
                raise Transient(f"py-spy failed: {said.decode(errors='replace')[-500:]}")

    return sampling


def profile(arena: Arena, graph: Path) -> dict[str, float]:
    """Write the flame graph of the consent measurement, and give its costs."""
    stacks = arena.folder / "stacks.txt"
    contest.consent(arena, FULL, sampled("--format", "flamegraph", "--output", str(graph)))
    raw = sampled("--format", "raw", "--full-filenames", "--output", str(stacks))
    contest.consent(arena, FULL, raw)
    return costs(stacks.read_text().splitlines())


def main(argv: list[str]) -> None:
    """Profile, and write both files."""
    graph, told = map(Path, argv)
    with (
        report.progress() as progress,
        tempfile.TemporaryDirectory(prefix="optin-flame-") as folder,
        Arena(Path(folder), progress) as arena,
    ):
        found = profile(arena, graph)
    told.write_text(json.dumps(found, indent=1) + "\n")
    report.out.print(report.table("Costs", ("part of the work", "share"), list(found.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
