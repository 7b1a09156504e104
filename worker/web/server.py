"""The HTTP server (uvicorn) of the web application, the limits of its connections, and a thread for mails.

There is no access log, because a request's address may name an account. Repeated log lines of the server are logged
once a minute, with the number of lines left out.

Connections use uvicorn's HTTP/1.1 protocol on h11, with a stricter parser. Our protocol class is given to uvicorn
(``http=``), which has no options for what the class adds: a limit on connections that applies before their first
request; limits of time for heads and bodies; the refusal of requests that two parsers may read differently.

``ConnectionRegister`` admits connections and, once a second, cuts those that are overdue. One sweep over at most a
thousand connections replaces a timer for each. All methods of the register are called by the event loop.

The thread of ``releve web`` mails notices to households, because workers can't read the households' addresses. Workers
insert the notices, except those of months by mail, for which this thread looks once an hour. With several web processes
each notice is still sent once: a sender claims it first.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from traceback import walk_tb
from typing import Any, ClassVar, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.accounts.notice_channels import NoticeChannels
from worker.accounts.notices import NoticeSender
from worker.errors import WorkerError
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.runtime.web_access import WebAccess
from worker.stores.sockets import address_of, listen
from worker.web.client_addresses import network_of
from worker.web.error_pages import AbortedAnswer
from worker.web.month_mail import MonthMails

log = logging.getLogger("releve.web")
notices_log = logging.getLogger("releve.notices")
_SHUTDOWN_GRACE_S: Final = 2  # For requests still running; progress streams end by themselves.
_SWEEP_EVERY_S: Final = 1.0
_LOG_EVERY_S: Final = 60.0
_MOST_KINDS: Final = 200  # Kinds of log lines remembered; the kind not seen for longest goes first.
# A client that sends odd or many requests must not fill the log with lines of uvicorn and the event loop.
_LOGGERS: Final = ("uvicorn.error", "asyncio")
_REQUEST_LINES: Final = frozenset({"request not served"})
_NOTICES_EVERY_S: Final = 60.0
_MONTHS_EVERY_S: Final = 3600.0
_MAIL_GRACE_S: Final = 20.0  # How long shutdown waits for a mail; an interrupted mail is sent again later.
LONGEST_HEAD: Final = 16 * 1024  # Request line and headers.
_FULL_TEXT: Final = b"Too many connections: try again later"
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 10\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_FULL_TEXT), _FULL_TEXT)
)
_END_OF_HEAD: Final = b"\r\n\r\n"
# Finds a line that ends with only LF or CR, or that continues in the next line (obs-fold).
_ODD_LINES: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]")
_VERSIONS: Final = (b"1.0", b"1.1")
# File descriptors that the process needs besides those of connections.
_OTHER_DESCRIPTORS: Final = 256


def serve(app: ASGIApp, host: str, port: int, on_start: Callable[[str], None], proxies: str | None) -> None:
    """Serve until interrupted. ``on_start`` is called with the address, because port 0 picks a free port.

    ``proxies``: the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed; None if no proxy is trusted.
    Raises OSError if the port is taken.
    """
    with listen(host, port) as listener:
        server = WebServer(app, fit_descriptors(ConnectionLimits()), proxies)
        on_start(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run(listener)


class WebServer:
    """uvicorn with limits on its connections. ``sweep_every_s`` is only for tests."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        proxies: str | None = None,
        sweep_every_s: float = _SWEEP_EVERY_S,
    ) -> None:
        self._sweep_every_s = sweep_every_s
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # The process has configured its logging already.
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=proxies is not None,
            forwarded_allow_ips=proxies,
            backlog=limits.waiting,  # For the socket's queue; the event loop accepts up to as many at a time.
            timeout_graceful_shutdown=_SHUTDOWN_GRACE_S,
        )
        trusted = ProxyHeadersMiddleware(config.app, proxies or []).trusted_hosts  # type: ignore[arg-type]
        self.connections = ConnectionRegister(limits, lambda peer: peer in trusted)
        config.http = type("WebProtocol", (BoundedProtocol,), {"register": self.connections})
        self._server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None

    def run(self, listener: socket.socket) -> None:
        """Serve until interrupted, or until ``stop`` is called."""
        with limit_repeated_lines():
            asyncio.run(self._serve(listener))

    def stop(self) -> None:
        self._server.should_exit = True

    async def _serve(self, listener: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        sweeps = asyncio.create_task(self._sweep())
        try:
            await self._server.serve(sockets=[listener])
        finally:
            sweeps.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            self.connections.sweep(time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one process. IPv6 addresses of the same /64 network count together.

    ``head_s`` and ``body_s``: how long a head or a body may take. A body may take longer if it arrives at ``body_rate``
    bytes a second or faster. If the answer is sent before the body's end, the rest of the body may take ``rest_s``, or
    longer at ``dropped_rate`` bytes a second or faster. Beyond ``rest_bytes`` of the body, those before the answer
    included, the connection is closed. But a body whose declared length is at most ``dropped_bytes`` is read to its
    end, because browsers show an answer only after they have sent the whole body. ``stalled_s``: how long a client may
    receive nothing of an answer.
    """

    connections: int = 1000
    of_address: int = 50
    waiting: int = 512
    head_s: float = 10
    body_s: float = 30
    body_rate: int = 1000
    rest_s: float = 5
    rest_bytes: int = 64 * 1024
    dropped_bytes: int = 64 * 1024**2
    dropped_rate: int = 50_000
    stalled_s: float = 30


def fit_descriptors(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise this process's limit of open files if necessary and possible, and return limits that fit it.

    Without a free descriptor the event loop can't accept, and logs a traceback for each try.
    """
    wanted = limits.connections + limits.waiting + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return limits if soft >= wanted else replace(limits, connections=soft // 2, waiting=soft // 4)


class PhaseKind(StrEnum):
    """What the client must do: send a head, a body, or the rest of a body that is already answered; or receive."""

    HEAD = "head"
    BODY = "body"
    REST = "rest"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase that the client must end in time; a later phase of the same kind has another ``mark``."""

    kind: PhaseKind
    mark: Hashable


class LimitedConnection(ABC):
    """A connection as the register sees it. ``peer``: its address. ``received``: bytes of the current body so far."""

    peer: str
    received: int

    @abstractmethod
    def phase(self) -> Phase | None:
        """Return the phase that the client must end; None while only the application is working."""

    @abstractmethod
    def cut(self) -> None:
        """Close the connection at once."""


class ConnectionRegister:
    """The open connections of one server.

    ``is_proxy``: returns whether an address is a reverse proxy's. A proxy brings everybody's requests, so the limit
    ``of_address`` doesn't apply to a proxy. The proxy must limit its clients itself.
    """

    def __init__(self, limits: ConnectionLimits, is_proxy: Callable[[str], bool]) -> None:
        self.limits, self._is_proxy = limits, is_proxy
        self._phases: dict[LimitedConnection, tuple[Phase | None, float]] = {}
        self._of_address: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()
        self._next_line_at = 0.0

    def __len__(self) -> int:
        return len(self._phases)

    def enter(self, connection: LimitedConnection, now: float) -> bool:
        """Admit a connection, or return False if there are too many."""
        address = network_of(connection.peer)
        if len(self._phases) >= self.limits.connections:
            self._incidents["refused"] += 1
            return False
        if self._of_address[address] >= self.limits.of_address and not self._is_proxy(connection.peer):
            self._incidents["refused_of_address"] += 1
            return False
        self._of_address[address] += 1
        self._phases[connection] = None, now
        return True

    def leave(self, connection: LimitedConnection) -> bool:
        """Forget a connection that is closed; return False if the connection was not admitted."""
        if self._phases.pop(connection, None) is None:
            return False
        address = network_of(connection.peer)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]
        return True

    def sweep(self, now: float) -> None:
        """Cut each connection whose phase takes too long, and log at intervals how many were cut or refused."""
        for connection, (known, since) in list(self._phases.items()):
            phase = connection.phase()
            if phase is None or (known is not None and phase != known):
                self._phases[connection] = phase, now
            elif now - since > self._longest_s(phase.kind, connection.received):
                self._incidents["cut"] += 1
                connection.cut()
            else:
                self._phases[connection] = phase, since
        if self._incidents and now >= self._next_line_at:
            log.warning("connections cut or refused", extra=fields(**self._incidents, open=len(self)))
            self._incidents.clear()
            self._next_line_at = now + _LOG_EVERY_S

    def _longest_s(self, kind: PhaseKind, received: int) -> float:
        match kind:
            case PhaseKind.HEAD:
                return self.limits.head_s
            case PhaseKind.BODY:
                return max(self.limits.body_s, received / self.limits.body_rate)
            case PhaseKind.REST:
                return max(self.limits.rest_s, received / self.limits.dropped_rate)
            case PhaseKind.ANSWER:
                return self.limits.stalled_s


class StrictConnection(h11.Connection):
    """h11's parser, which refuses heads that a proxy before us may read differently (RFC 9112, 2.2, 5.2 and 6.1)."""

    def next_event(self) -> Any:
        """Return the next event. Raises RemoteProtocolError, which is answered with 400 and ends the connection."""
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
    """A connection that ``register`` admits, and cuts if the client takes too long."""

    register: ClassVar[ConnectionRegister]
    peer = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictConnection(h11.SERVER, LONGEST_HEAD)
        self.received = 0  # Body bytes of the current request so far.

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
        if self._is_answered_early() and self.received > self._longest_rest():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to invalid HTTP; if an answer has begun or is over, only close the connection.

        The application, if it is working on the request, is told that the client is gone.
        """
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def phase(self) -> Phase | None:
        """Return the phase that the client must end; None while the application prepares an answer."""
        unsent = self.transport.get_write_buffer_size()
        if self.transport.is_closing() or unsent:
            return Phase(PhaseKind.ANSWER, (id(self.cycle), unsent))
        if self.conn.their_state is h11.SEND_BODY:
            kind = PhaseKind.REST if self._is_answered_early() else PhaseKind.BODY
            return Phase(kind, id(self.cycle))
        if self.conn.their_state is h11.IDLE:
            # Between two requests, uvicorn's keep-alive timer limits the wait. The flag changes with the first byte of
            # the next head, so a new phase begins there.
            return Phase(PhaseKind.HEAD, (id(self.cycle), self.cycle is not None and self.conn.trailing_data[0] != b""))
        return None

    def cut(self) -> None:
        self.transport.abort()

    def _longest_rest(self) -> int:
        """Return how many bytes of an answered body are read at most, including those read before the answer."""
        limits, headers = self.register.limits, dict(self.cycle.scope["headers"])
        is_dropped = 0 < int(headers.get(b"content-length", 0)) <= limits.dropped_bytes
        return limits.dropped_bytes if is_dropped else limits.rest_bytes

    def _is_answered_early(self) -> bool:
        is_over = self.cycle is not None and self.cycle.response_complete
        return is_over and self.conn.their_state is h11.SEND_BODY


class RepetitionFilter(logging.Filter):
    """Lets each kind of line through once a minute. ``only``: the messages that are filtered; None for all."""

    def __init__(self, only: frozenset[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._only, self._clock = only, clock
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or (self._only is not None and record.msg not in self._only):
            return True
        if record.exc_info and isinstance(record.exc_info[1], AbortedAnswer):
            return False  # Our own log line has given the reason.
        kind, now = _kind(record), self._clock()
        next_at, left_out = self._kinds.pop(kind, (now, 0))
        if now < next_at:
            self._kinds[kind] = next_at, left_out + 1
            return False
        self._kinds[kind] = now + _LOG_EVERY_S, 0
        while len(self._kinds) > _MOST_KINDS:
            self._kinds.popitem(last=False)
        if left_out:
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return True


@contextmanager
def limit_repeated_lines() -> Iterator[None]:
    """Limit repeated lines of the server within the block."""
    filters = [(logging.getLogger(name), RepetitionFilter()) for name in _LOGGERS]
    filters.append((log, RepetitionFilter(_REQUEST_LINES)))
    for logger, repetitions in filters:
        logger.addFilter(repetitions)
    try:
        yield
    finally:
        for logger, repetitions in filters:
            logger.removeFilter(repetitions)


def _kind(record: logging.LogRecord) -> Hashable:
    """Return what repeated records share: the text's first line, the exception's type, and where it was raised."""
    first_line = str(record.msg).partition("\n")[0]
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return first_line
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return first_line, type(error), frames[-1] if frames else None


def deliver_household_notices(sender: NoticeSender) -> int:
    """Send the due notices to households, and return how many were delivered."""
    due = sender.registry.notices.list_due(sender.now(), to_households=True)
    return sum(sender.deliver(notice_id) for notice_id in due)


@contextmanager
def mailing_notices(stores: Stores, access: WebAccess, *, is_home: bool = False) -> Iterator[None]:
    """Send due notices and mails of campaigns once a minute within the block, if there is a mail service.

    While a round of a campaign's mails was full, the next round follows at once, after the notices.
    """
    if not access.mails.sends_mail:
        yield
        return
    stop, months = threading.Event(), MonthMails(stores=stores, mails=access.mails)
    sender = replace(access.notice_sender, channels=NoticeChannels(of_settings={}, household=months))

    def run() -> None:
        months_at, is_full = time.monotonic(), False
        while not stop.wait(0 if is_full else _NOTICES_EVERY_S):
            try:
                if is_home:  # Notices go only to accounts stored with the household; a worker may have added others.
                    access.home.ensure_household()
                deliver_household_notices(sender)
                if time.monotonic() >= months_at:
                    months_at = time.monotonic() + _MONTHS_EVERY_S
                    months.insert_due()
            except WorkerError as error:
                notices_log.warning("household notices not sent", extra=fields(reason=str(error)))
            try:
                is_full = access.campaigns.send_due(stop)
            except WorkerError as error:
                is_full = False
                notices_log.warning("campaign mails not sent", extra=fields(reason=str(error)))

    thread = threading.Thread(target=run, name="household notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_MAIL_GRACE_S)
