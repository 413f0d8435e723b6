"""Bodies of HTTP requests and answers: sized or chunked, compressed or not, never held whole."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.message import Message
from itertools import chain
from typing import Any, Final, Protocol

import lz4.frame

PIECE_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 1 << 10
COMPRESS_FROM_BYTES: Final = 1_400

DECOMPRESSORS: Final[Mapping[str, Callable[[], Any]]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "deflate": zlib.decompressobj,
}
COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "lz4": lz4.frame.compress,
    "gzip": lambda data: gzip.compress(data, 1),
}


class Readable(Protocol):
    """What a connection offers."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102 - as files do

    def readline(self, size: int, /) -> bytes: ...  # noqa: D102


class BrokenBody(ValueError):  # noqa: N818 - a property of the body
    """The body is cut short, or is not what its headers say."""


def raw_pieces(connection: Readable, headers: Message) -> Iterator[bytes]:
    """The body as it came, in pieces of at most `PIECE_BYTES`; raises BrokenBody if it is cut short."""
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        while size := _chunk_size(connection):
            yield from _sized(connection, size)
            connection.readline(LINE_BYTES_MAX)
        while connection.readline(LINE_BYTES_MAX).strip():
            pass  # trailers; the empty line ends them
    else:
        length = headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdecimal()):
            raise BrokenBody("Content-Length is not a number")
        yield from _sized(connection, int(length))


def decompressed(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The pieces without their Content-Encoding; raises BrokenBody, also for an unknown encoding."""
    if not encoding:
        yield from pieces
        return
    if encoding not in DECOMPRESSORS:
        raise BrokenBody(f"Content-Encoding {encoding} is not known here")
    decompressor = DECOMPRESSORS[encoding]()
    for received in pieces:
        piece = received
        try:
            while True:
                plain = decompressor.decompress(piece, PIECE_BYTES)
                if plain:
                    yield plain
                # zlib keeps what it did not unpack yet, lz4 remembers it by itself.
                piece = getattr(decompressor, "unconsumed_tail", b"") or b""
                if not piece and (len(plain) < PIECE_BYTES or decompressor.eof):
                    break
        except (RuntimeError, EOFError, zlib.error) as error:
            raise BrokenBody(f"the body is not {encoding}: {error}") from error


def compressed(data: bytes, accepted: str) -> tuple[bytes, str | None]:
    """The data in the first of our encodings that the client takes, and that encoding's name."""
    if len(data) >= COMPRESS_FROM_BYTES:
        names = {name.partition(";")[0].strip() for name in accepted.split(",")}
        for name, compress in COMPRESSORS.items():
            if name in names:
                return compress(data), name
    return data, None


def chained(head: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    """The non-empty pieces of both."""
    return (piece for piece in chain((head,), rest) if piece)


def _sized(connection: Readable, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = connection.read(min(left, PIECE_BYTES))
        if not piece:
            raise BrokenBody(f"the body ends {left} bytes early")
        left -= len(piece)
        yield piece


def _chunk_size(connection: Readable) -> int:
    line = connection.readline(LINE_BYTES_MAX)
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BrokenBody("the body ends in the middle of a chunk") from None
