"""One HTTP/2 connection to APNs on which every request gets an answer, or a word on why it has none.

aioapns' connection with what it lacks: it acknowledges the bodies that it receives (or 64 KiB of refusals
would be the last it ever gets), waits for the peer's flow control, ends a request whose stream was reset,
tells requests that were surely not taken from those that nobody knows about, and gives up one request
without harm to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from aioapns.connection import APNsTLSClientProtocol
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import NoAvailableStreamIDError, ProtocolError

from connectors.push.apns.answers import Answer
from connectors.push.apns.request import Headers
from connectors.push.failures import Lost, NotTaken

LOOK_S: Final = 0.1
"""How often requests are looked at for having waited too long."""
BODY_BYTES_MAX: Final = 16_384
"""Of an answer's body; Apple's have a few dozen bytes."""
WAITING_MAX: Final = 1_000
"""Requests in flight at most, whatever the peer allows: Apple allows as many."""


class Draining(H2ConnectionStateMachine):
    """Goes on receiving after GOAWAY: RFC 9113, 6.8: requests up to its last stream are still answered."""

    _transitions = {  # noqa: RUF012 - as the base class has it
        **H2ConnectionStateMachine._transitions,  # noqa: SLF001 - h2 has no setting for it
        (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN),
    }


class _Exchange:
    """A request on its way. `asked_s`: when it was written, by the monotonic clock."""

    __slots__ = ("answer", "asked_s", "body", "retry_after_s", "status")

    def __init__(self, answer: asyncio.Future[Answer], asked_s: float) -> None:
        self.answer = answer
        self.asked_s = asked_s
        self.status = 0
        self.retry_after_s: float | None = None
        self.body = b""


class ApnsConnection(APNsTLSClientProtocol):
    """A connection; `ready` is done once the peer has said how many requests it takes.

    `timeout_s`: a request that is not answered within it is `Lost`, and the server is told to forget it.
    """

    def __init__(self, timeout_s: float, on_lost: Callable[[ApnsConnection], None]) -> None:
        super().__init__("")
        self.conn = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.conn.state_machine = Draining()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.is_open = True
        """Whether it takes new requests."""
        self._on_lost = on_lost
        self._timeout_s = timeout_s
        self._exchanges: dict[int, _Exchange] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._heard_s = time.monotonic()
        self._flushing = False
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, headers: Headers, body: bytes) -> Answer:
        """Send a request and wait for its answer; raises `NotTaken` or `Lost`. Never sends it twice.

        Cancelled, the request is withdrawn from this side alone: the push may still be taken.
        """
        while self.is_open and not self._has_room(len(body)):
            turn = self.loop.create_future()
            self._waiting.append(turn)
            self._watch_time()
            try:
                await turn
            except asyncio.CancelledError:
                self._let_others()
                raise
        if not self.is_open:
            raise NotTaken("connection_closed")
        stream = self._written(headers, body)
        exchange = _Exchange(self.loop.create_future(), time.monotonic())
        self._exchanges[stream] = exchange
        self._watch_time()
        try:
            return await exchange.answer
        except asyncio.CancelledError:
            self._forget(stream)
            raise
        finally:
            self._exchanges.pop(stream, None)
            self._let_others()
            self._close_when_drained()

    def close(self) -> None:
        """Take no more requests; end once those on their way are answered."""
        self.is_open = False
        self._let_others()
        self._close_when_drained()

    def abort(self) -> None:
        """End at once, whatever is on its way."""
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()

    def refresh_inactivity_timer(self) -> None:
        """Apple wants connections to stay open: a quiet one is not closed."""

    def data_received(self, data: bytes) -> None:
        """See asyncio: hand answers to their requests."""
        self._heard_s = time.monotonic()
        try:
            events = self.conn.receive_data(data)
        except ProtocolError:
            self.is_open = False
            self.abort()
            return
        for event in events:
            if isinstance(event, ResponseReceived):
                self._on_headers(event)
            elif isinstance(event, DataReceived):
                self._on_data(event)
            elif isinstance(event, StreamEnded):
                self._on_end(event.stream_id)
            elif isinstance(event, StreamReset):
                self._on_reset(event)
            elif isinstance(event, ConnectionTerminated):
                self._on_goaway(event)
            elif isinstance(event, RemoteSettingsChanged):
                if not self.ready.done():
                    self.ready.set_result(None)
                self._let_others()
            elif isinstance(event, WindowUpdated):
                self._let_others()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio: whatever was written and not answered is lost; whatever waited was not taken."""
        del exc
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
        if not self.ready.done():
            self.ready.set_exception(NotTaken("connection_closed"))
            self.ready.exception()  # somebody may have stopped waiting for it
        for exchange in self._exchanges.values():
            if not exchange.answer.done():
                exchange.answer.set_exception(Lost("connection_lost"))
        self._let_others()
        self.closed.set_result(None)
        self._on_lost(self)

    # -- Sending -----------------------------------------------------------------------------------

    def _has_room(self, length: int) -> bool:
        most = min(WAITING_MAX, self.conn.remote_settings.max_concurrent_streams)
        return (
            len(self._exchanges) < most
            and self.conn.outbound_flow_control_window >= length
            and self.conn.remote_settings.initial_window_size >= length
        )

    def _written(self, headers: Headers, body: bytes) -> int:
        try:
            stream = self.conn.get_next_available_stream_id()
        except NoAvailableStreamIDError:
            self.close()
            raise NotTaken("streams_used_up") from None
        self.conn.send_headers(stream, headers)
        self.conn.send_data(stream, body, end_stream=True)
        self._flush_soon()
        return stream

    def _flush_soon(self) -> None:
        """One write for all requests of a turn of the loop: a TLS record and a system call less for each."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is to be written."""
        self._flushing = False
        assert self.transport is not None
        data = self.conn.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _let_others(self) -> None:
        """Wake as many of those that wait as there may be room for."""
        room = len(self._waiting) if not self.is_open else WAITING_MAX - len(self._exchanges)
        while self._waiting and room > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    # -- Receiving ---------------------------------------------------------------------------------

    def _on_headers(self, event: Any) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        for name, value in event.headers:
            if name == b":status":
                exchange.status = int(value)
            elif name == b"retry-after":
                with contextlib.suppress(ValueError):
                    exchange.retry_after_s = float(value)

    def _on_data(self, event: Any) -> None:
        self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None and len(exchange.body) < BODY_BYTES_MAX:
            exchange.body += event.data

    def _on_end(self, stream: int) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None or exchange.answer.done():
            return
        reason, timestamp = _told(exchange.body) if exchange.body else ("", None)
        exchange.answer.set_result(Answer(exchange.status, reason, timestamp, exchange.retry_after_s))

    def _on_reset(self, event: Any) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None or exchange.answer.done():
            return
        refused = event.error_code == ErrorCodes.REFUSED_STREAM  # RFC 9113, 8.7: not processed
        exchange.answer.set_exception(NotTaken("refused_stream") if refused else Lost("stream_reset"))

    def _on_goaway(self, event: Any) -> None:
        """Streams above the last one were not processed (RFC 9113, 6.8); the others may still be answered."""
        self.is_open = False
        for stream, exchange in self._exchanges.items():
            if stream > event.last_stream_id and not exchange.answer.done():
                exchange.answer.set_exception(NotTaken("goaway"))
        self._let_others()
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self.is_open or self._exchanges or self.transport is None:
            return
        # Once only: the second close() of a TLS transport makes its abort() do nothing.
        if not self.transport.is_closing():
            self.transport.close()

    # -- Time --------------------------------------------------------------------------------------

    def _watch_time(self) -> None:
        if self._watch is None:
            self._watch = self.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """End requests that waited too long. One look for all: a timer for each would cost too much."""
        self._watch = None
        too_old_s = time.monotonic() - self._timeout_s
        late = []
        for stream, exchange in self._exchanges.items():  # the oldest first
            if exchange.asked_s > too_old_s:
                break
            late.append((stream, exchange))
        for stream, exchange in late:
            if not exchange.answer.done():
                self._forget(stream)
                exchange.answer.set_exception(Lost("timeout"))
        if late and self._heard_s <= late[-1][1].asked_s:
            # Not a word since then: the path is dead, whatever the sockets say.
            self.is_open = False
            self._let_others()
        if self._exchanges or self._waiting:
            self._watch_time()

    def _forget(self, stream: int) -> None:
        """Tell the server that nobody waits for this answer, so that its place is free again."""
        with contextlib.suppress(ProtocolError):
            self.conn.reset_stream(stream, ErrorCodes.CANCEL)
            self._flush_soon()


def _told(body: bytes) -> tuple[str, int | None]:
    """The reason and the timestamp (ms) in an answer's body."""
    try:
        found = json.loads(body)
    except ValueError:
        return "unreadable", None
    if not isinstance(found, dict):
        return "unreadable", None
    timestamp = found.get("timestamp")
    return str(found.get("reason", "")), timestamp if isinstance(timestamp, int) else None
