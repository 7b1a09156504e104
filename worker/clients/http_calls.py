"""HTTP calls with limits on their time, size and addresses, and signed requests to webhooks.

The timeouts of the package requests apply between two bytes, so an answer that trickles in never times out. The package
also reads an answer of any size. ``BoundedHttp`` gives a call ``longest_s`` seconds from its start to the last byte,
and decompresses a body in small pieces until the body ends or exceeds a limit. A call that exceeds a limit is ended,
and its connection is closed. This needs urllib3 2.6, which decompresses no more than requested and refuses a body with
more than five compressions on top of each other. Only one thread of the process at a time reads a large body
(``one_large_reader``).

A tenant's webhook can't reach a private network, unless the operator has named this network (``GuardedHttp``). The IP
address of the open connection is checked before anything is sent, so a host name can't hide another address. Without
TLS, no other addresses can be reached than this machine and the named networks. Notices and measures are sent in signed
POST requests.
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
# ``_MOST_PARTS`` limits the number of JSON values, because a parsed value takes up to 300 bytes. A year of registers,
# which is a long answer, has 20 000 values.
MOST_BYTES, _MOST_PARTS = 8 * _MEGABYTE, 200_000
_LARGEST_RATIO: Final = 100  # The most decompressed bytes per compressed byte; applies beyond the first megabyte.
_LARGE_BYTES, _LARGE_PARTS = 256 * 1024, 10_000
# Only the GNU C library has these two functions. Without mallopt, each thread's heap would keep up to 64 MB of freed
# memory.
_set_memory, _trim_memory = (getattr(ctypes.CDLL(None), name, lambda *_: 0) for name in ("mallopt", "malloc_trim"))
_set_memory(-3, _LARGE_BYTES)  # M_MMAP_THRESHOLD: a larger block is returned to the system once freed.
_LONGEST_REFUSAL: Final = 64 * 1024  # The most bytes that are read of a refusal.


class BoundedHttp(HTTPAdapter):
    """An adapter that limits a call to ``longest_s`` seconds, and the answer to ``most_bytes`` decompressed bytes.

    Its calls raise AnswerTooLarge for a larger body, and SupplierTooSlow if the time runs out.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, longest_s: float = LONGEST_CALL_S) -> None:
        self._most_bytes, self._longest_s = most_bytes, longest_s
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
        response.raw = _BoundedBody(response.raw, self._most_bytes, call)
        return response


class _Call:
    """The time limit of one call. When the time is over, the socket is shut down, which unblocks the reading thread."""

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
            with suppress(OSError):  # The socket may be closed already.
                connection.shutdown(socket.SHUT_RDWR)


# Each thread has ``call``, its last ``_Call``, which its connection uses. Inside ``one_large_reader`` a thread also has
# ``reading``, its ``_Reading``.
_current = threading.local()
_large_turn = threading.Lock()


class _Reading:
    """How much a thread has read.

    ``length``: the number of bytes. ``parts``: the number of commas and opening brackets, about one per JSON value.
    """

    length = parts = 0
    has_turn = True  # False inside ``one_large_reader``, until the thread has the lock for large bodies.


@contextmanager
def one_large_reader() -> Iterator[None]:
    """Let only one thread at a time read a large body; the thread keeps the lock until the end of the block.

    The caller must also parse the body in the block, because a parsed body takes up to 90 MB, and a worker has 16
    threads. Even unparsed, 16 bodies would take 128 MB. The limits of one body apply to the sum of all bodies that are
    read in the block. Waiting for the lock counts as part of the call's time. Small bodies don't wait.
    """
    if hasattr(_current, "reading"):  # An outer block is active and will end the reading.
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
    """The body of an answer. It takes the place of urllib3's response, and has the methods that requests calls."""

    def __init__(self, raw: BaseHTTPResponse, most_bytes: int, call: _Call) -> None:
        self._raw, self._most_bytes, self._call, self._read = raw, most_bytes, call, 0
        self._reading: _Reading = getattr(_current, "reading", _Reading())

    def stream(self, amt: int = _CHUNK, decode_content: bool = True) -> Iterator[bytes]:
        """Yield the body in pieces, but only the beginning of a refusal. Raises AnswerTooLarge or SupplierTooSlow."""
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
            self._check_time()  # A socket that the timer has shut down looks like the end of the body.
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
        """Count one more piece. When the body has become large, wait for the lock. Raises AnswerTooLarge."""
        reading = self._reading
        reading.length += len(piece)
        reading.parts += sum(map(piece.count, (b",", b"[", b"{")))
        most = min(self._most_bytes, max(_MEGABYTE, self._raw.tell() * _LARGEST_RATIO))
        if self._read > most or reading.length > MOST_BYTES or reading.parts > _MOST_PARTS:
            self.close()
            raise AnswerTooLarge(f"more than {self._most_bytes} bytes or {_MOST_PARTS} values, or packed too much")
        if not reading.has_turn and (reading.length > _LARGE_BYTES or reading.parts > _LARGE_PARTS):
            reading.has_turn = _large_turn.acquire(timeout=max(0.0, self._call.ends_at - time.monotonic()))

    def _check_time(self) -> None:
        if self._call.is_over:
            self.close()
            raise SupplierTooSlow(_too_slow(self._call.longest_s))


