"""Ports on this machine for servers that only this machine may reach."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Collection
from contextlib import closing
from typing import Final

from connectors.errors import Misconfigured

HOST: Final = "127.0.0.1"
PORTS: Final = range(20_000, 32_000)
"""Where free ports are looked for: below the range that the kernel gives to outgoing connections.

Inside that range a client that keeps knocking at a stopped server is sooner or later given the very
port it knocks at, connects to itself, and the server can't come back.
"""
ATTEMPTS: Final = 200
WAIT_S: Final = 2.0
"""How long a remembered port may take to become free: its last user may be ending right now."""
POLL_S: Final = 0.05


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections on `port` of the loopback address."""
    try:
        socket.create_connection((HOST, port), timeout_s).close()
    except OSError:
        return False
    return True


def free_port(promised: Collection[int] = ()) -> int:
    """A port that nobody listens on, and that is not among the promised ones.

    Raises Misconfigured if none is found in `ATTEMPTS` tries.
    """
    for _ in range(ATTEMPTS):
        port = random.choice(PORTS)  # noqa: S311 - a port, not a secret
        if port not in promised and is_free(port):
            return port
    raise Misconfigured(f"no free port between {PORTS.start} and {PORTS.stop}; name one yourself.")


def choose_port(asked: int, remembered: int | None, promised: Collection[int] = ()) -> int:
    """The port to listen on: the asked one, else the remembered one if free, else a free one.

    `promised`: to others that do not listen yet.

    Waits up to `WAIT_S` for either of the first two. Raises Misconfigured if the asked one is taken:
    it was named for a reason.
    """
    wanted = asked or remembered
    if not wanted:
        return free_port(promised)
    deadline = time.monotonic() + WAIT_S
    while not is_free(wanted):
        if time.monotonic() > deadline:
            if asked:
                raise Misconfigured(f"port {asked} is taken; stop what uses it or name another port.")
            return free_port(promised)
        time.sleep(POLL_S)
    return wanted
