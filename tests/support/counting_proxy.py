"""An HTTP proxy between a store and its server that records the requests on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

_FORWARDED_HEADERS = ("accept", "authorization", "content-type", "if-none-match")
_HOP_BY_HOP_HEADERS = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass
class CountingProxy:
    """Address of the proxy and the requests that passed through it.

    ``requests`` holds method and path (with its query) of each request in order, ``connections`` the client ports
    that they came from.
    """

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def record_request(self, method: str, path: str, client_port: int) -> None:
        with self._lock:
            self.requests.append((method, path))
            self.connections.add(client_port)

    def clear(self) -> None:
        with self._lock:
            self.requests.clear()
            self.connections.clear()


@contextmanager
def counting_proxy(target_url: str) -> Iterator[CountingProxy]:
    """Yield a proxy for ``target_url`` (``http://…`` or ``couchdb+http://…``); its URL has the same scheme and user."""
    target = urlsplit(target_url)
    user, at, _ = target.netloc.rpartition("@")
    server = _Server(target.hostname or "127.0.0.1", target.port or 80)
    port = server.server_address[1]
    server.proxy = CountingProxy(f"{target.scheme}://{user}{at}127.0.0.1:{port}{target.path}")
    thread = Thread(target=server.serve_forever, args=(0.01,), name="counting proxy")
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # A thread waits for the next request on its connection, which may never come.
    proxy: CountingProxy

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = host, port


class _Handler(BaseHTTPRequestHandler):
    """Handler of one connection, kept alive, with a connection of its own to the target."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream = HTTPConnection(*self.server.target, timeout=60)

    def finish(self) -> None:
        super().finish()
        self.upstream.close()

    def forward(self) -> None:
        self.server.proxy.record_request(self.command, self.path, self.client_address[1])
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name in _FORWARDED_HEADERS if (value := self.headers.get(name))}
        try:
            self._send_upstream(body, headers)
        except (OSError, HTTPException):
            self.upstream.close()
            self.close_connection = True

    def _send_upstream(self, body: bytes, headers: dict[str, str]) -> None:
        self.upstream.request(self.command, self.path, body or None, headers)
        answer = self.upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward

    def log_message(self, format: str, *args: object) -> None:
        """Write no log lines."""
