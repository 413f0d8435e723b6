"""Pushes as lines of JSON in a file: what a phone would have shown, for demos, replays and tests."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from connectors.push.port import LEASE_OVER, Outcome, Push


class ConsoleSender:
    """Appends one line for each push. A set of lines is one write, so a kill leaves whole lines or none.

    Lines carry no delivery address and no subject.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """Write all lines; every push is accepted."""
        if time.monotonic() >= until_s:
            return [LEASE_OVER] * len(pushes)
        if not pushes:
            return []
        lines = [
            json.dumps(
                {
                    "push_id": push.push_id,
                    "app": push.app,
                    "provider": push.provider,
                    "title": push.title,
                    "body": push.body,
                }
            )
            for push in pushes
        ]
        os.write(self._file, ("\n".join(lines) + "\n").encode())
        return [Outcome("accepted") for _ in pushes]
