"""HTTP/1.1 on one connection: uvicorn's protocol on h11, with the limits of ``connection_limits`` and a strict parser.

uvicorn takes a protocol class (``http=``), and has no option for what is added here: the number of connections before
a request, the time of heads and bodies, and the refusal of requests that two readers may take for different ones.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.web.connection_limits import ConnectionRegister, LimitedConnection, Phase, PhaseKind

LONGEST_HEAD: Final = 16 * 1024  # Request line and headers.
_FULL_TEXT: Final = b"Too many connections: try again later"
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 10\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_FULL_TEXT), _FULL_TEXT)
)
_END_OF_HEAD: Final = b"\r\n\r\n"
# A line that ends with LF or CR alone, and one that goes on in the next (obs-fold).
_ODD_LINES: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]")
_VERSIONS: Final = (b"1.0", b"1.1")


class StrictConnection(h11.Connection):
    """h11's parser, which refuses a head that a proxy before us may read otherwise (RFC 9112, 2.2, 5.2 and 6.1)."""

    def next_event(self) -> Any:
        """Return the next event. Raises RemoteProtocolError, which is answered with 400 and the connection's end."""
        if self.their_state is h11.IDLE:
            _check_lines(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            _check_framing(event)
        return event


def _check_lines(received: bytes) -> None:
    end = received.find(_END_OF_HEAD)
    head = received if end < 0 else received[:end]
    if len(head) > LONGEST_HEAD:
        raise h11.RemoteProtocolError("the head is too long")
    if _ODD_LINES.search(head):
        raise h11.RemoteProtocolError("a line has an odd end")


def _check_framing(request: h11.Request) -> None:
    names = {name for name, _ in request.headers}
    if request.http_version not in _VERSIONS:
        raise h11.RemoteProtocolError("another version of HTTP")
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("two lengths of one body")


class BoundedProtocol(H11Protocol, LimitedConnection):
    """A connection that is admitted by ``register``, and cut by it when it takes too long."""

    register: ClassVar[ConnectionRegister]
    peer = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection(h11.SERVER, LONGEST_HEAD)
        self.received = 0  # Bytes since the head of the present request.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        if self.register.enter(self, time.monotonic()):
            super().connection_made(transport)
            return
        transport.write(_FULL)
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.register.leave(self):
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        super().data_received(data)
        self.received = self.received + len(data) if self.cycle is cycle else 0
        if self._is_answered_early() and self.received > self.register.limits.rest_bytes:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is none. Where its answer has begun or is over, only the end is left.

        The application, which may be at work on it, is told that nobody listens.
        """
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def phase(self) -> Phase | None:
        """Return what the other side must end."""
        unsent = self.transport.get_write_buffer_size()
        if self.transport.is_closing() or unsent:
            return Phase(PhaseKind.ANSWER, (id(self.cycle), unsent))
        if self.conn.their_state is h11.SEND_BODY:
            kind = PhaseKind.REST if self._is_answered_early() else PhaseKind.BODY
            return Phase(kind, id(self.cycle))
        if self.conn.their_state is h11.IDLE:
            # A connection that is kept alive ends by uvicorn's own timer; its next head begins with the first byte.
            return Phase(PhaseKind.HEAD, (id(self.cycle), self.cycle is not None and self.conn.trailing_data[0] != b""))
        return None

    def cut(self) -> None:
        self.transport.abort()

    def _is_answered_early(self) -> bool:
        is_over = self.cycle is not None and self.cycle.response_complete
        return is_over and self.conn.their_state is h11.SEND_BODY