def _too_slow(longest_s: float) -> str:
    return f"the supplier did not finish its answer within {longest_s:g} s"


class HttpConnection(HTTPConnection):
    """A connection that registers its socket with its thread's call, so that a timer can shut the socket down."""

    def getresponse(self) -> Any:
        call: _Call | None = getattr(_current, "call", None)
        if call is not None and self.sock is not None:
            call.watch(self.sock)
        return super().getresponse()


class HttpsConnection(HttpConnection, HTTPSConnection):
    """A connection over TLS that registers its socket like ``HttpConnection``."""


class HttpPool(HTTPConnectionPool):
    ConnectionCls = HttpConnection


class HttpsPool(HTTPSConnectionPool):
    ConnectionCls = HttpsConnection


class AddressRefused(Exception):
    """The error for a connection to an address that may not be called; its text does not name the address."""


def _check_peer(sock: socket.socket, host: str, networks: Sequence[Network], *, is_plain: bool) -> socket.socket:
    """Check the address of a new connection before anything is sent, and return the connection's socket.

    If the name ``host`` has led to an address that may not be called, closes the socket and raises AddressRefused.
    """
    try:
        address = sock.getpeername()[0]
    except OSError:  # The other side has closed the connection already.
        sock.close()
        raise
    if not may_be_called(address, host, networks, is_plain=is_plain):
        sock.close()
        raise AddressRefused("an address in a private network, or without TLS")
    return sock


class GuardedHttp(BoundedHttp):
    """An adapter that calls only this machine, the networks that the operator names, and public addresses with https.

    For any other address it raises AddressRefused before anything is sent.
    """

    def __init__(self, networks: Sequence[Network] = (), **bounds: Any) -> None:
        self._networks = tuple(networks)
        super().__init__(**bounds)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = {"http": _guard(HttpPool, self._networks), "https": _guard(HttpsPool, self._networks)}
        self.poolmanager.pool_classes_by_scheme = pools


def _guard(pool: type[HttpPool | HttpsPool], networks: Sequence[Network]) -> type[Any]:
    """Return a pool of connections that check, before the TLS handshake, which address they have reached."""
    base: type[Any] = pool.ConnectionCls

    def connect(self: Any) -> socket.socket:
        return _check_peer(base._new_conn(self), self.host, networks, is_plain=pool is HttpPool)

    guarded = type(base.__name__, (base,), {"_new_conn": connect})
    return type(pool.__name__, (pool,), {"ConnectionCls": guarded})


def sign_body(secret: str, unix_time_s: int, body: bytes) -> str:
    """Return the content of the signature header, such as ``t=1721898000,v1=9f86d0…``.

    ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` in hexadecimal. The receiver computes this value again, compares both in
    constant time, and refuses an old ``t``.
    """
    # The time is part of the signed bytes, so nobody can send a recorded request again with a new time.
    mac = hmac.new(secret.encode(), f"{unix_time_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_time_s},v1={mac.hexdigest()}"


@contextmanager
def open_session(adapter: BoundedHttp) -> Iterator[requests.Session]:
    """Open a session that uses this adapter, but no proxy, because a proxy could reach any network."""
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
    """Send a signed JSON body; return the status of the answer. Raises NotDelivered if there is no answer."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Releve",
        SIGNATURE_HEADER: sign_body(secret, unix_time_s, body),
    }
    try:
        # Redirects aren't followed, because a redirect would send the account's id to another host. The request is
        # streamed, so that the body of the answer, which isn't needed, is not read.
        with session.post(
            url, data=body, headers=headers, timeout=timeouts_s, allow_redirects=False, stream=True
        ) as answer:
            return answer.status_code
    except AddressRefused as error:
        raise NotDelivered(f"webhook: {error}: see RELEVE_WEBHOOK_NETWORKS") from None
    except (requests.RequestException, HTTPError, SupplierTooSlow) as error:  # HTTPError means an invalid host name.
        # The text of the original error may quote the address, which may contain a secret.
        raise NotDelivered(f"webhook: {type(error).__name__}") from None
