"""Confines this process by the kernel (Landlock): to files that it was given, without connections.

What is refused stays refused for the process, for each thread that it starts later, and for its children. So
it is called before threads are started. Source: https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
"""Rights that make sense for a file: also to truncate it, and to control a device."""
_FS_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files each version of the interface has; 16 from the fifth on."""
_CONNECT_TCP: Final = 2
_NETWORK_SINCE: Final = 4
_SCOPES_SINCE: Final = 6
_SCOPES: Final = 3
"""No abstract sockets and no signals of processes outside."""


def confine(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Leave this process, and what it starts, these files and folders, with all beneath.

    From Linux 6.7 on it opens no TCP connection either. False where the kernel can't (before Linux 5.13, or
    switched off): then nothing is refused. A path that does not exist is left out. Raises OSError if the
    kernel can and does not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    handled = (1 << _FS_BITS.get(version, 16)) - 1
    attributes = struct.pack(
        "=QQQ",
        handled,
        _CONNECT_TCP if version >= _NETWORK_SINCE else 0,
        _SCOPES if version >= _SCOPES_SINCE else 0,
    )
    size = 8 + 8 * (version >= _NETWORK_SINCE) + 8 * (version >= _SCOPES_SINCE)
    ruleset = _checked(libc, _CREATE_RULESET, attributes, size, 0)
    try:
        for paths, rights in ((read, _READ), (write, handled)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
        _checked(libc, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if path.is_dir() else rights & _OF_FILES
        _checked(libc, _ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
    finally:
        os.close(place)


def _checked(libc: ctypes.CDLL, call: int, *arguments: object) -> int:
    result: int = libc.syscall(call, *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
