"""The relay in front of CouchDB: each mood is what a store sees of it, through the store's own adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from worker.drill.couchdb_relay import CouchRelay, FaultMode
from worker.errors import StoreUnavailable
from worker.stores.measures.couchdb_http import CouchServer

DOCS = [{"_id": f"home:{number}"} for number in range(6)]


class TinyCouch(BaseHTTPRequestHandler):
    """Takes every document of a bulk, and remembers it."""

    protocol_version = "HTTP/1.1"
    taken: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        bulk = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ids = [doc["_id"] for doc in bulk["docs"]]
        self.taken.extend(ids)
        body = json.dumps([{"ok": True, "id": each, "rev": "1-a"} for each in ids]).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def relay() -> Iterator[CouchRelay]:
    TinyCouch.taken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), TinyCouch)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with CouchRelay("127.0.0.1", server.server_address[1]) as relay:
        yield relay
    server.shutdown()
    thread.join()
    server.server_close()


def bulk(relay: CouchRelay) -> Any:
    server = CouchServer(f"http://127.0.0.1:{relay.port}", None, timeout_s=10)
    return server.post("homes", "_bulk_docs", body={"docs": DOCS}).body


def errors(rows: Any) -> dict[str, str]:
    return {row["id"]: row["error"] for row in rows if "error" in row}


def test_as_usual_everything_is_passed_on(relay: CouchRelay) -> None:
    assert errors(bulk(relay)) == {}
    assert TinyCouch.taken == [doc["_id"] for doc in DOCS]


def test_conflicts_and_halves_are_told_row_by_row_and_not_written(relay: CouchRelay) -> None:
    relay.mood = FaultMode.CONFLICTS
    assert errors(bulk(relay)) == {f"home:{number}": "conflict" for number in (1, 3, 5)}
    relay.mood = FaultMode.HALF
    assert errors(bulk(relay)) == {f"home:{number}": "internal_server_error" for number in (3, 4, 5)}
    assert sorted(TinyCouch.taken) == sorted(["home:0", "home:2", "home:4", "home:0", "home:1", "home:2"])


@pytest.mark.parametrize("mood", [FaultMode.ERRORS, FaultMode.AWAY])
def test_nothing_is_written_where_it_fails(relay: CouchRelay, mood: FaultMode) -> None:
    relay.mood = mood
    with pytest.raises(StoreUnavailable):
        bulk(relay)
    assert TinyCouch.taken == []


def test_a_lost_answer_is_a_written_bulk_that_looks_like_an_outage(relay: CouchRelay) -> None:
    relay.mood = FaultMode.LOST
    with pytest.raises(StoreUnavailable):
        bulk(relay)
    assert set(TinyCouch.taken) == {doc["_id"] for doc in DOCS}
