"""The whole way of a Web Push: sent, decrypted, shown by a real browser, and what became of it on Kafka.

A page subscribes, our sender encrypts, a stand-in of a push service decrypts, the service worker in Chromium
shows what was decrypted, and its receipts become facts on activity. What is not real is told in
`tests.support.browser.web_app`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import pytest
from aiohttp import web

from connectors.errors import Transient
from connectors.kafka.publish import FactPublisher
from connectors.loopback import HOST
from connectors.push.port import Outcome, Push
from connectors.push.webpush.message import shown
from connectors.push.webpush.sender import WebPushSender
from connectors.push.webpush.vapid import Signer
from ledger.facts import Fact
from ledger.ids import derived
from processors.stack import Servers
from processors.wall_clock import wall_ms
from tests.support import browser
from tests.support.browser.chromium import Chromium
from tests.support.browser.devtools import connected
from tests.support.browser.web_app import WebApp
from tests.support.plain_reader import decode, read
from tests.support.providers.part import or_skip
from tests.support.providers.push_service import keys
from tests.support.providers.pushes import push_to, words
from tests.support.providers.web_push_mock import WebPushMock
from tests.support.receiver import BODY_BYTES_MAX, Receiver, Recipient

FILES: Final = Path(browser.__file__ or "").parent
HAPPENS_S: Final = 20.0
POLL_S: Final = 0.05
LINK: Final = "https://shop.example/cart"
ANN: Final = Recipient(app="shop", subject="ann", installation="ann's browser")
PUSH_ID: Final = derived("push", "1")
OPENED: Final = {"push_id": PUSH_ID, "what": "opened"}


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that happens in another process; fails when it does not."""
    deadline = time.monotonic() + HAPPENS_S
    while not await true():
        assert time.monotonic() < deadline, f"not within {HAPPENS_S:.0f} s: {what}"
        await asyncio.sleep(POLL_S)


class Away(FactPublisher):
    """A publisher whose Kafka does not answer."""

    async def __aenter__(self) -> Self:
        raise Transient("Kafka does not answer")


class Kept(FactPublisher):
    """A publisher that keeps facts instead of a Kafka, which acknowledges them when `acknowledged` is set."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.facts: list[Fact] = []
        self.came = asyncio.Event()
        self.acknowledged = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def publish(self, facts: Iterable[Fact]) -> int:
        self.facts += facts
        self.came.set()
        await self.acknowledged.wait()
        return 1


class Site:
    """Serves the example app, and takes the subscription of the one person who uses it."""

    def __init__(self, public_key: str) -> None:
        self._public_key = public_key
        self.token = ""

    def add_to(self, app: web.Application) -> None:
        """Have the application serve it."""
        app.router.add_get("/", self._file("index.html"))
        app.router.add_get("/service_worker.js", self._file("service_worker.js"))
        app.router.add_get("/application-server-key", self._key)
        app.router.add_post("/subscriptions", self._subscribed)

    def _file(self, name: str) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
        async def answer(_: web.Request) -> web.FileResponse:
            return web.FileResponse(FILES / name)

        return answer

    async def _key(self, _: web.Request) -> web.Response:
        return web.Response(text=self._public_key)

    async def _subscribed(self, request: web.Request) -> web.Response:
        self.token = await request.text()
        return web.Response(status=204)


@asynccontextmanager
async def served(*parts: Site | Receiver) -> AsyncIterator[str]:
    """The origin under which these are served."""
    app = web.Application()
    for part in parts:
        part.add_to(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    try:
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def posted(origin: str, body: Any, kind: str = "application/json") -> int:
    """The status that a receipt is answered with."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HAPPENS_S)) as client,
        client.post(f"{origin}/receipts", data=body, headers={"Content-Type": kind}) as answer,
    ):
        return answer.status


async def sent(private: str, origin: str, pushes: list[Push]) -> list[Outcome]:
    """Their outcomes, with this origin as the only push service."""
    sender = WebPushSender(Signer(private, "mailto:push@shop.de", wall_ms), wall_ms, services=(origin,))
    try:
        return await sender.send(pushes)
    finally:
        await sender.close()


async def receipts(bootstrap: str, pushes: Iterable[Push]) -> list[tuple[str, dict[str, Any]]]:
    """The facts about these pushes."""
    ids = {push.push_id for push in pushes}
    found = [decode(record.value) for record in await read(bootstrap, "optin.activity")]
    return [one for one in found if one is not None and one[1].get("push_id") in ids]


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_a_push_is_shown_and_what_became_of_it_is_told_once(stack: Servers, tmp_path: Path) -> None:
    """Title, text, tag, picture and data are seen as sent; a receipt told twice is one fact."""
    with or_skip(Chromium(tmp_path / "chromium")) as chromium, or_skip(WebPushMock(tmp_path)) as mock:
        asyncio.run(_the_whole_way(stack.kafka_bootstrap, chromium, mock))


