"""A relay in front of a CouchDB-protocol server that can be slow, refuse rows, fail, take half, or lose its answer."""

from __future__ import annotations

import json
import threading
import time
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

_KEPT_HEADERS: Final = ("accept", "authorization", "content-type", "if-none-match")
_HOP_HEADERS: Final = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
_SLOW_S: Final = 1.5
_TIMEOUT_S: Final = 60.0


class FaultMode(StrEnum):
    PASS = "pass"  # noqa: S105 - a mode, no secret
    AWAY = "away"  # connections end without a word
    SLOW = "slow"
    CONFLICTS = "conflicts"  # every second row of a bulk is refused with 409, though nobody else wrote
    ERRORS = "errors"  # 500
    HALF = "half"  # half of a bulk is written, the rest refused row by row
    LOST = "lost"  # all is done, and the answer never comes


class CouchRelay:
    """``mood`` may be set at any moment."""

    def __init__(self, host: str, port: int) -> None:
        self.mood = FaultMode.PASS
        self._server = _Server(self, (host, port))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="couch relay")
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # they wait for a next request that never comes

    def __init__(self, relay: CouchRelay, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.relay, self.target = relay, target

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: workers that are killed hang up in the middle."""


class _Gone(Exception):
    """The connection ends here, without an answer."""


class _Handler(BaseHTTPRequestHandler):
    """One thread a connection, kept alive, with a connection of its own to the target."""

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

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            self._answer(*self._ask(body))
        except (_Gone, OSError, HTTPException):
            self.upstream.close()
            self.close_connection = True

    def _ask(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        mood = self.server.relay.mood
        if mood is FaultMode.AWAY:
            raise _Gone
        if mood is FaultMode.ERRORS:
            return 500, b'{"error":"internal_server_error","reason":"a drill"}', [("Content-Type", "application/json")]
        if mood is FaultMode.SLOW:
            time.sleep(_SLOW_S)
        if mood in (FaultMode.CONFLICTS, FaultMode.HALF) and self.path.partition("?")[0].endswith("/_bulk_docs"):
            return self._bulk_in_part(json.loads(body), mood)
        answer = self._pass_on(body)
        if mood is FaultMode.LOST:
            raise _Gone
        return answer

    def _bulk_in_part(self, bulk: Any, mood: FaultMode) -> tuple[int, bytes, list[tuple[str, str]]]:
        docs = bulk["docs"]
        if mood is FaultMode.CONFLICTS:
            taken, refused, why = docs[::2], docs[1::2], "conflict"
        else:
            taken, refused, why = docs[: len(docs) // 2], docs[len(docs) // 2 :], "internal_server_error"
        status, content, headers = self._pass_on(json.dumps({**bulk, "docs": taken}).encode())
        if status != 201:  # no such database yet, and the like
            return status, content, headers
        rows = json.loads(content) + [{"id": doc["_id"], "error": why, "reason": "a drill"} for doc in refused]
        return status, json.dumps(rows).encode(), headers

    def _pass_on(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        headers = {name: value for name in _KEPT_HEADERS if (value := self.headers.get(name))}
        self.upstream.request(self.command, self.path, body or None, headers)
        answer = self.upstream.getresponse()
        content = answer.read()
        return answer.status, content, [item for item in answer.getheaders() if item[0].lower() not in _HOP_HEADERS]

    def _answer(self, status: int, content: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
