"""An HTTP server that says what a test wrote down, byte for byte, and does the things real servers do badly."""

from __future__ import annotations

import json
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Canned:
    """What to send for one request; ``cut`` closes the connection afterwards, ``silent`` keeps it waiting."""

    raw: bytes = b""
    cut: bool = False
    silent: bool = False


CUT = Canned(cut=True)
SILENT = Canned(silent=True)


def answer(status: int, body: Any, content_type: str | None = "application/json", **headers: str) -> Canned:
    """A whole answer; ``body`` is sent as JSON unless it is text."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    return Canned(_head(status, content_type, {"Content-Length": str(len(content)), **headers}) + content)


def chunked(status: int, body: str, content_type: str = "text/html") -> Canned:
    """The same in chunks, as load balancers like it."""
    content = body.encode()
    head = _head(status, content_type, {"Transfer-Encoding": "chunked"})
    return Canned(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


def cut_short(status: int, body: Any, missing: int = 100) -> Canned:
    """An answer that breaks off ``missing`` bytes before its announced end."""
    content = json.dumps(body).encode()
    head = _head(status, "application/json", {"Content-Length": str(len(content) + missing)})
    return Canned(head + content, cut=True)


def _head(status: int, content_type: str | None, headers: dict[str, str]) -> bytes:
    if content_type is not None:
        headers = {"Content-Type": content_type, **headers}
    lines = [f"HTTP/1.1 {status} Because", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass
class CannedServer:
    """``requests`` holds method, path and body (JSON, or a form as text) of each request.

    ``heads`` holds its headers, names in lower case.
    """

    url: str
    script: list[Canned]
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    over: Event = field(default_factory=Event)


@contextmanager
def canned_server(*script: Canned) -> Iterator[CannedServer]:
    """A server that gives these answers one after the other, over however many connections, then cuts them off."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        host, port = server.server_address[:2]
        server.canned = CannedServer(f"http://{host!s}:{port}/", list(script))
        thread = Thread(target=server.serve_forever, args=(0.01,), name="canned server")
        thread.start()
        try:
            yield server.canned
        finally:
            server.canned.over.set()
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    canned: CannedServer


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline().decode():
            self._note(line)
            planned = self._next()
            if planned.silent:
                self.server.canned.over.wait()
            self.wfile.write(planned.raw)
            if planned.cut or planned.silent:
                return

    def _note(self, line: str) -> None:
        method, path, _ = line.split(" ", 2)
        headers = dict(self._headers())
        body = self.rfile.read(int(headers.get("content-length", 0)))
        form = "form-urlencoded" in headers.get("content-type", "")
        told = body.decode() if form else json.loads(body) if body else None
        self.server.canned.requests.append((method, path, told))
        self.server.canned.heads.append(headers)

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _next(self) -> Canned:
        script = self.server.canned.script
        return script.pop(0) if script else CUT
