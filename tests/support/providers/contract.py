"""Each push sender beside its provider, with a path between them that a test can make bad."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from connectors.push.console import ConsoleSender
from connectors.push.port import Push, PushSender
from connectors.push.webpush.sender import WebPushSender, topic
from connectors.push.webpush.vapid import Signer
from processors.wall_clock import wall_ms
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.disturbed_path import DisturbedPath
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.push_service import Service, keys, subscription
from tests.support.providers.pushes import push_to, token

NETWORK: Final = ("apns", "fcm", "web_push")
ALL: Final = (*NETWORK, "console")
TITLE, BODY = "Title-of-one-person", "Body-of-one-person"


class Closable(PushSender, Protocol):
    """A sender with connections."""

    async def close(self) -> None:
        """End them."""


class Beside:
    """A sender and its provider. `path`: between the two; of no use to the console."""

    def __init__(
        self,
        kind: str,
        sender: Any,
        path: DisturbedPath,
        address: Callable[[int], str],
        asked: Callable[[], list[str]],
    ) -> None:
        """`address`: a device's token; `asked`: what the provider was handed, by what it knows a push by."""
        self.kind = kind
        self.sender = sender
        self.path = path
        self._address = address
        self._asked = asked

    def push(self, number: int, **fields: Any) -> Push:
        """A push to a device of its own."""
        said = {"title": TITLE, "body": BODY} | fields
        return push_to(self.kind, self._address(number), **said)

    def asked(self, push: Push) -> int:
        """How often the provider got a push."""
        return self._asked().count(topic(push.push_id) if self.kind == "web_push" else push.push_id)

    def asked_in_all(self) -> int:
        """How many pushes it got."""
        return len(self._asked())


@asynccontextmanager
async def beside(
    kind: str, apns: ApnsMock | None, folder: Path, timeout_s: float = 5.0
) -> AsyncIterator[Beside]:
    """The sender of a kind beside its running provider; `apns` for that kind alone."""
    async with AsyncExitStack() as parts:
        if kind == "console":
            file = folder / "pushes.jsonl"
            nowhere = DisturbedPath(0)
            yield Beside(kind, ConsoleSender(file), nowhere, token, lambda: _lines(file))
        elif kind == "apns":
            assert apns is not None
            mock = apns
            path = await parts.enter_async_context(DisturbedPath(mock.port))
            sender: Any = await parts.enter_async_context(mock.sender(path.port, timeout_s))
            yield Beside(kind, sender, path, token, lambda: [one[0] for one in mock.accepted()])
        elif kind == "fcm":
            fake = await parts.enter_async_context(FcmFake())
            path = await parts.enter_async_context(DisturbedPath(fake.port))
            there = f"http://127.0.0.1:{path.port}"
            sender = await parts.enter_async_context(fake.sender(there, timeout_s))
            yield Beside(kind, sender, path, token, lambda: [one[0] for one in fake.received])
        else:
            service = Service(201)
            origin = await parts.enter_async_context(service.running())
            path = await parts.enter_async_context(DisturbedPath(int(origin.rpartition(":")[2])))
            there = f"http://127.0.0.1:{path.port}"
            signer = Signer(keys()[0], "mailto:push@shop.de", wall_ms)
            sender = WebPushSender(signer, wall_ms, services=(there,), timeout_s=timeout_s)
            parts.push_async_callback(sender.close)
            yield Beside(
                kind,
                sender,
                path,
                lambda _: subscription(there),
                lambda: [one[0] for one in service.received],
            )


def _lines(file: Path) -> list[str]:
    return [json.loads(line)["push_id"] for line in file.read_text().splitlines()]
