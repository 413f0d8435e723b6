"""Derived identifiers: the same facts give the same ids on every replay and on every worker."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("6f2b7c1e-55a0-5d0c-9d7e-0c2f6a1e4b3d")


def derived(*parts: str) -> str:
    """Name something by what it is made of (UUID version 5 over the parts, NUL-separated)."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))


def push_id(decision_id: str, installation_key: str) -> str:
    """Name one decided message to one installation."""
    return derived("push", decision_id, installation_key)


def short_hash(identifier: str) -> int:
    """64 bits of an id, to remember which ones were seen without keeping them whole."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "big")
