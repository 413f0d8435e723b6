"""The example app in a real browser: subscribed through its page, reached through its service worker.

No push service can be reached from a test, so two things are not the browser's own. The page is given a
subscription of a stand-in, and a push comes from DevTools, as text that is decrypted already. Nor is there
anybody to click: the event is dispatched in the worker. All else is real, the notification included.
"""

from __future__ import annotations

import json
from typing import Any, Final, Self

from tests.support.browser.devtools import DevTools

SUBSCRIBED: Final = """
PushManager.prototype.subscribe = async (options) => {
  globalThis.subscribedWith = options;
  return { toJSON: () => (%s) };
};
"""
NOTIFICATIONS: Final = """
navigator.serviceWorker.ready
  .then((registration) => registration.getNotifications())
  .then((found) => found.map(({ title, body, tag, image, data }) => ({ title, body, tag, image, data })))
"""
OPENED: Final = """
globalThis.openedWindows = [];
clients.openWindow = async (link) => { openedWindows.push(link); return null; };
"""
"""Only a person's own click may open a window, so what was asked for is noted instead."""
HAPPENED: Final = """
(async () => {
  const [notification] = await registration.getNotifications({ tag: %(tag)s });
  const event = new NotificationEvent(%(kind)s, { notification });
  if (%(closed)s) notification.close();
  const awaited = [];
  event.waitUntil = (promise) => awaited.push(promise);  // the browser's own refuses events of a script
  dispatchEvent(event);
  await Promise.all(awaited);
  return awaited.length;
})()
"""


class WebApp:
    """The app, open and subscribed; made by `open`."""

    def __init__(self, tools: DevTools, origin: str, page: str, worker: str, registration: str) -> None:
        self._tools = tools
        self._origin = origin
        self._page = page
        self._worker = worker
        self._registration = registration

    @classmethod
    async def open(cls, tools: DevTools, origin: str, subscription: str) -> Self:
        """Open the page at `origin` for somebody who allows notifications; it will get this subscription."""
        await tools.call("Browser.grantPermissions", permissions=["notifications"], origin=origin)
        await tools.call("Target.setDiscoverTargets", discover=True)
        target = (await tools.call("Target.createTarget", url="about:blank"))["targetId"]
        page = await tools.attach(target)
        await tools.call("Page.enable", page)
        await tools.call("Page.addScriptToEvaluateOnNewDocument", page, source=SUBSCRIBED % subscription)
        await tools.call("ServiceWorker.enable", page)
        await tools.call("Page.navigate", page, url=f"{origin}/")

        def active(said: dict[str, Any]) -> bool:
            return any(
                version["status"] == "activated" and version["scriptURL"].startswith(origin)
                for version in said["versions"]
            )

        versions = (await tools.event("ServiceWorker.workerVersionUpdated", active))["versions"]
        started = await tools.event(
            "Target.targetCreated", lambda said: said["targetInfo"]["type"] == "service_worker"
        )
        worker = await tools.attach(started["targetInfo"]["targetId"])
        await tools.evaluate(worker, OPENED)
        return cls(tools, origin, page, worker, versions[0]["registrationId"])

    async def subscribe(self) -> str:
        """Press the page's button; returns the key that it subscribed with."""
        await self._tools.evaluate(self._page, "document.querySelector('button').onclick()")
        said = await self._tools.evaluate(self._page, "document.querySelector('output').value")
        assert said == "You will hear from us.", said
        return str(await self._tools.evaluate(self._page, "subscribedWith.applicationServerKey"))

    async def push(self, text: str) -> None:
        """A push comes, decrypted."""
        await self._tools.call(
            "ServiceWorker.deliverPushMessage",
            self._page,
            origin=self._origin,
            registrationId=self._registration,
            data=text,
        )

    async def notifications(self) -> list[dict[str, Any]]:
        """What the person sees now."""
        found: list[dict[str, Any]] = await self._tools.evaluate(self._page, NOTIFICATIONS)
        return found

    async def click(self, tag: str) -> None:
        """The person clicks the notification of this tag; the worker has done all that it wants to do."""
        await self._happened("notificationclick", tag, closed=False)

    async def dismiss(self, tag: str) -> None:
        """The same for taking it away."""
        await self._happened("notificationclose", tag, closed=True)

    async def opened(self) -> list[str]:
        """The windows that the worker asked for."""
        found: list[str] = await self._tools.evaluate(self._worker, "openedWindows")
        return found

    async def _happened(self, kind: str, tag: str, *, closed: bool) -> None:
        words = {name: json.dumps(said) for name, said in (("kind", kind), ("tag", tag), ("closed", closed))}
        assert await self._tools.evaluate(self._worker, HAPPENED % words), f"the worker ignores {kind}"
