"""Takes receipts of pushes over HTTP and appends them as facts: an example of what an app backend has to do.

A receipt says what became of a push: `{"push_id": ..., "what": "delivered" | "opened" | "dismissed"}`. Whose
push it was is looked up, never taken from the request.

Delivery guarantee: 204 when the fact is acknowledged by Kafka. After any other answer, or none, the same
receipt may come again; it makes a fact of the same `event_id`, which readers count once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from connectors.errors import Transient
from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from ledger.ids import derived
from processors.wall_clock import wall_ms

BODY_BYTES_MAX: Final = 256
BODY_S: Final = 5.0
"""How long a body may take to come."""
PUSH_ID: Final = r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"
KINDS: Final[dict[str, type[f.ReceiptFact]]] = {
    "delivered": f.PushDelivered,
    "opened": f.PushOpened,
    "dismissed": f.PushDismissed,
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a service worker tells."""

    push_id: Annotated[str, msgspec.Meta(pattern=PUSH_ID)]
    what: Literal["delivered", "opened", "dismissed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Whom a push was sent to."""

    app: str
    subject: str
    installation: str


class Receiver:
    """Answers `POST /receipts`: 204, 400 for what is no receipt of a push of ours, 503 when Kafka is away.

    `recipient_of`: whom a push was sent to, None for an id that is not ours. `publisher`: opens a new one; a
    publisher that failed is not used again.
    """

    def __init__(
        self, recipient_of: Callable[[str], Recipient | None], publisher: Callable[[], FactPublisher]
    ) -> None:
        self._recipient_of = recipient_of
        self._open = publisher
        self._publisher: FactPublisher | None = None
        self._one_by_one = asyncio.Lock()

    def add_to(self, app: web.Application) -> None:
        """Have the application serve it; the publisher is closed when the application ends."""
        app.router.add_post("/receipts", self._answer)
        app.cleanup_ctx.append(self._running)

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        yield
        await self._close()

    async def _answer(self, request: web.Request) -> web.Response:
        fact = await self._fact_in(request)
        if fact is None:
            return web.Response(status=400)
        try:
            await self._publish(fact)
        except Transient:
            return web.Response(status=503)
        return web.Response(status=204)

    async def _fact_in(self, request: web.Request) -> f.ReceiptFact | None:
        """The fact that a request tells; None for anything else, which is not told why."""
        # A page of somebody else can't send this type without asking first, and is not let.
        if request.content_type != "application/json":
            return None
        if request.content_length is None or request.content_length > BODY_BYTES_MAX:
            return None
        try:
            async with asyncio.timeout(BODY_S):
                receipt = msgspec.json.decode(await request.read(), type=Receipt)
        except (TimeoutError, msgspec.MsgspecError):
            return None
        to = self._recipient_of(receipt.push_id)
        return None if to is None else fact_of(receipt, to, wall_ms())

    async def _publish(self, fact: f.ReceiptFact) -> None:
        async with self._one_by_one:  # a publisher serves one task at a time
            try:
                if self._publisher is None:
                    self._publisher = await self._open().__aenter__()
                await self._publisher.publish([fact])
            except BaseException:
                await self._close()
                raise

    async def _close(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.__aexit__(None, None, None)


def fact_of(receipt: Receipt, to: Recipient, at_ms: int) -> f.ReceiptFact:
    """The fact of a receipt; its id is made of what it says, so that saying it again adds nothing."""
    return KINDS[receipt.what](
        event_id=derived("receipt", receipt.what, receipt.push_id),
        app=to.app,
        occurred_at=at_ms,
        source="server:receipts",
        subject=to.subject,
        installation=to.installation,
        push_id=receipt.push_id,
    )
