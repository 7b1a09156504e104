"""The web server of `releve web` in a thread, with a clock that the test moves, and raw requests to it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.waiting import DEADLINE_S
from worker.stores.sockets import listen
from worker.web.server import ConnectionLimits, WebServer


@dataclass
class RunningServer:
    """A server and its port. ``host`` is where clients come from, and nobody's proxy."""

    server: WebServer
    port: int
    ahead_s: float = 0.0
    opened: list[socket.socket] = field(default_factory=list)

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        """Open a connection from an address of loopback."""
        connection = socket.create_connection(("127.0.0.1", self.port), DEADLINE_S, source_address=(host, 0))
        self.opened.append(connection)
        return connection

    def send(self, content: bytes, host: str = "127.0.0.1") -> socket.socket:
        connection = self.connect(host)
        connection.sendall(content)
        return connection

    def ask(self, content: bytes) -> tuple[list[int], bytes]:
        """Send bytes that end the connection; return the status of each answer, and all that came until the end."""
        with self.send(content) as connection:
            received = read_to_end(connection)
        return statuses(received), received

    def tick(self, seconds: float = 0.0) -> int:
        """Let time pass, let the server look at its connections, and return how many it has."""
        self.ahead_s += seconds
        return int(self._in_loop(self._sweep()))

    def count(self) -> int:
        """Return how many connections the server has, after all that it knew of has been done."""
        return int(self._in_loop(self._count()))

    def wait_for_count(self, wanted: int) -> None:
        give_up = time.monotonic() + DEADLINE_S
        while (count := self.count()) != wanted:
            assert time.monotonic() < give_up, f"{count} connections in place of {wanted}"

    def close_all(self) -> None:
        """Close the test's connections and wait until the server knows."""
        for connection in self.opened:
            connection.close()
        self.opened.clear()
        self.ahead_s = 0.0
        self.wait_for_count(0)

    def _in_loop(self, work: Any) -> Any:
        assert self.server.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.server.loop).result(DEADLINE_S)

    async def _sweep(self) -> int:
        self.server.connections.sweep(time.monotonic() + self.ahead_s)
        return await self._count()

    async def _count(self) -> int:
        for _ in range(3):  # What the loop has to do already comes first.
            await asyncio.sleep(0)
        return len(self.server.connections)


@contextmanager
def running_server(app: ASGIApp, limits: ConnectionLimits | None = None) -> Iterator[RunningServer]:
    """Yield a server whose connections are looked at when the test says so; 127.0.0.1 is a proxy of it."""
    server = WebServer(app, limits or ConnectionLimits(), proxies="127.0.0.1", sweep_every_s=3600)
    with listen("127.0.0.1", 0) as listener:
        running = RunningServer(server, listener.getsockname()[1])
        thread = threading.Thread(target=server.run, args=(listener,))
        thread.start()
        try:
            running.send(b"").close()
            give_up = time.monotonic() + DEADLINE_S
            while server.loop is None and time.monotonic() < give_up:
                time.sleep(0.01)
            running.wait_for_count(0)
            yield running
        finally:
            for connection in running.opened:
                connection.close()
            server.stop()
            thread.join()


def read_to_end(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes. Raises TimeoutError if it doesn't."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


def read_answer(connection: socket.socket) -> int:
    """Read one answer with its body, as its Content-Length says, and return its status."""
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(1)
        assert piece, received
        received += piece
    length = re.search(rb"(?i)content-length: ([0-9]+)", received[:end])
    assert length, received
    assert len(connection.recv(int(length[1]), socket.MSG_WAITALL)) == int(length[1])
    return statuses(received)[0]


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer in what came."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body, as an application for tests of only the server.

    The path ``/early`` is answered before the body is read, and ``/large`` with more than a socket's buffers hold.
    """
    assert scope["type"] == "http"
    length, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    text = b"x" * 20_000_000 if scope["path"] == "/large" else b"%d" % length
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
