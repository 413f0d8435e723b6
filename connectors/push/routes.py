"""The way of each push: by its app and provider to the sender that holds their keys.

Keys are read again when their files change, without a restart; a file that has become wrong is told of, and
the keys that were good stay.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from connectors.errors import Misconfigured
from connectors.extras import require
from connectors.push.credentials import (
    Apns,
    App,
    Credentials,
    Fcm,
    State,
    WebPush,
    place_of,
    read_account,
    read_credentials,
    read_secret,
    state_of,
)
from connectors.push.pace import Pace
from connectors.push.paced import PacedSender, Told, unheard
from connectors.push.port import Outcome, Push, PushSender

log = logging.getLogger(__name__)

RELOAD_S: Final = 10.0
"""How often the files are looked at."""
CONSOLE: Final = "console"
NOT_CONFIGURED: Final = Outcome("rejected", "credential", "not_configured")

Way = tuple[str, str]
"""(app, provider)."""

ToldOf = Callable[[str], Told]
"""Who hears of a provider's answers."""


class Sender(PushSender, Protocol):
    """A way to a provider with the keys of one app."""

    def service_of(self, token: str, /) -> str:
        """Which of the provider's services an address is of; each is paced and judged by itself. Total."""

    async def close(self) -> None:
        """End all connections."""


