"""HTTP relay in front of a CouchDB-protocol server, with faults: slow, conflicts, errors, half a bulk, lost answers."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

from worker.drill.schedule import FaultKind

_FORWARDED_HEADERS: Final = ("accept", "authorization", "content-type", "if-none-match")
_HOP_HEADERS: Final = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
_SLOW_S: Final = 1.5
_TIMEOUT_S: Final = 60.0


class CouchdbRelay:
    """Relay on its own port in front of ``target_url``; ``fault`` may be set at any moment, to one of CouchDB's.

    Of the conflicts, every second row of a bulk is refused, although nobody else wrote it.  ``url`` is the relay's own,
    with the target's scheme and user.
    """

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self.fault: FaultKind | None = None
        self._server = _Server(self, (target.hostname or "127.0.0.1", target.port or 5984))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="couch relay")
        user, at, _ = target.netloc.rpartition("@")
        self.url = f"{target.scheme}://{user}{at}127.0.0.1:{self._server.server_address[1]}{target.path}"

    def record_request(self, method: str, path: str, client_port: int) -> None:
        """Record a request before it is forwarded; a subclass that counts them overrides this."""

    def target_path(self, path: str) -> str:
        """Return the path to ask the target for; a subclass that renames databases overrides this, and the next."""
        return path

    def client_content(self, path: str, content: bytes) -> bytes:
        """Return the target's answer to ``path`` as the client gets it."""
        return content

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # Threads wait for a next request that may never come.

    def __init__(self, relay: CouchdbRelay, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.relay, self.target = relay, target

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: killed workers close their connections in the middle."""


class _ConnectionEnded(Exception):
    """End of the connection without an answer."""


class _Handler(BaseHTTPRequestHandler):
    """Handler of one client connection, in its own thread and with its own connection to the target."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream = HTTPConnection(*self.server.target, timeout=_TIMEOUT_S)

    def finish(self) -> None:
        super().finish()
        self.upstream.close()

    def handle_request(self) -> None:
        """Forward a request and answer it; end the connection where that fails."""
        self.server.relay.record_request(self.command, self.path, self.client_address[1])
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            self._answer(*self._forward_with_fault(body))
        except (_ConnectionEnded, OSError, HTTPException):
            self.upstream.close()
            self.close_connection = True

    def _forward_with_fault(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        fault = self.server.relay.fault
        if fault is FaultKind.COUCH_STOPPED:
            raise _ConnectionEnded
        if fault is FaultKind.COUCH_ERRORS:
            return 500, b'{"error":"internal_server_error","reason":"a drill"}', [("Content-Type", "application/json")]
        if fault is FaultKind.COUCH_SLOW:
            time.sleep(_SLOW_S)
        is_bulk = self.path.partition("?")[0].endswith("/_bulk_docs")
        if is_bulk and fault in (FaultKind.COUCH_CONFLICTS, FaultKind.COUCH_HALF):
            return self._forward_part_of_bulk(json.loads(body), fault)
        answer = self._forward(body)
        if fault is FaultKind.COUCH_CUT:
            raise _ConnectionEnded
        return answer

    def _forward_part_of_bulk(self, bulk: Any, fault: FaultKind) -> tuple[int, bytes, list[tuple[str, str]]]:
        docs = bulk["docs"]
        if fault is FaultKind.COUCH_CONFLICTS:
            forwarded, refused, error = docs[::2], docs[1::2], "conflict"
        else:
            forwarded, refused, error = docs[: len(docs) // 2], docs[len(docs) // 2 :], "internal_server_error"
        status, content, headers = self._forward(json.dumps({**bulk, "docs": forwarded}).encode())
        if status != 201:
            # Other answers have no rows, such as 404 for a missing database.
            return status, content, headers
        rows = json.loads(content) + [{"id": doc["_id"], "error": error, "reason": "a drill"} for doc in refused]
        return status, json.dumps(rows).encode(), headers

    def _forward(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        headers = {name: value for name in _FORWARDED_HEADERS if (value := self.headers.get(name))}
        relay = self.server.relay
        self.upstream.request(self.command, relay.target_path(self.path), body or None, headers)
        answer = self.upstream.getresponse()
        content = relay.client_content(self.path, answer.read())
        return answer.status, content, [item for item in answer.getheaders() if item[0].lower() not in _HOP_HEADERS]

    def _answer(self, status: int, content: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""
