"""A TCP proxy that can freeze its connections, like a firewall that has forgotten them."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Final
from urllib.parse import urlsplit

_POLL_S: Final = 0.05


class CuttingProxy:
    """A proxy whose ``url`` leads to the target.

    ``freeze`` stops the present connections without closing them; new ones work. ``close`` breaks all connections and
    refuses new ones until ``open``.
    """

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        self._target = parts.hostname or "127.0.0.1", parts.port or 6379
        self._connections: list[_Connection] = []
        self._lock = Lock()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        user, at, _ = parts.netloc.rpartition("@")
        self.url = f"{parts.scheme}://{user}{at}127.0.0.1:{self.port}{parts.path}"
        self._accepting = self._start_accepting()

    def freeze(self, sent_word: bytes = b"") -> list[set[bytes]]:
        """Freeze the present connections, or those that have sent ``sent_word``; return the words that each sent."""
        with self._lock:
            frozen = [
                connection
                for connection in self._connections
                if connection.is_carrying() and (not sent_word or sent_word in connection.sent_words)
            ]
            for connection in frozen:
                connection.frozen.set()
        return [connection.sent_words for connection in frozen]

    def close(self) -> None:
        if self._listener.fileno() < 0:  # A test that failed half-way may have closed it already.
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for connection in self._connections:
                connection.closed.set()
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.join()

    def open(self) -> None:
        self._listener = self._listen(self.port)
        self._accepting = self._start_accepting()

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=128)

    def _start_accepting(self) -> Thread:
        thread = Thread(target=self._accept, args=(self._listener,), name="cutting proxy", daemon=True)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # Closing the listener ends the loop.
            while True:
                client, _ = listener.accept()
                connection = _Connection(client, socket.create_connection(self._target))
                with self._lock:
                    self._connections.append(connection)
                connection.start()


class _Connection(Thread):
    """A connection whose bytes are carried both ways."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(name="cutting proxy's connection", daemon=True)
        self._client, self._server = client, server
        self.frozen = Event()
        self.closed = Event()
        self.sent_words: set[bytes] = set()  # Words sent to the server.

    def is_carrying(self) -> bool:
        return self.is_alive() and not self.frozen.is_set()

    def run(self) -> None:
        with self._client, self._server, suppress(OSError):
            while not self.closed.is_set() and (self.frozen.is_set() or self._forward()):
                if self.frozen.is_set():
                    self.closed.wait()

    def _forward(self) -> bool:
        for source in select.select([self._client, self._server], [], [], _POLL_S)[0]:
            if self.frozen.is_set():
                return True
            content = source.recv(65_536)
            if not content:
                return False
            if source is self._client:
                self.sent_words.update(content.split(b"\r\n"))
            (self._server if source is self._client else self._client).sendall(content)
        return True


@contextmanager
def cutting_proxy(target_url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target_url)
    try:
        yield proxy
    finally:
        proxy.close()
