"""Hands the pushes of one app to FCM, many at a time over kept connections.

Delivery guarantee: at most once each. Nothing goes again from here: what was surely not taken comes back as
`transient`, and what nobody knows as `unknown`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from connectors.push.failures import NoAnswer
from connectors.push.fcm import access
from connectors.push.fcm.answers import OK, outcome_of
from connectors.push.fcm.message import body_of
from connectors.push.http_call import HttpCaller
from connectors.push.port import LEASE_OVER, Outcome, Push

SERVER: Final = "https://fcm.googleapis.com"
UNAUTHENTICATED: Final = 401


class FcmSender:
    """Sends for one Firebase project. `timeout_s`: for one push, the connection included."""

    def __init__(
        self,
        account: dict[str, Any],
        wall_ms: Callable[[], int],
        *,
        server: str = SERVER,
        timeout_s: float = 5.0,
    ) -> None:
        """`account`: the JSON of the service account's key file."""
        self._token = access.AccessToken(account)
        self._url = f"{server}/v1/projects/{account.get('project_id')}/messages:send"
        self._wall_ms = wall_ms
        self._http = HttpCaller(timeout_s)
        self._proven = False

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """See `PushSender.send`."""
        try:
            authorization = await self._token.header()
        except access.Refused as error:
            return [Outcome("rejected", "credential", f"no access token: {error}")] * len(pushes)
        except access.Unreachable as error:
            return [Outcome("rejected", "transient", f"no access token: {error}")] * len(pushes)
        if time.monotonic() >= until_s:
            return [LEASE_OVER] * len(pushes)
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        return list(await asyncio.gather(*(self._send(push, headers) for push in pushes)))

    def service_of(self, _: str) -> str:
        """See `routes.Sender.service_of`: there is one for all addresses."""
        return ""

    async def close(self) -> None:
        """End all connections."""
        await self._http.close()

    async def _send(self, push: Push, headers: dict[str, str]) -> Outcome:
        try:
            reply = await self._http.post(self._url, body_of(push, self._wall_ms()), headers)
        except NoAnswer as error:
            return error.outcome
        if reply.status == OK:
            self._proven = True
        elif reply.status == UNAUTHENTICATED:
            self._token.was_refused(headers["Authorization"])
        return outcome_of(reply, proven=self._proven)
