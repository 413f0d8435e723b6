"""A push service that believes everything: any subscription, any signature; and keys to send to it with.

Runs in the test's own loop, or as a process that prints its origin (`python -m`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from py_vapid import Vapid

from connectors.push.webpush.answers import TAKEN

PUBLIC: Final = serialization.PublicFormat.UncompressedPoint


class Service:
    """A push service that answers with a status, and remembers the headers unless there are too many."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, *, remembers: bool = True) -> None:
        self.status = status
        self.headers = headers or {}
        self.remembers = remembers
        self.asked: list[dict[str, str]] = []
        self.received: list[tuple[str, int]] = []
        """(topic, when in ms) of each that was taken."""
        self.delay_s = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its origin."""
        app = web.Application()
        app.router.add_post("/{rest:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        await request.read()
        if self.remembers:
            self.asked.append(dict(request.headers))
        await asyncio.sleep(self.delay_s)
        if self.status in TAKEN:
            self.received.append((request.headers["Topic"], time.time_ns() // 1_000_000))
        return web.Response(status=self.status, headers=self.headers)


def keys() -> tuple[str, str]:
    """(private key in PEM, public key as browsers want it)."""
    made = Vapid()
    made.generate_keys()
    public = made.public_key.public_bytes(serialization.Encoding.X962, PUBLIC)
    return made.private_pem().decode(), base64.urlsafe_b64encode(public).rstrip(b"=").decode()


def subscription(origin: str, number: int = 1) -> str:
    """A subscription that is good by its form, with a key of its own."""
    _, public = keys()
    secret = base64.urlsafe_b64encode(b"s" * 16).rstrip(b"=").decode()
    return json.dumps({"endpoint": f"{origin}/push/{number}", "keys": {"p256dh": public, "auth": secret}})


async def _serve() -> None:
    async with Service(201, remembers=False).running() as origin:
        print(json.dumps({"origin": origin}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
