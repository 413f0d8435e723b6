"""Hands the pushes of one app to the push services of browsers.

Delivery guarantee: at most once each. Nothing goes again from here: what was surely not taken comes back as
`transient`, and what nobody knows as `unknown`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from pywebpush import WebPusher

from connectors.push.failures import NoAnswer, Undeliverable, utf8
from connectors.push.http_call import HttpCaller
from connectors.push.port import LEASE_OVER, Outcome, Push
from connectors.push.webpush.answers import TAKEN, outcome_of
from connectors.push.webpush.message import shown
from connectors.push.webpush.subscription import SERVICES, Subscription, service_of
from connectors.push.webpush.vapid import Signer

TTL_S: Final = 28 * 86_400
"""For a push without an end of its own."""


class WebPushSender:
    """Sends for one application server key. `timeout_s`: for one push, the connection included."""

    def __init__(
        self,
        signer: Signer,
        wall_ms: Callable[[], int],
        *,
        services: tuple[str, ...] = SERVICES,
        timeout_s: float = 5.0,
    ) -> None:
        self._signer = signer
        self._wall_ms = wall_ms
        self._services = services
        self._http = HttpCaller(timeout_s)
        self._proven: set[str] = set()
        """Services that took a push: what one says of our key, another one need not."""

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """See `PushSender.send`."""
        if time.monotonic() >= until_s:
            return [LEASE_OVER] * len(pushes)
        return list(await asyncio.gather(*(self._send(push) for push in pushes)))

    def service_of(self, token: str) -> str:
        """See `routes.Sender.service_of`: browsers of each kind have a push service of their own."""
        return service_of(token, self._services)

    async def close(self) -> None:
        """End all connections."""
        await self._http.close()

    async def _send(self, push: Push) -> Outcome:
        try:
            to = Subscription.read(push.token, self._services)
            reply = await self._http.post(to.endpoint, encrypted(push, to), self._headers(push, to))
        except NoAnswer as error:
            return error.outcome
        service = self.service_of(push.token)
        if reply.status in TAKEN:
            self._proven.add(service)
        return outcome_of(reply, proven=service in self._proven)

    def _headers(self, push: Push, to: Subscription) -> dict[str, str]:
        left_s = TTL_S
        if push.expires_at_ms is not None:
            left_s = min(TTL_S, max(0, (push.expires_at_ms - self._wall_ms()) // 1_000))
        return {
            "Authorization": self._signer.header(to.origin),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(left_s),
            "Urgency": push.options.web_urgency,
            "Topic": topic(push.collapse_id or push.push_id),
        }


def topic(collapse_id: str) -> str:
    """A topic: 32 characters of base64url at most (RFC 8030, section 5.4), whatever the collapse id is."""
    return base64.urlsafe_b64encode(hashlib.sha256(utf8(collapse_id)).digest()[:24]).decode()


def encrypted(push: Push, to: Subscription) -> bytes:
    """The body that only the subscriber can read; raises `Unsendable` or `Undeliverable`."""
    keys = {"p256dh": to.keys.p256dh, "auth": to.keys.auth}
    plain = shown(push)
    try:
        body: bytes = WebPusher({"endpoint": to.endpoint, "keys": keys}).encode(plain)["body"]
    except ValueError:
        raise Undeliverable("BadSubscription: its key is no point on the curve") from None
    return body
