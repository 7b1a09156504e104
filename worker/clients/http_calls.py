"""HTTP calls within bounds: of time and size, to allowed addresses alone, and signed where a webhook is called.

The time-outs of requests count between two bytes, so an answer that drips never times out, and requests reads an
answer of any size. Here a call has ``longest_s`` from its sending to the last byte, and a body is unpacked in small
pieces, until it is over or has more than ``BodyLimits`` allow. Then the connection is closed. It needs urllib3 2.6,
which unpacks no more than it is asked for, and no body that was packed more than five times. One thread of the process
at a time reads bodies that are large (``one_large_reader``).

The address of a tenant's webhook never leads into a private network that the operator has not named (``GuardedHttp``).
What counts is the address that the connection has reached, looked at before anything is sent, so that no name can hide
another one. A connection without TLS is for this machine and for the networks that are named. Notices and measures are
sent in signed POST requests.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from worker.domain.networks import Network, may_be_called
from worker.errors import AnswerTooLarge, NotDelivered, SupplierTooSlow

LONGEST_CALL_S: Final = 30.0
SIGNATURE_HEADER: Final = "X-Releve-Signature"
TIMEOUTS_S: Final = (5.0, 15.0)
_MEGABYTE: Final = 1024**2
_CHUNK: Final = 16 * 1024
# Parts are values of JSON; parsed, each takes up to 300 bytes. A year of registers, a long answer, has 20 000.
_MOST_BYTES, _MOST_PARTS = 8 * _MEGABYTE, 200_000
_LARGE_BYTES, _LARGE_PARTS = 256 * 1024, 10_000
# The GNU C library alone has these. Without the first, the heap of each thread keeps up to 64 MB that it took once.
_set_memory, _trim_memory = (getattr(ctypes.CDLL(None), name, lambda *_: 0) for name in ("mallopt", "malloc_trim"))
_set_memory(-3, _LARGE_BYTES)  # M_MMAP_THRESHOLD: a larger block goes back to the system as soon as it is free.
_LONGEST_REFUSAL: Final = 64 * 1024  # Bytes; what comes after them is not read.


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The most that a body may have: bytes unpacked, and beyond the first megabyte so many times the packed ones."""

    longest: int = _MOST_BYTES
    ratio: int = 100


class BoundedHttp(HTTPAdapter):
    """An adapter whose calls have ``longest_s`` in all, and whose bodies stay within ``limits``.

    Raises AnswerTooLarge for a larger body, and SupplierTooSlow where the time is over.
    """

    def __init__(self, limits: BodyLimits = BodyLimits(), longest_s: float = LONGEST_CALL_S) -> None:
        self._limits, self._longest_s = limits, longest_s
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        call = _Call(self._longest_s)
        _current.call = call
        try:
            response = super().send(request, *args, **kwargs)
        except BaseException:
            call.end()
            if call.is_over:
                raise SupplierTooSlow(_too_slow(self._longest_s)) from None
            raise
        response.raw = _BoundedBody(response.raw, self._limits, call)
        return response


class _Call:
    """The time of one call: when it is over, its socket is shut, so that its reader goes on."""

    def __init__(self, longest_s: float) -> None:
        self.ends_at, self.longest_s = time.monotonic() + longest_s, longest_s
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(longest_s, self._shut)
        self._timer.daemon = True
        self._timer.start()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection

    def end(self) -> None:
        self._timer.cancel()
        self._socket = None

    def _shut(self) -> None:
        if (connection := self._socket) is not None:
            with suppress(OSError):  # It is closed already.
                connection.shutdown(socket.SHUT_RDWR)


_current = threading.local()  # The call of this thread, for its connection, and what it is reading.
_large_turn = threading.Lock()


class _Reading:
    """What a thread has read: bytes, and the commas and opening brackets in them, one for each value of JSON."""

    length = parts = 0
    has_turn = True  # But for one large reader, which waits for it.


@contextmanager
def one_large_reader() -> Iterator[None]:
    """Make this thread wait with a large body until no other one has any, and have the turn until the end.

    It lasts until then because what is parsed of a body takes up to 90 MB; 16 bodies would take 128 MB unparsed. All
    bodies of a turn together may have what one may have. A wait is part of the time of its call, so nobody waits for
    longer, and small bodies don't.
    """
    if hasattr(_current, "reading"):  # The outer one ends it.
        yield
        return
    reading = _current.reading = _Reading()
    reading.has_turn = False
    try:
        yield
    finally:
        del _current.reading
        if reading.has_turn:
            _trim_memory(0)
            _large_turn.release()


