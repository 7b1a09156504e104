"""The relay in front of CouchDB: each fault mode, as the store's own HTTP adapter sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from worker.drill.couchdb_relay import CouchdbRelay, FaultMode
from worker.errors import StoreUnavailable
from worker.stores.measures.couchdb_http import CouchServer

pytestmark = pytest.mark.sockets

DOCS = [{"_id": f"home:{number}"} for number in range(6)]


class TinyCouch(BaseHTTPRequestHandler):
    """Server that accepts every document of a bulk and records its id."""

    protocol_version = "HTTP/1.1"
    taken: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        bulk = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ids = [doc["_id"] for doc in bulk["docs"]]
        self.taken.extend(ids)
        body = json.dumps([{"ok": True, "id": document_id, "rev": "1-a"} for document_id in ids]).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


@pytest.fixture
def relay() -> Iterator[CouchdbRelay]:
    TinyCouch.taken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), TinyCouch)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with CouchdbRelay("127.0.0.1", server.server_address[1]) as relay:
        yield relay
    server.shutdown()
    thread.join()
    server.server_close()


def post_bulk(relay: CouchdbRelay) -> Any:
    server = CouchServer(f"http://127.0.0.1:{relay.port}", None, timeout_s=10)
    return server.post("homes", "_bulk_docs", body={"docs": DOCS}).body


def errors(rows: Any) -> dict[str, str]:
    return {row["id"]: row["error"] for row in rows if "error" in row}


def test_as_usual_everything_is_passed_on(relay: CouchdbRelay) -> None:
    assert errors(post_bulk(relay)) == {}
    assert TinyCouch.taken == [doc["_id"] for doc in DOCS]


def test_conflicts_and_halves_are_told_row_by_row_and_not_written(relay: CouchdbRelay) -> None:
    relay.mode = FaultMode.CONFLICTS
    assert errors(post_bulk(relay)) == {f"home:{number}": "conflict" for number in (1, 3, 5)}
    relay.mode = FaultMode.HALF
    assert errors(post_bulk(relay)) == {f"home:{number}": "internal_server_error" for number in (3, 4, 5)}
    assert sorted(TinyCouch.taken) == sorted(["home:0", "home:2", "home:4", "home:0", "home:1", "home:2"])


@pytest.mark.parametrize("mode", [FaultMode.ERRORS, FaultMode.AWAY])
def test_nothing_is_written_where_it_fails(relay: CouchdbRelay, mode: FaultMode) -> None:
    relay.mode = mode
    with pytest.raises(StoreUnavailable):
        post_bulk(relay)
    assert TinyCouch.taken == []


def test_a_lost_answer_is_a_written_bulk_that_looks_like_an_outage(relay: CouchdbRelay) -> None:
    relay.mode = FaultMode.LOST
    with pytest.raises(StoreUnavailable):
        post_bulk(relay)
    assert set(TinyCouch.taken) == {doc["_id"] for doc in DOCS}
