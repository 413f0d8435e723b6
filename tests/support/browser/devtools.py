"""The Chrome DevTools Protocol over its websocket: calls, their answers, and events that came.

One connection to the browser; pages and workers are sessions on it, by the id that attaching gives.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import aiohttp

CALL_S: Final = 20.0
EVENTS_MAX: Final = 1_000
"""How many events are remembered; older ones are forgotten."""


class DevTools:
    """A connection; made by `connected`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: deque[tuple[str, dict[str, Any]]] = deque(maxlen=EVENTS_MAX)
        self._came = asyncio.Condition()

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """What the browser answers; fails with its own words, or when it does not answer."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        told: dict[str, Any] = {"id": number, "method": method, "params": params}
        await self._socket.send_json(told | ({"sessionId": session} if session else {}))
        try:
            async with asyncio.timeout(CALL_S):
                said = await answer
        except TimeoutError:
            raise AssertionError(f"no answer to {method} {params} within {CALL_S:.0f} s") from None
        finally:
            del self._waiting[number]
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, session: str, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        said = await self.call(
            "Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, f"{expression}: {said['exceptionDetails']}"
        return said["result"].get("value")

    async def event(self, method: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first event of this kind that is wanted, whether it came already or will come."""

        def found() -> dict[str, Any] | None:
            return next((said for name, said in self._events if name == method and wanted(said)), None)

        try:
            async with asyncio.timeout(CALL_S), self._came:
                event = await self._came.wait_for(found)
        except TimeoutError:
            names = sorted({name for name, _ in self._events})
            raise AssertionError(f"no {method} as wanted within {CALL_S:.0f} s, only {names}") from None
        assert event is not None
        return event

    async def attach(self, target: str) -> str:
        """The session with a page or a worker."""
        return str((await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"])

    async def listen(self) -> None:
        """Take what the browser says until the connection ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" not in said:
                async with self._came:
                    self._events.append((said["method"], said["params"]))
                    self._came.notify_all()
            elif (waiting := self._waiting.get(said["id"])) is not None and not waiting.done():
                waiting.set_result(said)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[DevTools]:
    """A connection to the browser whose DevTools listen at this address."""
    async with aiohttp.ClientSession() as client, client.ws_connect(address) as socket:
        tools = DevTools(socket)
        listening = asyncio.create_task(tools.listen())
        try:
            yield tools
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
