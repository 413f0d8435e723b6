"""Where a key belongs: the one rule of placement that every producer and every reader shares."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

POSITIVE: Final = 0x7FFFFFFF
PLACES_MAX: Final = 1 << 17
"""Keys whose partition is remembered: murmur2 in Python costs more than the rest of a record."""


@lru_cache(PLACES_MAX)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a record's key, as Java's default partitioner places it: murmur2, made positive."""
    return int((murmur2(key) & POSITIVE) % partitions)
