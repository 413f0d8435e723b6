"""Derived identifiers: the same facts give the same ids on every replay and on every worker."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final
from zlib import crc32

_NAMESPACE: Final = uuid.UUID("6f2b7c1e-55a0-5d0c-9d7e-0c2f6a1e4b3d").bytes
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit that says which kind of UUID it is, by the one that it takes the place of."""


def derived(*parts: str) -> str:
    """Name something by what it is made of (UUID version 5 over the parts, NUL-separated)."""
    # As `uuid.uuid5` does, in a third of the time: every begun instance and every decision has several.
    digits = hashlib.sha1(_NAMESPACE + "\0".join(parts).encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def push_id(decision_id: str, installation_key: str) -> str:
    """Name one decided message to one installation."""
    return derived("push", decision_id, installation_key)


def short_mark(identifier: str) -> int:
    """32 bits of an id (its CRC-32), to tell a second copy from another fact that says the same."""
    return crc32(identifier.encode())


def short_hash(identifier: str) -> int:
    """64 bits of an id, to remember which ones were seen without keeping them whole."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "big")
