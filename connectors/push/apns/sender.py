"""Hands the pushes of one app to APNs over a few HTTP/2 connections that stay open.

Delivery guarantee: at most once each. A push goes again only where the first try was surely not taken (the
connection could not be opened, the stream was refused, GOAWAY named an earlier last stream).
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import ssl
import time
from collections.abc import Sequence
from typing import Final

from aioapns.connection import JWTAuthorizationHeaderProvider

from connectors.errors import Misconfigured
from connectors.push.apns.answers import OK, Answer, outcome_of
from connectors.push.apns.connection import ApnsConnection
from connectors.push.apns.request import Headers, body_of, headers_of
from connectors.push.failures import NoAnswer, NotTaken
from connectors.push.port import LEASE_OVER, Outcome, Push

PRODUCTION: Final = ("api.push.apple.com", 443)
SANDBOX: Final = ("api.sandbox.push.apple.com", 443)
TRIES_MAX: Final = 3
"""Of a push that was surely not taken."""
CONNECT_S: Final = 10.0
SHUTDOWN_S: Final = 1.0
"""For the other side's last word; after silence there is none."""
RENEW_S_MIN: Final = 20 * 60
"""Apple: a provider token is renewed every 20 minutes at most, or refused (TooManyProviderTokenUpdates)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ApnsCredential:
    """A team's signing key (PKCS#8 in PEM) and the topic (bundle id) of the app that it sends for."""

    key: str = dataclasses.field(repr=False)
    key_id: str
    team_id: str
    topic: str


class ProviderToken:
    """The one provider token of a credential, however many connections there are."""

    def __init__(self, credential: ApnsCredential) -> None:
        """Raises Misconfigured when the key can't sign."""
        self._credential = credential
        self._renew()
        try:
            self.header()
        except Exception as error:  # noqa: BLE001 - whatever a wrong key makes the libraries raise
            # Never the error's own words: they may quote the key.
            raise Misconfigured(
                f"the APNs key can't sign ({type(error).__name__}): it must be the .p8"
                " file that Apple gave out, a private key in PEM"
            ) from None

    def header(self) -> bytes:
        """The authorization header; signed anew every 30 minutes."""
        header: str = self._signer.get_header()  # type: ignore[no-untyped-call]
        return header.encode()

    def was_refused(self) -> None:
        """Sign anew before the next push, unless that was done a short while ago."""
        if time.monotonic() - self._made_s >= RENEW_S_MIN:
            self._renew()

    def _renew(self) -> None:
        self._made_s = time.monotonic()
        key = self._credential
        self._signer = JWTAuthorizationHeaderProvider(key.key, key.key_id, key.team_id)


class ApnsSender:
    """Sends for one app. `timeout_s`: how long a push may wait for its answer, once it is written."""

    def __init__(
        self,
        credential: ApnsCredential,
        *,
        server: tuple[str, int] = PRODUCTION,
        trust: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._token = ProviderToken(credential)
        self._topic = credential.topic.encode()
        self._server = server
        self._tls = trust or ssl.create_default_context()
        self._tls.set_alpn_protocols(["h2"])
        self._timeout_s = timeout_s
        self._connections: list[ApnsConnection] = []
        self._opening: asyncio.Task[ApnsConnection] | None = None
        self._proven = False

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """See `PushSender.send`."""
        return list(await asyncio.gather(*(self._send(push, until_s) for push in pushes)))

    def service_of(self, _: str) -> str:
        """See `routes.Sender.service_of`: there is one for all addresses."""
        return ""

    async def close(self) -> None:
        """Take no more pushes, and let those on their way have their answers, within their time."""
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        closed = [connection.closed for connection in connections]
        if closed:
            await asyncio.wait(closed, timeout=self._timeout_s)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*closed)

    async def _send(self, push: Push, until_s: float) -> Outcome:
        try:
            body = body_of(push)
            headers = headers_of(push, self._server[0].encode(), self._topic, self._token.header())
            answer = await self._answer(headers, body, until_s)
        except NoAnswer as error:
            return error.outcome
        if answer is None:
            return LEASE_OVER
        if answer.status == OK:
            self._proven = True
        elif answer.reason == "ExpiredProviderToken":
            self._token.was_refused()
        return outcome_of(answer, proven=self._proven)

    async def _answer(self, headers: Headers, body: bytes, until_s: float) -> Answer | None:
        """The answer to a request, or None when there was no time to make it. Raises NotTaken or Lost."""
        why = NotTaken("never tried")
        for _ in range(TRIES_MAX):
            connection = await self._connection()
            if time.monotonic() >= until_s:
                return None
            try:
                return await connection.send(headers, body)
            except NotTaken as error:
                why = error
        raise why

    async def _connection(self) -> ApnsConnection:
        """The open connection; opened if there is none. Others are answering their last. Raises NotTaken."""
        for connection in self._connections:
            if connection.is_open:
                return connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[ApnsConnection]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # those who wait for it are told; nobody may be

    async def _open(self) -> ApnsConnection:
        """Open a connection, once for all who wait for it; raises NotTaken."""
        host, port = self._server
        loop = asyncio.get_running_loop()
        connection = ApnsConnection(self._timeout_s, self._gone)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(
                    lambda: connection, host, port, ssl=self._tls, ssl_shutdown_timeout=SHUTDOWN_S
                )
                await connection.ready
        except (OSError, TimeoutError) as error:
            connection.abort()
            raise NotTaken(f"unreachable: {type(error).__name__}") from error
        self._connections.append(connection)
        return connection

    def _gone(self, connection: ApnsConnection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
