"""A TCP proxy between a client and a server that a test makes bad: slow, silent, dead or reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, Literal, Self

CHUNK: Final = 1 << 16

Mode = Literal["passes", "swallows", "hears_nothing"]
"""`swallows`: a black hole, sockets stay open and nothing gets through; `hears_nothing`: a half-open
connection, requests get through and no answer comes back."""


class DisturbedPath:
    """Listens on a port of its own, and passes on to `port`; an async context manager."""

    def __init__(self, port: int) -> None:
        self.mode: Mode = "passes"
        self.delay_s = 0.0
        self.port = 0
        self.connections = 0
        self._to = port
        self._server: asyncio.Server | None = None
        self._sides: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Reset all connections, and listen no more."""
        assert self._server is not None
        self._server.close()
        self.reset()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await asyncio.sleep(0)  # transports end in the loop's next turn

    def reset(self) -> None:
        """End all connections with a TCP reset, to both sides."""
        for side in list(self._sides):
            if not side.is_closing():
                sock = side.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.transport.abort()
        self._sides.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._sides |= {writer, there_writer}
        for source, sink, is_answer in ((reader, there_writer, False), (there_reader, writer, True)):
            pump = asyncio.create_task(self._pump(source, sink, is_answer=is_answer))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        try:
            while data := await source.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.mode == "swallows" or (self.mode == "hears_nothing" and is_answer):
                    continue
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
