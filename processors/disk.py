"""Whether there is room on the disk of a folder; what is full is said in words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

FULL_BYTES: Final = 64 << 20
"""Less than this is full: Kafka and ClickHouse still stop cleanly with it."""
GO_ON_BYTES: Final = 256 << 20
"""Work goes on with so much, which is more: else it would stop at once again."""


class Disk:
    """The disk of a folder; asked again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._was_full = False

    def __call__(self) -> str | None:
        """What is full, or None."""
        usage = shutil.disk_usage(self._folder)
        bound = min(GO_ON_BYTES if self._was_full else FULL_BYTES, usage.total // 4)
        self._was_full = usage.free < bound
        if not self._was_full:
            return None
        enough = min(GO_ON_BYTES, usage.total // 4) >> 20
        return (
            f"the disk of {self._folder} is full ({usage.free >> 20} MB free): everything is stopped cleanly,"
            f" and goes on by itself once there are {enough} MB"
        )