class _BoundedBody:
    """The body of an answer, in the place of urllib3's response, of which requests asks these methods."""

    def __init__(self, raw: BaseHTTPResponse, limits: BodyLimits, call: _Call) -> None:
        self._raw, self._limits, self._call, self._read = raw, limits, call, 0
        self._reading: _Reading = getattr(_current, "reading", _Reading())

    def stream(self, amt: int = _CHUNK, decode_content: bool = True) -> Iterator[bytes]:
        """Yield the body in pieces, of a refusal its beginning. Raises AnswerTooLarge and SupplierTooSlow."""
        try:
            while piece := self._raw.read1(min(amt, _CHUNK), decode_content=decode_content):
                self._read += len(piece)
                if self._raw.status // 100 != 2 and self._read > _LONGEST_REFUSAL:
                    self.close()
                    yield piece[: _LONGEST_REFUSAL - self._read]
                    return
                self._check_size(piece)
                self._check_time()
                yield piece
            self._check_time()  # A socket that was shut looks like the end of the body.
        except (OSError, HTTPError):
            self._check_time()
            raise
        finally:
            self._call.end()

    def close(self) -> None:
        self._call.end()
        self._raw.close()

    def release_conn(self) -> None:
        self._call.end()
        self._raw.release_conn()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def _check_size(self, piece: bytes) -> None:
        """Count one more piece; beyond what is large, wait for the turn of its thread."""
        reading = self._reading
        reading.length += len(piece)
        reading.parts += sum(map(piece.count, (b",", b"[", b"{")))
        most = min(self._limits.longest, max(_MEGABYTE, self._raw.tell() * self._limits.ratio))
        if self._read > most or reading.length > _MOST_BYTES or reading.parts > _MOST_PARTS:
            self.close()
            raise AnswerTooLarge(f"more than {self._limits.longest} bytes or {_MOST_PARTS} values, or packed too much")
        if not reading.has_turn and (reading.length > _LARGE_BYTES or reading.parts > _LARGE_PARTS):
            reading.has_turn = _large_turn.acquire(timeout=max(0.0, self._call.ends_at - time.monotonic()))

    def _check_time(self) -> None:
        if self._call.is_over:
            self.close()
            raise SupplierTooSlow(_too_slow(self._call.longest_s))


def _too_slow(longest_s: float) -> str:
    return f"the supplier did not finish its answer within {longest_s:g} s"


class HttpConnection(HTTPConnection):
    """A connection that tells its socket to the call of its thread."""

    def getresponse(self) -> Any:
        call: _Call | None = getattr(_current, "call", None)
        if call is not None and self.sock is not None:
            call.watch(self.sock)
        return super().getresponse()


class HttpsConnection(HttpConnection, HTTPSConnection):
    """The same over TLS."""


class HttpPool(HTTPConnectionPool):
    """The pool of such connections."""

    ConnectionCls = HttpConnection


class HttpsPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = HttpsConnection


class AddressRefused(Exception):
    """The error for a connection to an address that may not be called; it does not name the address."""


def _check_peer(sock: socket.socket, host: str, networks: Sequence[Network], *, is_plain: bool) -> socket.socket:
    """Return the socket of a connection to which nothing was sent yet.

    Raises AddressRefused, and closes it, if the name ``host`` has led to an address that may not be called.
    """
    try:
        address = sock.getpeername()[0]
    except OSError:  # The other side has closed it already.
        sock.close()
        raise
    if not may_be_called(address, host, networks, is_plain=is_plain):
        sock.close()
        raise AddressRefused("an address in a private network, or without TLS")
    return sock


class GuardedHttp(BoundedHttp):
    """An adapter that calls public addresses over https, this machine, and the networks that the operator names.

    Raises AddressRefused before anything is sent to another address.
    """

    def __init__(self, networks: Sequence[Network] = (), **bounds: Any) -> None:
        self._networks = tuple(networks)
        super().__init__(**bounds)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = {"http": _guard(HttpPool, self._networks), "https": _guard(HttpsPool, self._networks)}
        self.poolmanager.pool_classes_by_scheme = pools


def _guard(pool: type[HttpPool | HttpsPool], networks: Sequence[Network]) -> type[Any]:
    """Return a pool whose connections look at the address that they have reached, before any greeting of TLS."""
    base: type[Any] = pool.ConnectionCls

    def connect(self: Any) -> socket.socket:
        return _check_peer(base._new_conn(self), self.host, networks, is_plain=pool is HttpPool)

    guarded = type(base.__name__, (base,), {"_new_conn": connect})
    return type(pool.__name__, (pool,), {"ConnectionCls": guarded})


def sign_body(secret: str, unix_time_s: int, body: bytes) -> str:
    """Return the signature header: ``t=1721898000,v1=9f86d0…``.

    ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` in hex. The receiver computes it again, compares in constant time and
    refuses an old ``t``.
    """
    # The time is part of the signed bytes, so nobody can send a recorded request again under a new time.
    mac = hmac.new(secret.encode(), f"{unix_time_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_time_s},v1={mac.hexdigest()}"


@contextmanager
def open_session(adapter: BoundedHttp) -> Iterator[requests.Session]:
    """Open a session that calls by this adapter, and by no proxy, which could reach any network."""
    with requests.Session() as session:
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        yield session


def post_signed(
    session: requests.Session,
    url: str,
    secret: str,
    body: bytes,
    unix_time_s: int,
    timeouts_s: tuple[float, float] = TIMEOUTS_S,
) -> int:
    """Send a JSON body with its signature, and return the status of the answer. Raises NotDelivered without one."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Releve",
        SIGNATURE_HEADER: sign_body(secret, unix_time_s, body),
    }
    try:
        # A redirect would send the account's id to another host. The body of the answer is not needed, so the
        # request streams and does not read it.
        with session.post(
            url, data=body, headers=headers, timeout=timeouts_s, allow_redirects=False, stream=True
        ) as answer:
            return answer.status_code
    except AddressRefused as error:
        raise NotDelivered(f"webhook: {error}: see RELEVE_WEBHOOK_NETWORKS") from None
    except (requests.RequestException, HTTPError, SupplierTooSlow) as error:  # HTTPError: an invalid host name.
        # The text of the error may quote the address, which may contain a secret.
        raise NotDelivered(f"webhook: {type(error).__name__}") from None
