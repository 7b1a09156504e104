"""An HTTP server that sends a test's bytes, and fails like real servers: cut, silent or truncated."""

from __future__ import annotations

import json
import socketserver
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class CannedAnswer:
    """Bytes to send for one request; ``cut`` closes the connection afterwards, ``silent`` keeps it waiting."""

    raw: bytes = b""
    cut: bool = False
    silent: bool = False


CUT = CannedAnswer(cut=True)
SILENT = CannedAnswer(silent=True)


def answer(status: int, body: Any, content_type: str | None = "application/json", **headers: str) -> CannedAnswer:
    """Return a whole answer; ``body`` is sent as JSON unless it is text."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    return CannedAnswer(_head(status, content_type, {"Content-Length": str(len(content)), **headers}) + content)


def chunked(status: int, body: str, content_type: str = "text/html") -> CannedAnswer:
    """Return a whole answer in chunks, like that of a load balancer."""
    content = body.encode()
    head = _head(status, content_type, {"Transfer-Encoding": "chunked"})
    return CannedAnswer(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


def cut_short(status: int, body: Any, missing: int = 100) -> CannedAnswer:
    """Return an answer that breaks off ``missing`` bytes before its announced end."""
    content = json.dumps(body).encode()
    head = _head(status, "application/json", {"Content-Length": str(len(content) + missing)})
    return CannedAnswer(head + content, cut=True)


def _head(status: int, content_type: str | None, headers: dict[str, str]) -> bytes:
    if content_type is not None:
        headers = {"Content-Type": content_type, **headers}
    lines = [f"HTTP/1.1 {status} Because", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass
class CannedServer:
    """Address of the server, the remaining answers, and the received requests.

    ``requests`` holds method, path and body (JSON; a form or plain text as text) of each request, ``headers`` its
    headers with names in lower case, ``bodies`` its raw body.
    """

    url: str
    script: list[CannedAnswer]
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    closed: Event = field(default_factory=Event)
    connections: int = 0


@contextmanager
def canned_server(*script: CannedAnswer, tls: ssl.SSLContext | None = None) -> Iterator[CannedServer]:
    """Yield a server that sends these answers in order, over any number of connections, then cuts connections."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        host, port = server.server_address[:2]
        server.state = CannedServer(f"{'https' if tls else 'http'}://{host!s}:{port}/", list(script))
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=server.serve_forever, args=(0.01,), name="canned server")
        thread.start()
        try:
            yield server.state
        finally:
            server.state.closed.set()
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    state: CannedServer


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.state.connections += 1
        with suppress(ssl.SSLError):  # The client doesn't trust the certificate.
            while line := self.rfile.readline().decode():
                self._record_request(line)
                answer = self._next_answer()
                if answer.silent:
                    self.server.state.closed.wait()
                self.wfile.write(answer.raw)
                if answer.cut or answer.silent:
                    return

    def _record_request(self, line: str) -> None:
        method, path, _ = line.split(" ", 2)
        headers = dict(self._headers())
        body = self.rfile.read(int(headers.get("content-length", 0)))
        is_text = any(kind in headers.get("content-type", "") for kind in ("form-urlencoded", "text/plain"))
        content = body.decode() if is_text else json.loads(body) if body else None
        self.server.state.requests.append((method, path, content))
        self.server.state.headers.append(headers)
        self.server.state.bodies.append(body)

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _next_answer(self) -> CannedAnswer:
        script = self.server.state.script
        return script.pop(0) if script else CUT
