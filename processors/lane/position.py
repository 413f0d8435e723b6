"""Where a partition's lane stands: the record that travels with every transaction."""

from __future__ import annotations

from typing import Final

import msgspec

POSITION_KEY: Final = b"\x00position"
"""Key of the position record in a changelog partition; no row's key starts with NUL."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """What a lane has folded of one partition number.

    `runs` lists (topic, first offset, next offset) of the last transaction in fold order. Under the event
    clock the order inside a transaction is given by the merge rule, and there is one run per topic.
    """

    version: int = 1
    next: dict[str, int] = {}
    runs: list[tuple[str, int, int]] = []
    now: int = 0
    done: bool = False


_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Position)


def encode(position: Position) -> bytes:
    """Write a position record."""
    return _encoder.encode(position)


def decode(raw: bytes) -> Position:
    """Read a position record. Raises `msgspec.DecodeError` for anything else."""
    return _decoder.decode(raw)
