"""What a push costs: CPU time of this process for each, beside the stock client on the same mock, in one run.

`python -m tests.providers.cost [--profile]` (make bench-push). The mock accepts everything: it has time left.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aioapns import APNs, NotificationRequest, PushType

from connectors.push.apns.sender import ApnsSender
from connectors.push.fcm.sender import FcmSender
from connectors.push.port import Push
from processors.wall_clock import wall_ms
from tests.support.providers.apns_mock import ApnsMock

IN_FLIGHT: Final = 500
ROUNDS: Final = 3

Send = Callable[[int], Awaitable[bool]]
"""Send the push of this number; whether it was accepted."""


async def measured(send: Send, pushes: int) -> tuple[float, float]:
    """(CPU microseconds for each push, pushes a second) with `IN_FLIGHT` on their way."""
    numbers = iter(range(pushes))
    accepted = 0

    async def work() -> None:
        nonlocal accepted
        for number in numbers:
            was_accepted = await send(number)
            accepted += was_accepted

    assert await send(-1), "the first push, which opens the connection"
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert accepted == pushes, f"{accepted} of {pushes} were accepted"
    return cpu / pushes * 1e6, pushes / took


async def ours(mock: ApnsMock, pushes: int) -> tuple[float, float]:
    """The sender of connectors/push."""
    sender = ApnsSender(mock.credential, server=("localhost", mock.port), trust=mock.trust(), timeout_s=30)

    async def send(number: int) -> bool:
        push = Push(str(uuid.uuid4()), "shop", "apns", f"{number + 1:064x}", "Your cart", "is waiting")
        return (await sender.send([push]))[0].kind == "accepted"

    try:
        return await measured(send, pushes)
    finally:
        await sender.close()


async def by_fcm(told: dict[str, Any], pushes: int) -> tuple[float, float]:
    """The sender of connectors/push for FCM."""
    sender = FcmSender(told["account"], wall_ms, server=told["server"], timeout_s=30)

    async def send(number: int) -> bool:
        push = Push(str(uuid.uuid4()), "shop", "fcm", f"token-{number}", "Your cart", "is waiting")
        return (await sender.send([push]))[0].kind == "accepted"

    try:
        return await measured(send, pushes)
    finally:
        await sender.close()


async def stock(mock: ApnsMock, pushes: int) -> tuple[float, float]:
    """Aioapns as it comes."""
    trust = mock.trust()
    trust.set_alpn_protocols(["h2"])
    client = APNs(
        key=mock.credential.key,
        key_id=mock.credential.key_id,
        team_id=mock.credential.team_id,
        topic=mock.credential.topic,
        max_connections=1,
        ssl_context=trust,
    )
    client.pool.protocol_class = type(
        "Local", (client.pool.protocol_class,), {"APNS_SERVER": "localhost", "APNS_PORT": mock.port}
    )

    async def send(number: int) -> bool:
        name = str(uuid.uuid4())
        request = NotificationRequest(
            device_token=f"{number + 1:064x}",
            message={"aps": {"alert": {"title": "Your cart", "body": "is waiting"}}, "push_id": name},
            notification_id=name,
            collapse_key=name,
            push_type=PushType.ALERT,
            priority=10,
        )
        return bool((await client.send_notification(request)).is_successful)

    found = await measured(send, pushes)
    client.pool.close()
    await asyncio.sleep(0.1)
    return found


def main() -> None:
    """Measure in turns and print the best of each, by CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="print where the time of ours goes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ApnsMock(Path(folder), accept_all=True) as mock:
        if asked.profile:
            profile = cProfile.Profile()
            profile.runcall(lambda: asyncio.run(ours(mock, asked.pushes)))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return
        found: dict[str, list[tuple[float, float]]] = {"stock aioapns": [], "ours": []}
        for _ in range(ROUNDS):
            found["stock aioapns"].append(asyncio.run(stock(mock, asked.pushes)))
            found["ours"].append(asyncio.run(ours(mock, asked.pushes)))
    fake = subprocess.Popen(
        [sys.executable, "-m", "tests.support.providers.fcm_fake"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert fake.stdout is not None
        told = json.loads(fake.stdout.readline())
        found["ours by FCM"] = [asyncio.run(by_fcm(told, asked.pushes)) for _ in range(ROUNDS)]
    finally:
        fake.kill()
        fake.wait()
    print(f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {asked.pushes} pushes")
    for name, figures in found.items():
        cpu, rate = min(figures)
        print(f"{name:15} {cpu:6.0f} us CPU a push, {rate:7,.0f} pushes/s")
    print(f"ratio {min(found['ours'])[0] / min(found['stock aioapns'])[0]:.2f}")


if __name__ == "__main__":
    main()