async def _the_whole_way(bootstrap: str, chromium: Chromium, mock: WebPushMock) -> None:
    private, public = keys()
    subscription, subscriber = mock.subscribe(public)
    recipients: dict[str, Recipient] = {}
    # Kafka is away at first, so the first receipt has to be told again.
    publishers = iter([Away(bootstrap), FactPublisher(bootstrap)])
    site, receiver = Site(public), Receiver(recipients.get, lambda: next(publishers))
    async with served(site, receiver) as origin, connected(chromium.address) as tools:
        app = await WebApp.open(tools, origin, subscription)
        assert await app.subscribe() == public
        assert json.loads(site.token) == json.loads(subscription)

        picture = f"{origin}/cart.png"
        cart = push_to(
            "web_push", site.token, link=LINK, image=picture, collapse_id="cart-7", data={"cart": "7"}
        )
        news = push_to("web_push", site.token, title="Neu: Stiefel", body="größer & schöner")
        silent = push_to("web_push", site.token, background=True, data={"sync": "orders"})
        pushes = [cart, news, silent]
        recipients |= {push.push_id: ANN for push in pushes}
        assert words(await sent(private, mock.origin, pushes)) == {"accepted": 3}
        decrypted = {json.loads(text)["push_id"]: text for text in mock.received(subscriber)}
        assert decrypted == {push.push_id: shown(push).decode() for push in pushes}

        async def told(count: int) -> bool:
            return len(await receipts(bootstrap, pushes)) >= count

        async def visible(count: int) -> bool:
            return len(await app.notifications()) == count

        for push in pushes:
            await app.push(decrypted[push.push_id])
        await until(lambda: told(3), "three pushes are delivered")
        await until(lambda: visible(2), "two of them are seen")
        assert {one["tag"]: one for one in await app.notifications()} == {
            "cart-7": {
                "title": "Your cart",
                "body": "is waiting",
                "tag": "cart-7",
                "image": picture,
                "data": json.loads(shown(cart)),
            },
            news.push_id: {
                "title": "Neu: Stiefel",
                "body": "größer & schöner",
                "tag": news.push_id,
                "image": "",
                "data": json.loads(shown(news)),
            },
        }

        await app.click("cart-7")
        await app.dismiss(news.push_id)
        await until(lambda: visible(0), "both are gone")
        assert await app.opened() == [LINK]
        assert next(publishers, None) is None

        # The worker waits for its answers, so by now everything is on Kafka.
        once = {
            (cart.push_id, "PushDelivered"): 1,
            (cart.push_id, "PushOpened"): 1,
            (news.push_id, "PushDelivered"): 1,
            (news.push_id, "PushDismissed"): 1,
            (silent.push_id, "PushDelivered"): 1,
        }
        facts = await receipts(bootstrap, pushes)
        assert Counter((one["push_id"], name) for name, one in facts) == once
        assert {Recipient(**{name: one[name] for name in ANN.__slots__}) for _, one in facts} == {ANN}

        # The push comes again and is clicked again; a dismissal is told again by whoever kept it.
        await app.push(decrypted[cart.push_id])
        await until(lambda: visible(1), "the push is seen again")
        await app.click("cart-7")
        assert await posted(origin, json.dumps({"push_id": news.push_id, "what": "dismissed"})) == 204
        await until(lambda: told(8), "three receipts came again")
        again = await receipts(bootstrap, pushes)
        assert len(again) == 8
        assert (
            Counter((p, name) for p, name, _ in {(o["push_id"], n, o["event_id"]) for n, o in again}) == once
        )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"not json", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (json.dumps({"what": "opened"}), "application/json"),
        (json.dumps({"push_id": PUSH_ID}), "application/json"),
        (json.dumps({**OPENED, "what": "read"}), "application/json"),
        (json.dumps({**OPENED, "what": ["opened"]}), "application/json"),
        (json.dumps({**OPENED, "push_id": 1}), "application/json"),
        (json.dumps({**OPENED, "push_id": PUSH_ID + "\n"}), "application/json"),
        (json.dumps({**OPENED, "push_id": PUSH_ID.upper()}), "application/json"),
        (json.dumps({**OPENED, "push_id": derived("push", "of somebody else")}), "application/json"),
        (json.dumps({**OPENED, "subject": "bob"}), "application/json"),
        (json.dumps(OPENED) + " " * BODY_BYTES_MAX, "application/json"),
        (json.dumps(OPENED), "text/plain"),
    ],
)
def test_what_is_no_receipt_is_refused(body: str | bytes, kind: str) -> None:
    """By its size, form, words and ids; nothing of it is published."""
    kept = _answered_by_kept([(body, kind)], [400])

    assert kept.facts == []


def test_a_body_of_unknown_length_is_refused() -> None:
    """It would be read to see how long it is."""

    async def pieces() -> AsyncIterator[bytes]:
        yield json.dumps(OPENED).encode()

    kept = _answered_by_kept([(pieces(), "application/json")], [400])

    assert kept.facts == []


def test_the_same_receipt_is_the_same_fact() -> None:
    """Another word about the push is another one."""
    delivered = {**OPENED, "what": "delivered"}
    told = [(json.dumps(one), "application/json") for one in (OPENED, OPENED, delivered)]

    one, same, other = _answered_by_kept(told, [204] * 3).facts

    assert one.event_id == same.event_id != other.event_id


def _answered_by_kept(told: list[tuple[Any, str]], statuses: list[int]) -> Kept:
    async def run() -> Kept:
        kept = Kept()
        kept.acknowledged.set()
        async with served(Receiver({PUSH_ID: ANN}.get, lambda: kept)) as origin:
            assert [await posted(origin, body, kind) for body, kind in told] == statuses
        return kept

    return asyncio.run(run())


def test_a_receipt_is_taken_when_kafka_has_it() -> None:
    """Not before; and not at all while Kafka is away, until a publisher answers again."""

    async def run() -> None:
        kept = Kept()
        publishers = iter([Away("nowhere"), kept])
        async with served(Receiver({PUSH_ID: ANN}.get, lambda: next(publishers))) as origin:
            assert await posted(origin, json.dumps(OPENED)) == 503

            answer = asyncio.create_task(posted(origin, json.dumps(OPENED)))
            async with asyncio.timeout(HAPPENS_S):
                await kept.came.wait()
            assert not answer.done()
            kept.acknowledged.set()
            assert await answer == 204

    asyncio.run(run())