class Routes:
    """A sender for all apps; what has no credentials is refused as `credential: not_configured`."""

    def __init__(
        self,
        file: Path | None,
        console: PushSender,
        wall_ms: Callable[[], int],
        told: ToldOf = lambda _: unheard,
        rate_max: float = math.inf,
    ) -> None:
        """`file`: of credentials; without one every push is refused but those to addresses of `console`.

        `told`: hears of each provider's answers. `rate_max`: pushes a second, whatever the file allows.

        Raises Misconfigured for a file or key of no use.
        """
        self._told = told
        self._rate_max = rate_max
        self._file = file
        self._console = console
        self._wall_ms = wall_ms
        self._looked_s = -math.inf
        self._closing: set[asyncio.Task[None]] = set()
        self._state: State = ()
        self._senders: dict[Way, Sender] = {}
        self._paced: dict[tuple[str, str, str], PacedSender] = {}
        """By app, provider and the provider's service; as many as services are named."""
        if file is not None:
            self._take(file, read_credentials(file))

    def paused_s(self, provider: str) -> float:
        """For how long an app's way to a provider is paused yet; the longest of all apps. From any thread."""
        now_s = time.monotonic()
        ways = list(self._paced.items())
        return max((one.pace.paused_s(now_s) for (_, to, _), one in ways if to == provider), default=0.0)

    @property
    def ways(self) -> list[Way]:
        """All (app, provider) that have credentials."""
        return list(self._senders)

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """See `PushSender.send`; different ways go side by side."""
        self._look()
        by_way: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for place, push in enumerate(pushes):
            way = self._senders.get((push.app, push.provider))
            service = "" if way is None else way.service_of(push.token)
            by_way[push.app, push.provider, service].append(place)
        outcomes: list[Outcome] = [NOT_CONFIGURED] * len(pushes)

        async def go(way: tuple[str, str, str], places: list[int]) -> None:
            sender = self._console if way[1] == CONSOLE else self._way(*way)
            if sender is None:
                return
            found = await sender.send([pushes[place] for place in places], until_s=until_s)
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome

        await asyncio.gather(*(go(way, places) for way, places in by_way.items()))
        return outcomes

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(sender.close() for sender in self._senders.values()), *self._closing)

    def _look(self) -> None:
        """Take new keys if the files changed."""
        now_s, file = time.monotonic(), self._file
        if file is None or now_s < self._looked_s + RELOAD_S:
            return
        self._looked_s = now_s
        if state_of(file, self._credentials) == self._state:
            return
        try:
            credentials = read_credentials(file)
            old = self._senders
            self._take(file, credentials)
        except Misconfigured as error:
            self._state = state_of(file, self._credentials)
            log.warning("the changed credentials are not taken, the old ones stay: %s", error)
            return
        log.info("took changed credentials of %d ways", len(self._senders))
        task = asyncio.create_task(_close_later(list(old.values()), 2 * self._credentials.timeout_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _take(self, file: Path, credentials: Credentials) -> None:
        state = state_of(file, credentials)
        senders: dict[Way, Sender] = {}
        for name, app in credentials.apps.items():
            senders |= self._senders_of(name, app, file, credentials.timeout_s)
        self._credentials, self._state, self._senders = credentials, state, senders
        self._paced = {}

    def _way(self, app: str, provider: str, service: str) -> PushSender | None:
        """The sender of a way that has credentials, at the pace that its provider's service bears."""
        sender = self._senders.get((app, provider))
        if sender is None:
            return None
        found = self._paced.get((app, provider, service))
        if found is None:
            rate = min(self._rate_max, self._credentials.apps[app].rate)
            found = PacedSender(sender, Pace(rate), self._told(provider))
            self._paced[app, provider, service] = found
        return found

    def _senders_of(self, name: str, app: App, file: Path, timeout_s: float) -> dict[Way, Sender]:
        found: dict[Way, Sender] = {}
        place = place_of("apps", name)
        if app.apns is not None:
            found[name, "apns"] = self._apns(app.apns, file, f"{place}.apns", timeout_s)
        if app.fcm is not None:
            found[name, "fcm"] = self._fcm(app.fcm, file, f"{place}.fcm", timeout_s)
        if app.web_push is not None:
            found[name, "web_push"] = self._web_push(app.web_push, file, f"{place}.web_push", timeout_s)
        return found

    # Vendors' libraries are loaded for those who use them: a console needs none.

    def _apns(self, part: Apns, file: Path, place: str, timeout_s: float) -> Sender:
        require("apns")
        from connectors.push.apns.sender import PRODUCTION, SANDBOX, ApnsCredential, ApnsSender

        key = read_secret(file, part.key_file, f"{place}.key_file").get_secret_value()
        server = SANDBOX if part.sandbox else PRODUCTION
        if part.server is not None:
            host, _, port = part.server.rpartition(":")
            server = host, int(port)
        trust = None
        if part.trust is not None:
            try:
                trust = ssl.create_default_context(cafile=str(file.parent / part.trust))
            except (OSError, ValueError):
                raise Misconfigured(f"{file}: {place}.trust names no readable certificates in PEM") from None
        credential = ApnsCredential(key, part.key_id, part.team_id, part.topic)
        return ApnsSender(credential, server=server, trust=trust, timeout_s=timeout_s)

    def _fcm(self, part: Fcm, file: Path, place: str, timeout_s: float) -> Sender:
        require("fcm")
        from connectors.push.fcm.sender import SERVER, FcmSender

        account = read_account(file, part.account_file, f"{place}.account_file")
        return FcmSender(account, self._wall_ms, server=part.server or SERVER, timeout_s=timeout_s)

    def _web_push(self, part: WebPush, file: Path, place: str, timeout_s: float) -> Sender:
        require("web-push")
        from connectors.push.webpush.sender import WebPushSender
        from connectors.push.webpush.subscription import SERVICES
        from connectors.push.webpush.vapid import Signer

        key = read_secret(file, part.key_file, f"{place}.key_file").get_secret_value()
        signer = Signer(key, part.contact, self._wall_ms)
        services = (*SERVICES, *part.services)
        return WebPushSender(signer, self._wall_ms, services=services, timeout_s=timeout_s)


async def _close_later(senders: list[Sender], after_s: float) -> None:
    """Close senders once nobody can still be waiting for their answers."""
    await asyncio.sleep(after_s)
    await asyncio.gather(*(sender.close() for sender in senders))
