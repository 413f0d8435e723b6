"""The npm package web-push-testing: a push service that checks our signature and decrypts what we sent."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from connectors.kafka.jars import cache_folder
from connectors.loopback import answers, choose_port
from tests.support.providers.part import Unavailable

PACKAGE: Final = "web-push-testing@1.2.2"
SCRIPT: Final = Path(__file__).with_name("web_push_mock.js")
START_S: Final = 30.0
INSTALL_S: Final = 180.0


def modules() -> Path:
    """The folder of node modules; raises `Unavailable` when there is no node or nothing to fetch from."""
    folder = cache_folder() / PACKAGE.replace("@", "-")
    found = folder / "node_modules"
    if not shutil.which("node") or not shutil.which("npm"):
        raise Unavailable("node and npm are not installed (Debian: apt-get install nodejs npm)")
    if not (found / "web-push-testing").exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
                str(folder),
                PACKAGE,
            ],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{PACKAGE} can't be fetched from npm: {done.stderr[-300:]}")
    return found


class WebPushMock:
    """The running push service; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        found = modules()
        self.port = choose_port(0, 0)
        with (self._folder / "web-push.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(SCRIPT), str(found), str(self.port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self._folder / "web-push.log").read_text()[-500:]
                raise Unavailable(f"web-push-testing did not start: {words}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def origin(self) -> str:
        """The address that takes a push service's place."""
        return f"http://localhost:{self.port}"

    def subscribe(self, public_key: str) -> tuple[str, str]:
        """(a subscription as JSON, the mock's name for it) to pushes that are signed with this key."""
        told = self._post("subscribe", {"applicationServerKey": public_key})["data"]
        return json.dumps({"endpoint": told["endpoint"], "keys": told["keys"]}), told["clientHash"]

    def expire(self, name: str) -> None:
        """The subscription is over."""
        self._asked(f"expire-subscription/{name}", {})

    def received(self, name: str) -> list[str]:
        """What the subscriber got, decrypted."""
        told = self._post("get-notifications", {"clientHash": name})
        return [str(message) for message in told["data"]["messages"]]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self._asked(path, body))

    def _asked(self, path: str, body: dict[str, Any]) -> bytes:
        request = urllib.request.Request(
            f"{self.origin}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            read: bytes = answer.read()
        return read
