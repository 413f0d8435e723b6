"""What a push costs: `python -m tests.providers.cost` (make bench-push).

Each client sends the same pushes to a stand-in that accepts everything, in a process and on a core of its
own; stand-ins, Kafka and this program have the other cores. CPU time is user and system time of all threads
of the client's process, from after its first push until its last answer. Clients take turns, round by round,
and the round with the least CPU time counts. 500 pushes are on their way at a time.

The delivery role is measured as a whole: a worker with all bookkeeping, from decisions that are on Kafka
before it starts to the last committed outcome; start-up and recovery do not count. Its provider's pace
decides how many are on their way (32 at first); the rate of its credentials is as high as may be, so that
rate limits nothing.

Read `busy` beside pushes a second: near 100 %, the client's core is what bounds them; below, it waited for
the stand-in, for Kafka or for its pace. `/ stock` is CPU time over that of stock aioapns in the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from connectors.errors import OptinError
from processors import report
from processors.benchmarks.arena import Arena
from tests.providers.cost import page, rounds, shares
from tests.providers.cost.figures import Figures
from tests.providers.cost.role import Delivery
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.part import Unavailable

PUSHES, QUICK_PUSHES = 20_000, 200
ROUNDS, QUICK_ROUNDS = 3, 1
WARM_UP = 5_000
ROLE = {
    "our delivery role, APNs": "apns",
    "our delivery role, FCM": "fcm",
    "our delivery role, Web Push": "web_push",
}
PROVIDERS = tuple(ROLE.values())
ENCRYPTION = "encryption in our sender, Web Push"


class Run:
    """The lines of the table by some providers, and what was profiled."""

    def __init__(self, arena: Arena, apns: ApnsMock, pushes: int, providers: Collection[str]) -> None:
        self.rows: dict[str, list[Figures]] = {}
        self.absent: dict[str, str] = {}
        self.costs: dict[str, list[tuple[str, float]]] = {}
        self._arena = arena
        self._apns = apns
        self._pushes = pushes
        self._clients = [client for client in rounds.CLIENTS if client.provider in providers]
        self._roles = {title: provider for title, provider in ROLE.items() if provider in providers}
        self._delivery: Delivery | None = None

    @property
    def delivery(self) -> Delivery:
        """The role's people and topics, made when they are first needed."""
        if self._delivery is None:
            self._delivery = Delivery(self._arena, self._apns, self._pushes)
        return self._delivery

    def warm_up(self) -> None:
        """Let Java compile what the mock of APNs does often, or the first client would pay for it."""
        rounds.run(self._arena, self._apns, rounds.CLIENTS[0], min(WARM_UP, self._pushes))

    def round(self) -> None:
        """Each line once."""
        for client in self._clients:
            if client.title in self.absent:
                continue
            try:
                found = rounds.run(self._arena, self._apns, client, self._pushes)
            except Unavailable as error:
                self.absent[client.title] = " ".join(str(error).split())
            else:
                self.rows.setdefault(client.title, []).append(found)
        for title, provider in self._roles.items():
            self.rows.setdefault(title, []).append(self.delivery.run(provider))

    def profile(self) -> None:
        """Each line of ours once more under a sampler; these runs are in no table."""
        file = self._arena.folder / "stacks.txt"
        sampler = shares.Sampler(file)
        for client in self._clients:
            if not client.name.startswith("ours"):
                continue
            rounds.run(self._arena, self._apns, client, self._pushes, sampler.look)
            self.costs[f"{client.title}, functions"] = shares.by_function(sampler.stacks)
            if client.provider == "web_push":
                parts = shares.by_part(sampler.stacks, shares.ENCRYPTION)
                self.costs[ENCRYPTION] = [part for part in parts if part[0] != shares.OTHER]
        for title, provider in self._roles.items():
            found = self.delivery.run(provider, sampler.look)
            # The sampler slows a worker down: on a busy machine leases end, and pushes are tried again.
            self.costs[f"{title}, parts ({found.note})"] = shares.by_part(sampler.stacks, shares.ROLE)
            self.costs[f"{title}, functions"] = shares.by_function(sampler.stacks)


def asked_for(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.providers.cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Ends with status 1 if a run lost a push, not if a goal is missed. A full run takes about"
        " ten minutes. Go's client is built once if `go` is on the path, else its line says why not.",
    )
    parser.add_argument("--pushes", type=int, help=f"of each run; {PUSHES:,} without")
    parser.add_argument("--rounds", type=int, help=f"of each line; {ROUNDS} without")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works")
    parser.add_argument("--only", action="append", choices=PROVIDERS, help="lines by this provider")
    parser.add_argument("--no-profile", action="store_true", help="do not look where the time of ours goes")
    asked = parser.parse_args(argv)
    asked.pushes = asked.pushes or (QUICK_PUSHES if asked.quick else PUSHES)
    asked.only = asked.only or PROVIDERS
    asked.rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
    return asked


def main(argv: Sequence[str]) -> int:
    """Measure, and print what was found; the exit status."""
    asked = asked_for(argv)
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        progress = stack.enter_context(report.progress())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="optin-bench-push-")))
        arena = stack.enter_context(Arena(folder, progress))
        apns = stack.enter_context(ApnsMock(folder / "apns", accept_all=True))
        run = Run(arena, apns, asked.pushes, asked.only)
        if not asked.quick:
            run.warm_up()
        for _ in range(asked.rounds):
            run.round()
        if not (asked.quick or asked.no_profile):
            run.profile()
    print(page.circumstances(load), end="\n\n")
    print(*page.table(run.rows, run.absent), sep="\n", end="\n\n")
    if asked.quick:
        print("So few pushes measure nothing: this shows that it works.", end="\n\n")
    else:
        print("Goals", *page.goals(run.rows), sep="\n- ", end="\n\n")
    if run.costs:
        print("Largest costs", *page.largest(run.costs), sep="\n- ", end="\n\n")
    if lost := page.lost(run.rows):
        print("Lost", *(f"{title}: {count} pushes" for title, count in lost.items()), sep="\n- ")
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OptinError, Unavailable) as error:
        sys.exit(f"nothing was measured: {error}")
