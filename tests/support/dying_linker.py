"""A journeys worker that is killed, once, between an acknowledged unlink and the link: `... MARKER ROLE`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger.facts import InstallationUnlinked
from processors.agents.identity_linker import IdentityLinker


def die_after_unlinks(marker: str) -> None:
    """The first set of unlinks that is acknowledged is the last thing that this process does."""
    if Path(marker).exists():
        return
    honest = IdentityLinker.announce

    async def announce(self: Any, partition: int, announcements: Sequence[Any]) -> None:
        unlinks = [one for one in announcements if isinstance(one, InstallationUnlinked)]
        if not unlinks:
            await honest(self, partition, announcements)
            return
        await honest(self, partition, unlinks)
        os.close(os.open(marker, os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)

    IdentityLinker.announce = announce  # type: ignore[method-assign]


if __name__ == "__main__":
    from processors.cli import main

    die_after_unlinks(sys.argv[1])
    sys.argv = ["optin", "worker", sys.argv[2]]
    main()
