"""A TCP proxy that can turn deaf: what runs through it is dropped without a word, as a firewall that forgot does it."""

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
    """``url`` leads through it.  ``go_deaf`` freezes the connections of now: no byte, no end; new ones are carried.

    ``close`` and ``open`` take the listener away and back: connections break, and new ones are refused.
    """

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        self._target = parts.hostname or "127.0.0.1", parts.port or 6379
        self._lines: list[_Line] = []
        self._lock = Lock()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        user, at, _ = parts.netloc.rpartition("@")
        self.url = f"{parts.scheme}://{user}{at}127.0.0.1:{self.port}{parts.path}"
        self._accepting = self._start_accepting()

    def go_deaf(self, word: bytes = b"") -> list[set[bytes]]:
        """Freeze all connections of now, or those that have carried ``word``; what each has carried."""
        with self._lock:
            frozen = [line for line in self._lines if line.carries() and (not word or word in line.words)]
            for line in frozen:
                line.frozen.set()
        return [line.words for line in frozen]

    def close(self) -> None:
        if self._listener.fileno() < 0:  # closed already: a test that failed in between
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for line in self._lines:
                line.over.set()
            lines, self._lines = self._lines, []
        for line in lines:
            line.join()

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
        with suppress(OSError):  # closed: that is how it ends
            while True:
                near, _ = listener.accept()
                line = _Line(near, socket.create_connection(self._target))
                with self._lock:
                    self._lines.append(line)
                line.start()


class _Line(Thread):
    """One connection, carried both ways."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        super().__init__(name="cutting proxy's line", daemon=True)
        self._near, self._far = near, far
        self.frozen = Event()
        self.over = Event()
        self.words: set[bytes] = set()  # of what was sent to the server

    def carries(self) -> bool:
        return self.is_alive() and not self.frozen.is_set()

    def run(self) -> None:
        with self._near, self._far, suppress(OSError):
            while not self.over.is_set() and (self.frozen.is_set() or self._carry()):
                if self.frozen.is_set():
                    self.over.wait()

    def _carry(self) -> bool:
        for ready in select.select([self._near, self._far], [], [], _POLL_S)[0]:
            if self.frozen.is_set():
                return True
            content = ready.recv(65_536)
            if not content:
                return False
            if ready is self._near:
                self.words.update(content.split(b"\r\n"))
            (self._far if ready is self._near else self._near).sendall(content)
        return True


@contextmanager
def cutting_proxy(target_url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target_url)
    try:
        yield proxy
    finally:
        proxy.close()
