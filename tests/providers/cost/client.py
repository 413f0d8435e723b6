"""One client that sends its pushes, in a process of its own: `python -m tests.providers.cost.client`.

Says when it began and was done, with its CPU time, then how many pushes were accepted; and stays until it is
told to end, so that a profiler can leave first. The first push, which opens the connection, does not count.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from connectors.push.port import Push, PushSender
from processors.benchmarks.clock_line import BEGUN, DONE, say
from processors.wall_clock import wall_ms
from tests.support.providers import push_service
from tests.support.providers.apns_mock import ApnsMock

ACCEPTED: Final = "bench-accepted"
TITLE, BODY = "Your cart", "is waiting"
TIMEOUT_S: Final = 30.0
FIREBASE_MAX: Final = 500
"""Messages that firebase-admin takes at once."""

Told = dict[str, Any]
"""Where the stand-in is, and how to send to it."""
Send = Callable[[int], Awaitable[bool]]
"""Send the push of this number; whether it was accepted."""


async def one_by_one(send: Send, pushes: int, in_flight: int) -> None:
    """Send them with so many on their way at a time."""
    numbers = iter(range(1, pushes + 1))
    accepted = 0

    async def work() -> None:
        nonlocal accepted
        for number in numbers:
            was_accepted = await send(number)
            accepted += was_accepted

    await _first(send(0))
    say(BEGUN)
    await asyncio.gather(*(work() for _ in range(in_flight)))
    say(DONE)
    print(ACCEPTED, accepted, flush=True)


async def _first(sending: Awaitable[bool]) -> None:
    if not await sending:
        sys.exit("the first push, which opens the connection, was not accepted")


def by(sender: PushSender, provider: str, token: Callable[[int], str]) -> Send:
    """By a sender of ours, each push handed over for itself."""

    async def send(number: int) -> bool:
        push = Push(str(uuid.uuid4()), "shop", provider, token(number), TITLE, BODY)
        return (await sender.send([push]))[0].kind == "accepted"

    return send


def mock_of(told: Told) -> ApnsMock:
    """The mock that another process started: what it trusts, and what trusts it."""
    mock = ApnsMock(Path(told["folder"]))
    mock.port = told["port"]
    return mock


async def ours_by_apns(told: Told, pushes: int, in_flight: int) -> None:
    """Our sender, over one connection."""
    async with mock_of(told).sender(timeout_s=TIMEOUT_S) as sender:
        await one_by_one(by(sender, "apns", lambda number: f"{number:064x}"), pushes, in_flight)


async def aioapns(told: Told, pushes: int, in_flight: int) -> None:
    """Aioapns as it comes, over one connection, with the same headers and words as ours."""
    from aioapns import APNs, NotificationRequest, PushType

    mock = mock_of(told)
    trust = mock.trust()
    trust.set_alpn_protocols(["h2"])
    key = mock.credential
    client = APNs(
        key=key.key,
        key_id=key.key_id,
        team_id=key.team_id,
        topic=key.topic,
        max_connections=1,
        ssl_context=trust,
    )
    client.pool.protocol_class = type(
        "Local", (client.pool.protocol_class,), {"APNS_SERVER": "localhost", "APNS_PORT": mock.port}
    )

    async def send(number: int) -> bool:
        name = str(uuid.uuid4())
        request = NotificationRequest(
            device_token=f"{number:064x}",
            message={"aps": {"alert": {"title": TITLE, "body": BODY}}, "push_id": name},
            notification_id=name,
            collapse_key=name,
            push_type=PushType.ALERT,
            priority=10,
        )
        return bool((await client.send_notification(request)).is_successful)

    await one_by_one(send, pushes, in_flight)


async def ours_by_fcm(told: Told, pushes: int, in_flight: int) -> None:
    """Our sender of FCM."""
    from connectors.push.fcm.sender import FcmSender

    sender = FcmSender(told["account"], wall_ms, server=told["server"], timeout_s=TIMEOUT_S)
    try:
        await one_by_one(by(sender, "fcm", lambda number: f"token-{number}"), pushes, in_flight)
    finally:
        await sender.close()


async def firebase_admin(told: Told, pushes: int, in_flight: int) -> None:
    """Its own asynchronous way: lists of messages, each through before the next begins."""
    import firebase_admin as firebase
    from firebase_admin import credentials, messaging

    from connectors.push.fcm.message import message_of

    app = firebase.initialize_app(credentials.Certificate(told["account"]))
    service = messaging._get_messaging_service(app)
    service._fcm_url = f"{told['server']}/v1/projects/{told['account']['project_id']}/messages:send"

    async def send(first: int, count: int) -> int:
        messages = [
            message_of(Push(str(uuid.uuid4()), "shop", "fcm", f"token-{number}", TITLE, BODY), wall_ms())
            for number in range(first, first + count)
        ]
        found: int = (await messaging.send_each_async(messages, app=app)).success_count
        return found

    at_once = min(in_flight, FIREBASE_MAX)
    await _first(_is_one(send(0, 1)))
    say(BEGUN)
    accepted = 0
    for first in range(1, pushes + 1, at_once):
        accepted += await send(first, min(at_once, pushes + 1 - first))
    say(DONE)
    print(ACCEPTED, accepted, flush=True)


async def _is_one(count: Awaitable[int]) -> bool:
    return await count == 1


async def ours_by_web_push(told: Told, pushes: int, in_flight: int) -> None:
    """Our sender of Web Push: every push to a subscription of its own, with a key of its own."""
    from connectors.push.webpush.sender import WebPushSender
    from connectors.push.webpush.vapid import Signer

    origin = told["origin"]
    subscriptions = [push_service.subscription(origin, number) for number in range(pushes + 1)]
    signer = Signer(push_service.keys()[0], "mailto:push@shop.de", wall_ms)
    sender = WebPushSender(signer, wall_ms, services=(origin,), timeout_s=TIMEOUT_S)
    try:
        await one_by_one(by(sender, "web_push", subscriptions.__getitem__), pushes, in_flight)
    finally:
        await sender.close()


CLIENTS: Final = {
    one.__name__: one for one in (aioapns, ours_by_apns, ours_by_fcm, firebase_admin, ours_by_web_push)
}


def main(argv: list[str]) -> None:
    """`CLIENT TOLD PUSHES IN_FLIGHT`; TOLD is a JSON object."""
    client, told, pushes, in_flight = argv
    asyncio.run(CLIENTS[client](json.loads(told), int(pushes), int(in_flight)))
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
