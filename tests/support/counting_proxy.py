"""An HTTP proxy that counts, between a store and its server: what a test says of requests is seen on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

_KEPT_HEADERS = ("accept", "authorization", "content-type", "if-none-match")
_HOP_HEADERS = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass
class CountingProxy:
    """``requests`` holds method and path (with its query) of each request, in the order they came.

    ``connections`` holds the port that each request's connection came from, without repeats.
    """

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def note(self, method: str, path: str, client_port: int) -> None:
        with self._lock:
            self.requests.append((method, path))
            self.connections.add(client_port)

    def clear(self) -> None:
        with self._lock:
            self.requests.clear()
            self.connections.clear()


@contextmanager
def counting_proxy(target_url: str) -> Iterator[CountingProxy]:
    """A proxy for ``target_url`` (``http://…`` or ``couchdb+http://…``), its URL of the same kind and user."""
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
    daemon_threads = True  # they wait for a next request that never comes
    proxy: CountingProxy

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = host, port


class _Handler(BaseHTTPRequestHandler):
    """One thread a connection, kept alive, with a connection of its own to the target."""

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

    def do(self) -> None:
        self.server.proxy.note(self.command, self.path, self.client_address[1])
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name in _KEPT_HEADERS if (value := self.headers.get(name))}
        try:
            self._pass_on(body, headers)
        except (OSError, HTTPException):
            self.upstream.close()
            self.close_connection = True

    def _pass_on(self, body: bytes, headers: dict[str, str]) -> None:
        self.upstream.request(self.command, self.path, body or None, headers)
        answer = self.upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test looks at the count."""
