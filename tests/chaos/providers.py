"""The providers that a race's pushes go to, with faults of their own: APNs, FCM, a browser's push service."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from connectors.push.webpush.sender import topic
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.part import in_thread
from tests.support.providers.push_service import Service, keys, subscription

AWAY_S: Final = 0.5
"""For so long the push service answers nothing but 503."""


class Providers:
    """All of them running; a context manager. Raises `part.Unavailable` when one can't be had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._resources = ExitStack()
        self._apns = ApnsMock(folder / "apns")
        self._fcm = FcmFake()
        self._service = Service(201)
        self._origin = ""

    def __enter__(self) -> Self:
        with self._resources:
            self._resources.enter_context(self._apns)
            self._resources.enter_context(in_thread(self._fcm))
            self._origin = self._resources.enter_context(in_thread(self._service.running()))
            self._resources = self._resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def address(self, person: int) -> tuple[str, str]:
        """(provider, token) of a person: every other one has an iPhone."""
        match person % 4:
            case 1:
                return "fcm", f"token-{person}"
            case 3:
                return "web_push", subscription(self._origin)
            case _:
                return "apns", f"{person:064x}"

    def credentials(self, app: str, timeout_s: float) -> Path:
        """A file of credentials by which an app sends to them."""
        (self._folder / "account.json").write_text(self._fcm.account_file())
        private, _ = keys()
        (self._folder / "vapid.pem").write_text(private)
        file = self._folder / "credentials.yaml"
        file.write_text(
            self._apns.credentials(app, timeout_s).replace(
                f"  {app}:\n",
                f"  {app}:\n"
                f"    fcm: {{account_file: account.json, server: '{self._fcm.server}'}}\n"
                "    web_push:\n"
                "      key_file: vapid.pem\n      contact: mailto:push@shop.de\n"
                f"      services: ['{self._origin}']\n",
            )
        )
        return file

    def received(self, pushes: Iterable[str]) -> list[tuple[str, int]]:
        """(push id, when in ms) of each push that was taken; a push service knows only the ids' digests."""
        named = {topic(push): push for push in pushes}
        by_apns = [(push, ms) for push, _, ms in self._apns.accepted()]
        by_service = [(named.get(digest, digest), ms) for digest, ms in self._service.received]
        return by_apns + list(self._fcm.received) + by_service

    def counts(self) -> Counter[str]:
        """How many pushes each took, and what APNs answered."""
        found = Counter(self._apns.counts())
        found["accepted by FCM"] = len(self._fcm.received)
        found["accepted by the push service"] = len(self._service.received)
        return found

    @contextmanager
    def disturbed(self, seed: int) -> Iterator[None]:
        """Meanwhile each refuses some pushes for a time; APNs resets connections, or closes them well."""
        over, draw = threading.Event(), random.Random(seed)

        def disturb() -> None:
            while not over.wait(draw.uniform(1.0, 4.0)):
                match draw.randrange(6):
                    case 0:
                        self._apns.tell("cut", "rst", draw.randrange(1, 20))
                    case 1:
                        self._apns.tell("cut", "goaway", draw.randrange(1, 20))
                    case 2:
                        code = draw.choice(["UNAVAILABLE", "INTERNAL"])
                        self._fcm.refusals += [(code, "", "")] * draw.randrange(1, 15)
                    case 3:
                        self._service.status = 503
                        over.wait(AWAY_S)
                        self._service.status = 201
                    case _:
                        reason = draw.choice(["SERVICE_UNAVAILABLE", "SHUTDOWN"])
                        self._apns.tell("fail", reason, draw.randrange(1, 15))

        thread = threading.Thread(target=disturb, name="provider faults", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
