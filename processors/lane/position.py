"""Where a partition's lane stands: the record that travels with every transaction."""

from __future__ import annotations

from typing import Final

import msgspec

POSITION_KEY: Final = b"\x00position"
"""Key of the position record in a changelog partition; no row's key starts with NUL."""


VERSION: Final = 2
"""2 added `rows`. Raised with every element: an older binary would drop it with its next transaction."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """What a lane has folded of one partition number.

    `runs` lists (topic, first offset, next offset) of the last transaction in fold order. Under the event
    clock the order inside a transaction is given by the merge rule, and there is one run per topic. `rows` is
    the version of the rows that stand beside it (`RowCodec.version` of who wrote last).
    """

    version: int = VERSION
    next: dict[str, int] = {}
    runs: list[tuple[str, int, int]] = []
    now: int = 0
    done: bool = False
    rows: int = 1


class _Version(msgspec.Struct, frozen=True, array_like=True):
    """The first element of any version's position; the rest is not looked at."""

    version: int


_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Position)
_versions = msgspec.msgpack.Decoder(_Version)


def encode(position: Position) -> bytes:
    """Write a position record."""
    return _encoder.encode(position)


def decode(raw: bytes) -> Position:
    """Read a position record. Raises ValueError for one of a newer binary, `msgspec.DecodeError` for junk."""
    version = _versions.decode(raw).version
    if version > VERSION:
        raise ValueError(
            f"it was written as version {version}, this binary knows {VERSION}: run the version of optin that"
            " wrote it, or a later one"
        )
    return _decoder.decode(raw)
