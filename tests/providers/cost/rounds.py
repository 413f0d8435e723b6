"""Runs one client once, on a core of its own, towards a stand-in on another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from processors.benchmarks.arena import Arena, Running
from processors.benchmarks.clock_line import BEGUN, DONE, heard
from tests.providers.cost.client import ACCEPTED, Told
from tests.providers.cost.figures import Figures
from tests.providers.cost.servers import server
from tests.support.providers import apns2_client
from tests.support.providers.apns_mock import KEY_ID, TEAM_ID, TOPIC, ApnsMock

IN_FLIGHT: Final = 500
GO: Final = "apns2"

Look = Callable[[Running], AbstractContextManager[None]]
"""Looks at a process while it sends; a profiler."""


@dataclass(frozen=True, slots=True)
class Client:
    """One line of the table. `share`: of the pushes, for one that would take too long."""

    title: str
    name: str
    provider: str
    share: float = 1.0


CLIENTS: Final = (
    Client("stock aioapns", "aioapns", "apns"),
    Client("Go apns2", GO, "apns"),
    Client("our sender, APNs", "ours_by_apns", "apns"),
    Client("our sender, FCM", "ours_by_fcm", "fcm"),
    Client("firebase-admin, send_each_async", "firebase_admin", "fcm", 0.1),
    Client("our sender, Web Push", "ours_by_web_push", "web_push"),
)


def run(
    arena: Arena, apns: ApnsMock, client: Client, pushes: int, look: Look = lambda _: nullcontext()
) -> Figures:
    """One run. Raises `Unavailable` when the client can't be had here."""
    pushes = max(1, int(pushes * client.share))
    arena.progress(f"Sending {pushes:,} pushes: {client.title}")
    with server(client.provider, apns) as told:
        running = _started(arena, client, told, pushes)
        try:
            begun = heard(running.wait_for(BEGUN)[1])
            with look(running):
                done = heard(running.wait_for(DONE)[1])
            accepted = int(running.wait_for(ACCEPTED)[1].split()[1])
        finally:
            running.stop()
    return Figures.between(begun, done, pushes, accepted)


def _started(arena: Arena, client: Client, told: Told, pushes: int) -> Running:
    if client.name != GO:
        return arena.program(
            client.name,
            "tests.providers.cost.client",
            *(client.name, json.dumps(told), str(pushes), str(IN_FLIGHT)),
        )
    # Through the program that pins, because the arena starts modules of ours only.
    cores = ",".join(map(str, sorted(arena.cores.worker)))
    return arena.program(
        client.name,
        "processors.benchmarks.pinned",
        *(cores, str(apns2_client.binary()), told["folder"], str(told["port"])),
        *(KEY_ID, TEAM_ID, TOPIC, str(pushes), str(IN_FLIGHT)),
    )
