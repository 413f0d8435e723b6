"""Headless Chromium as a process of ours, with a fresh profile; it is told what to do by `devtools`."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connectors import child
from connectors.loopback import HOST
from tests.support.providers.part import Unavailable

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
START_S: Final = 30.0
POLL_S: Final = 0.02
FLAGS: Final = (
    "--headless=new",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it little
    "--remote-debugging-port=0",  # it chooses a free one itself and says which
)


class Chromium:
    """The running browser; a context manager. `folder` is to be empty: profile and log go there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: child.Process | None = None
        self.address = ""
        """The websocket of its DevTools."""

    def __enter__(self) -> Self:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise Unavailable(
                "Chromium is not installed (Debian: apt-get install --no-install-recommends chromium)"
            )
        profile, log = self._folder / "profile", self._folder / "chromium.log"
        # Its sandbox does not work for root, whom containers have.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = child.spawn([program, *FLAGS, *sandbox, f"--user-data-dir={profile}"], log=log)
        try:
            self.address = self._told(profile / "DevToolsActivePort", log)
        except BaseException:
            child.stop(self._process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        child.stop(self._process)

    def _told(self, file: Path, log: Path) -> str:
        """The address that Chromium writes down once it listens: the port and, on a second line, the path."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            port, end, path = (file.read_text() if file.exists() else "").partition("\n")
            if end and path.strip():
                return f"ws://{HOST}:{port}{path.strip()}"
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"Chromium did not start: {child.last_lines(log, 5)}")
            time.sleep(POLL_S)
