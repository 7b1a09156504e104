"""HTTP calls that end: a time for the whole of each, and a size that no answer exceeds.

The time-outs of requests count between two bytes, so an answer that drips never times out, and requests reads an
answer of any size. Here a call has ``longest_s`` from its sending to the last byte, and a body is unpacked in small
pieces, until it is over or has more than ``BodyLimits`` allow. Then the connection is closed.

It needs urllib3 2.6, which unpacks no more than it is asked for, and no body that was packed more than five times.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from worker.errors import AnswerTooLarge, SupplierTooSlow

_MEGABYTE: Final = 1024**2
_CHUNK: Final = 16 * 1024
LONGEST_CALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The most that a body may have: bytes unpacked, and beyond the first megabyte so many times the packed ones."""

    longest: int = 8 * _MEGABYTE
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
        self._ends_at, self.longest_s = time.monotonic() + longest_s, longest_s
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(longest_s, self._shut)
        self._timer.daemon = True
        self._timer.start()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection

    def end(self) -> None:
        self._timer.cancel()
        self._socket = None

    def _shut(self) -> None:
        if (connection := self._socket) is not None:
            with suppress(OSError):  # It is closed already.
                connection.shutdown(socket.SHUT_RDWR)


_current = threading.local()  # The call of this thread, for its connection.


class _BoundedBody:
    """The body of an answer, in the place of urllib3's response, of which requests asks these methods."""

    def __init__(self, raw: BaseHTTPResponse, limits: BodyLimits, call: _Call) -> None:
        self._raw, self._limits, self._call, self._read = raw, limits, call, 0

    def stream(self, amt: int = _CHUNK, decode_content: bool = True) -> Iterator[bytes]:
        """Yield the body in pieces. Raises AnswerTooLarge and SupplierTooSlow."""
        try:
            while piece := self._raw.read1(min(amt, _CHUNK), decode_content=decode_content):
                self._read += len(piece)
                self._check_size()
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

    def _check_size(self) -> None:
        packed = max(1, self._raw.tell())
        is_bomb = self._read > _MEGABYTE and self._read > packed * self._limits.ratio
        if self._read > self._limits.longest or is_bomb:
            self.close()
            raise AnswerTooLarge(f"the answer is longer than {self._limits.longest} bytes, or compressed too much")

    def _check_time(self) -> None:
        if self._call.is_over:
            self.close()
            raise SupplierTooSlow(_too_slow(self._call.longest_s))


def _too_slow(longest_s: float) -> str:
    return f"the supplier did not finish its answer within {longest_s:g} s"


class HttpConnection(HTTPConnection):
    """A connection that tells its socket to the call of its thread."""

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class HttpsConnection(HTTPSConnection):
    """The same over TLS."""

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class HttpPool(HTTPConnectionPool):
    """The pool of such connections."""

    ConnectionCls = HttpConnection


class HttpsPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = HttpsConnection


def _watch(connection: socket.socket | None) -> None:
    call: _Call | None = getattr(_current, "call", None)
    if call is not None and connection is not None:
        call.watch(connection)
