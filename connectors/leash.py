"""Run a program that must not outlive its owner: `python -IS leash.py OWNER_PID PROGRAM ARGUMENT...`.

Asks the kernel to kill this process when its owner dies, keeps the files that it will make from other
accounts, then becomes the program (same pid). So a
`kill -9` of the owner leaves nothing behind. It is a program of its own because code between fork
and exec in a threaded parent may deadlock. Imports the standard library only, to start quickly.

The kernel watches the owner's *thread* that started us: start children from a thread that lives as
long as they do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Tie this process to `argv[0]` (the owner's pid) and become `argv[1:]`; never returns."""
    owner = int(argv[0])
    os.umask(0o077)  # what it writes holds delivery addresses: its owner's alone
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != owner:  # it died before the kernel was asked
            sys.exit(f"the owner {owner} is gone")
    try:
        os.execv(argv[1], argv[1:])  # noqa: S606 - the owner chose the program, no shell on purpose
    except OSError as error:
        sys.exit(f"cannot run {argv[1]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
