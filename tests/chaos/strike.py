"""Does the planned faults to a running system, one after the other, and tells what came of each."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from aiokafka.errors import KafkaError

from tests.chaos.journals import last_notes, uncommitted
from tests.chaos.plan import Fault
from tests.chaos.system import System, gone, stopped

REACHED_S: Final = 45.0
"""How long a worker may take to come to the point at which it is to stop (it may be recovering)."""
UP_S: Final = 60.0
"""How long the chosen victim may take to be there at all (it may have been killed a moment ago)."""
SYNC_S: Final = 180.0
"""How long a cluster may take to have all copies again before the next node is taken."""
LOOK_S: Final = 0.02
LANES: Final = ("journeys", "delivery")
"""Roles that write in transactions."""
ROLES: Final = (*LANES, "metrics")
ONLY: Final = {
    "push_sender": "delivery",
    "hand_over": "delivery",
    "beside": "delivery",
    "lane.conclude.commit": "delivery",
    "lane.fire_by_wall": "journeys",
}
"""Points that only one role comes by often."""
T = TypeVar("T")


@dataclass(slots=True)
class Struck:
    """What was done: begin and end in ms, whom it hit, and processes that were killed (name, pid).

    `held_s` is how long the victim was away, by our clock.
    """

    fault: Fault
    begin: int
    end: int
    victim: str
    killed: tuple[tuple[str, int], ...] = ()
    held_s: float = 0.0
    back: int = 0
    """When a killed Kafka node answered again (ms)."""
    missed: str = ""
    """Why the fault did not happen as planned; then it does not count."""


class Striker:
    """Goes through a plan."""

    def __init__(self, system: System, progress: Callable[[str], None]) -> None:
        self._system = system
        self._progress = progress
        self._methods: dict[str, Callable[[Fault], Struck]] = {
            "kill": self._kill,
            "kill_open": self._kill_open,
            "kill_role": self._kill_role,
            "freeze": self._freeze,
            "freeze_and_kill": self._freeze,
            "freeze_at": self._freeze_at,
            "broker_kill": self._broker_kill,
            "leader_kill": self._broker_kill,
            "broker_freeze": self._broker_freeze,
            "clickhouse_kill": self._clickhouse_kill,
        }
        self._starting: Future[str] | None = None
        """A killed node's restart: meanwhile the next fault may come."""

    def strike(self, faults: Sequence[Fault]) -> list[Struck]:
        """Do all faults, each not before its time; at the end every Kafka node is back."""
        done = []
        started = time.monotonic()
        for number, fault in enumerate(faults, 1):
            time.sleep(max(0.0, started + fault.at_s - time.monotonic()))
            struck = self._methods[fault.kind](fault)
            done.append(struck)
            held = f", away {struck.held_s:.1f} s" if struck.held_s else ""
            self._progress(
                f"{number}/{len(faults)} {fault.kind} {struck.victim} {fault.target}{held}"
                f"{': ' + struck.missed if struck.missed else ''}"
            )
        self._all_copies()
        return done

    def _kill(self, fault: Fault) -> Struck:
        name, pid = self._worker(fault)
        begin = now_ms()
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        return Struck(fault, begin, now_ms(), name, ((name, pid),))

    def _kill_open(self, fault: Fault) -> Struck:
        """Stop it for an instant again and again, until it is found with something open."""
        deadline = time.monotonic() + REACHED_S
        while time.monotonic() < deadline:
            name, pid = self._worker(fault, LANES)
            begin = now_ms()
            # One that began while a Kafka node was away may end by itself: then another has its turn.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if uncommitted(last_notes(self._system.notes, name), pid):
                    os.kill(pid, signal.SIGKILL)
                    gone(pid)
                    return Struck(fault, begin, now_ms(), name, ((name, pid),))
                os.kill(pid, signal.SIGCONT)
            time.sleep(LOOK_S)
        return Struck(fault, now_ms(), now_ms(), "", missed=f"nothing was open in {REACHED_S:.0f} s")

    def _kill_role(self, fault: Fault) -> Struck:
        role = LANES[int(fault.draw * len(LANES))]
        begin = now_ms()
        killed = [(name, self._system.signal(name, signal.SIGKILL)) for name in self._system.workers(role)]
        for _, pid in killed:
            gone(pid)
        return Struck(fault, begin, now_ms(), role, tuple(killed))

    def _freeze(self, fault: Fault) -> Struck:
        name, pid = self._worker(fault)
        begin = now_ms()
        os.kill(pid, signal.SIGSTOP)
        return self._hold(fault, begin, name, pid)

    def _freeze_at(self, fault: Fault) -> Struck:
        """Tell all workers that come to the point; the first one to get there sleeps."""
        role = next((role for start, role in ONLY.items() if fault.target.startswith(start)), "")
        role = role or LANES[int(fault.draw * len(LANES))]
        for name in self._system.workers(role):
            self._system.order_stop(name, fault.target)
        deadline, found = time.monotonic() + REACHED_S, ""
        while not found and time.monotonic() < deadline:
            pids = self._system.stack.pids()
            found = next((n for n in self._system.workers(role) if stopped(pids.get(n, 0))), "")
            time.sleep(0.005)
        for name in self._system.workers(role):
            self._system.order_stop(name, "")
        if not found:
            return Struck(fault, now_ms(), now_ms(), role, missed=f"nobody came by in {REACHED_S:.0f} s")
        struck = self._hold(fault, now_ms(), found, self._system.stack.pids()[found])
        for (
            name,
            pid,
        ) in self._system.stack.pids().items():  # a second one may have come by before the order went
            if "-" in name and stopped(pid):
                os.kill(pid, signal.SIGCONT)
        return struck

    def _hold(self, fault: Fault, begin: int, name: str, pid: int) -> Struck:
        started, killed = time.monotonic(), []
        if fault.kind == "freeze_and_kill":
            time.sleep(fault.hold_s - 1)
            peers = [peer for peer in self._system.workers(name.rpartition("-")[0]) if peer != name]
            killed = [(peer, self._system.signal(peer, signal.SIGKILL)) for peer in peers]
        time.sleep(max(0.0, started + fault.hold_s - time.monotonic()))
        asleep = stopped(pid)
        held_s = time.monotonic() - started
        if asleep:
            os.kill(pid, signal.SIGCONT)
        missed = "" if asleep else "it ended in its sleep"
        return Struck(fault, begin, now_ms(), name, tuple(killed), held_s, missed=missed)

    def _broker_kill(self, fault: Fault) -> Struck:
        cluster, node = self._system.cluster, self._node(fault)
        begin = now_ms()
        cluster.kill(node)
        time.sleep(fault.hold_s)
        struck = Struck(fault, begin, now_ms(), f"node {node}", held_s=fault.hold_s)

        def back(_: Future[str]) -> None:
            struck.back = now_ms()

        self._starting = cluster.start(node)
        self._starting.add_done_callback(back)
        return struck

    def _broker_freeze(self, fault: Fault) -> Struck:
        cluster, node = self._system.cluster, self._node(fault)
        begin = now_ms()
        cluster.freeze(node)
        time.sleep(fault.hold_s)
        cluster.thaw(node)
        return Struck(fault, begin, now_ms(), f"node {node}", held_s=fault.hold_s)

    def _clickhouse_kill(self, fault: Fault) -> Struck:
        begin = now_ms()
        pid = self._until(lambda: self._system.stack.pids().get("clickhouse"))
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        return Struck(fault, begin, now_ms(), "clickhouse")

    def _worker(self, fault: Fault, roles: Sequence[str] = ROLES) -> tuple[str, int]:
        def choose() -> tuple[str, int] | None:
            pids = sorted(self._system.stack.pids().items())
            running = [(name, pid) for name, pid in pids if name.rpartition("-")[0] in roles]
            return running[int(fault.draw * len(running))] if running else None

        return self._until(choose)

    def _node(self, fault: Fault) -> int:
        """The node to take, once all copies are there: taking two of three at a time proves nothing more."""
        self._all_copies()
        cluster = self._system.cluster
        nodes = cluster.nodes
        if not fault.target:
            return nodes[int(fault.draw * len(nodes))]

        def leads() -> int | None:
            try:
                return cluster.leader(fault.target, int(fault.draw * 6))
            except (KafkaError, LookupError):
                return None

        return self._until(leads)

    def _all_copies(self) -> None:
        if self._starting is not None:
            self._starting.result()
            self._starting = None
        self._until(lambda: self._system.cluster.in_sync() or None, SYNC_S)

    @staticmethod
    def _until(choose: Callable[[], T | None], within_s: float = UP_S) -> T:
        deadline = time.monotonic() + within_s
        while (found := choose()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing to strike at within {within_s:.0f} s: not all parts came back")
            time.sleep(0.1)
        return found


def now_ms() -> int:
    """Wall time in ms, as records and journals have it."""
    return time.time_ns() // 1_000_000
