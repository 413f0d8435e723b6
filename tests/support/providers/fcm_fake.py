"""A stand-in of FCM's v1 API and of Google's token server, as documented; there is no third-party one.

Runs in the test's own loop, or as a process that prints its address and account (`python -m`). Refuses what
FCM refuses: a wrong access token, a message without a target, an unknown field; and what a test asks it to.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.push.fcm.sender import FcmSender

PROJECT: Final = "shop-1"
NOW_MS: Final = 1_800_000_000_000
"""The time that senders to it go by."""
KNOWN: Final = {"token", "data", "notification", "android", "apns", "webpush", "fcm_options"}
FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"

STATUS: Final = {
    "UNREGISTERED": (404, "NOT_FOUND"),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT"),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED"),
    "UNAVAILABLE": (503, "UNAVAILABLE"),
    "INTERNAL": (500, "INTERNAL"),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED"),
}
"""HTTP status and general code, by FCM's error code."""


def refusal(code: str, field: str = "") -> dict[str, Any]:
    """The body of a refusal, as FCM's documentation shows it."""
    status, general = STATUS[code]
    details: list[dict[str, Any]] = [{"@type": FCM_ERROR, "errorCode": code}]
    if field:
        details.append({"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": "wrong"}]})
    return {"error": {"code": status, "message": "refused", "status": general, "details": details}}


class FcmFake:
    """The running stand-in; an async context manager.

    `refusals`: for the next requests, one each: (FCM's code, Retry-After or "", field or "").
    """

    def __init__(self) -> None:
        self.port = 0
        self.accepted: list[dict[str, Any]] = []
        self.received: list[tuple[str, int]] = []
        """(push id, when in ms) of each that was accepted."""
        self.requests = 0
        self.in_flight = self.in_flight_most = 0
        self.tokens = 0
        self.token_lasts_s = 3_600
        self.token_status = 200
        self.dead: dict[str, str] = {}
        """Registration token -> the code that it is refused with."""
        self.refusals: deque[tuple[str, str, str]] = deque()
        self.delay_s = 0.0
        self._good: set[str] = set()
        """Access tokens that were issued and not revoked."""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_post(f"/v1/projects/{PROJECT}/messages:send", self._send)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def server(self) -> str:
        """The address that takes FCM's place."""
        return f"http://127.0.0.1:{self.port}"

    def account(self, port: int = 0) -> dict[str, Any]:
        """A service account's key file; its token server is this one."""
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "key-1",
            "private_key": PRIVATE_KEY,
            "client_email": "optin@shop-1.iam.gserviceaccount.com",
            "token_uri": f"http://127.0.0.1:{port or self.port}/token",
        }

    def account_file(self) -> str:
        """What is in the key file that Firebase would give out."""
        return json.dumps(self.account())

    @asynccontextmanager
    async def sender(self, server: str = "", timeout_s: float = 5.0) -> AsyncIterator[FcmSender]:
        """A sender to the stand-in, on its way over `server` if there is one."""
        made = FcmSender(self.account(), lambda: NOW_MS, server=server or self.server, timeout_s=timeout_s)
        try:
            yield made
        finally:
            await made.close()

    def revoke(self) -> None:
        """No access token issued so far is good any more."""
        self._good.clear()

    async def _token(self, request: web.Request) -> web.Response:
        await request.read()
        if self.token_status != 200:
            told = {"error": "invalid_grant" if self.token_status == 400 else "unavailable"}
            return web.json_response(told, status=self.token_status)
        self.tokens += 1
        self._good.add(f"access-{self.tokens}")
        return web.json_response(
            {
                "access_token": f"access-{self.tokens}",
                "expires_in": self.token_lasts_s,
                "token_type": "Bearer",
            }
        )

    async def _send(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            body = json.loads(await request.read())
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            return self._answer(request, body)
        finally:
            self.in_flight -= 1

    def _answer(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._good:
            told = {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}
            return web.json_response(told, status=401)
        message = body.get("message", {})
        if not message.get("token") or set(message) - KNOWN:
            return self._refused("INVALID_ARGUMENT", "", "message")
        if self.refusals:
            return self._refused(*self.refusals.popleft())
        if message["token"] in self.dead:
            return self._refused(self.dead[message["token"]], "", "message.token")
        self.accepted.append(message)
        self.received.append((message.get("data", {}).get("push_id", ""), time.time_ns() // 1_000_000))
        name = f"projects/{PROJECT}/messages/{len(self.accepted)}"
        return web.json_response({"name": name})

    def _refused(self, code: str, retry_after: str, field: str) -> web.Response:
        headers = {"Retry-After": retry_after} if retry_after else {}
        told = refusal(code, field if code == "INVALID_ARGUMENT" else "")
        return web.json_response(told, status=STATUS[code][0], headers=headers)


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


PRIVATE_KEY: Final = _private_key()


async def _serve() -> None:
    async with FcmFake() as fake:
        print(json.dumps({"server": fake.server, "account": fake.account()}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
