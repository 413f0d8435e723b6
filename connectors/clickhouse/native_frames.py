"""ClickHouse's own compressed frames, as `compress=1` and `decompress=1` ask for them in HTTP bodies.

A frame is a CityHash128 (version 1.0.2, 16 bytes, little-endian) of what follows, the method (1 byte), the
sizes with this header of 9 bytes and without compression (UInt32 each), and the data. Source:
https://clickhouse.com/docs/native-protocol/compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from connectors.clickhouse.http_bodies import BrokenBody

FRAME_BYTES: Final = 1 << 20
"""What a frame that we write holds before it is compressed, as the server's do."""
FRAME_BYTES_MAX: Final = 16 << 20
"""What a frame that we read may hold, compressed or not."""
LZ4: Final = 0x82
NONE: Final = 0x02
_CHECKSUM: Final = struct.Struct("<QQ")
_HEADER: Final = struct.Struct("<BII")


def framed(data: bytes) -> bytes:
    """The data in frames; one empty answer is no frame at all."""
    return b"".join(_frame(data[at : at + FRAME_BYTES]) for at in range(0, len(data), FRAME_BYTES))


def _frame(plain: bytes) -> bytes:
    packed: bytes = lz4.block.compress(plain, store_size=False)
    rest = _HEADER.pack(LZ4, _HEADER.size + len(packed), len(plain)) + packed
    return _CHECKSUM.pack(*_checksum(rest)) + rest


def unframed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What the frames of a body hold, frame by frame. Raises BrokenBody."""
    left = _Reader(pieces)
    while (head := left.take(_CHECKSUM.size + _HEADER.size, may_end=True)) is not None:
        method, size, plain_size = _HEADER.unpack_from(head, _CHECKSUM.size)
        if not _HEADER.size <= size <= FRAME_BYTES_MAX or plain_size > FRAME_BYTES_MAX:
            raise BrokenBody("a compressed frame has a size beyond all bounds")
        packed = left.take(size - _HEADER.size) or b""
        if _CHECKSUM.unpack_from(head) != _checksum(head[_CHECKSUM.size :] + packed):
            raise BrokenBody("the checksum of a compressed frame is wrong")
        yield _unpacked(method, packed, plain_size)


def _unpacked(method: int, packed: bytes, plain_size: int) -> bytes:
    if method == NONE:
        return packed
    if method != LZ4:
        raise BrokenBody(f"compression method {method:#x} is not known here: use LZ4")
    try:
        plain: bytes = lz4.block.decompress(packed, uncompressed_size=plain_size)
    except lz4.block.LZ4BlockError as error:
        raise BrokenBody("a compressed frame is no LZ4") from error
    return plain


def _checksum(data: bytes) -> tuple[int, int]:
    both = CityHash128(data)  # the library has the first half, which ClickHouse writes first, on top
    return both >> 64, both & (2**64 - 1)


class _Reader:
    """Bytes of pieces, so many at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._kept = bytearray()

    def take(self, size: int, *, may_end: bool = False) -> bytes | None:
        """The next `size` bytes; None if nothing is left and that is no fault. Raises BrokenBody."""
        while len(self._kept) < size:
            piece = next(self._pieces, None)
            if piece is None:
                if may_end and not self._kept:
                    return None
                raise BrokenBody("the body ends within a compressed frame")
            self._kept += piece
        taken = bytes(self._kept[:size])
        del self._kept[:size]
        return taken
