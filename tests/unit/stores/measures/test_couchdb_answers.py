"""The CouchDB store with all kinds of answers, from CouchDB's documentation and from proxies."""

from __future__ import annotations

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.canned_server import (
    CUT,
    SILENT,
    CannedAnswer,
    CannedServer,
    answer,
    canned_server,
    chunked,
    cut_short,
)
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.couchdb import CouchDatabase, CouchServer

pytestmark = pytest.mark.sockets

DATABASE = "com-grandlyon-enedis-minute"
PARTITION = f"/{DATABASE}/_partition/acc/_all_docs"
ALL_DOCS = f"/{DATABASE}/_all_docs"
BULK = f"/{DATABASE}/_bulk_docs"
NO_DATABASE = {"error": "not_found", "reason": "Database does not exist."}
SECRET = "s3cret:p@ss"
PAGE = "<html><body>Bad gateway</body></html>"
DOCUMENT = {"_id": "acc:2024-01-01T00:00Z", "load": 0.123456}


def store_at(server: CannedServer, timeout_s: float = 5.0) -> CouchDatabase:
    return CouchDatabase(CouchServer(server.url, ("relève", SECRET), timeout_s), "com.grandlyon.enedis.minute")


def rows(*documents: dict[str, Any]) -> dict[str, Any]:
    body = [{"id": doc["_id"], "key": doc["_id"], "value": {"rev": "1-a"}, "doc": doc} for doc in documents]
    return {"total_rows": len(body), "offset": 0, "rows": body}


def written(*documents: dict[str, Any]) -> CannedAnswer:
    return answer(201, [{"ok": True, "id": document["_id"], "rev": "1-a"} for document in documents])


def paths(server: CannedServer) -> list[tuple[str, str]]:
    return [(method, urlsplit(path).path) for method, path, _ in server.requests]


def test_a_read_asks_the_partition_for_a_half_open_range_with_documents() -> None:
    stored = {**DOCUMENT, "_rev": "1-a"}
    with canned_server(answer(200, rows(stored))) as server:
        assert store_at(server).read("acc", "2024-01-01T00:00Z", "2024-01-02") == [stored]
    [(method, path, _)] = server.requests
    assert (method, urlsplit(path).path) == ("GET", PARTITION)
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    assert json.loads(query["startkey"]) == "acc:2024-01-01T00:00Z"
    assert json.loads(query["endkey"]) == "acc:2024-01-02"
    assert (query["inclusive_end"], query["include_docs"]) == ("false", "true")
    assert int(query["limit"]) >= 745 * 24 * 12  # Without a limit the server's own cap would silently cut.


def test_a_password_with_signs_in_it_reaches_the_server_and_no_text() -> None:
    with canned_server(answer(200, rows())) as server:
        store = store_at(server)
        store.read("acc", "", "~")
    assert server.headers[0]["authorization"] == "Basic cmVsw6h2ZTpzM2NyZXQ6cEBzcw=="
    assert "s3cret" not in repr(store) + repr(vars(store))


def test_a_database_that_is_not_partitioned_is_read_whole_and_asked_just_once() -> None:
    refusal = answer(400, {"error": "bad_request", "reason": "database is not partitioned"})
    stored = {**DOCUMENT, "_rev": "1-a"}
    with canned_server(refusal, *[answer(200, rows(stored))] * 2) as server:
        store = store_at(server)
        assert store.read("acc", "", "~") == store.read("acc", "", "~") == [stored]
    assert paths(server) == [("GET", PARTITION), ("GET", ALL_DOCS), ("GET", ALL_DOCS)]


def test_a_server_without_partitions_is_found_out_once_for_all_doctypes() -> None:
    stored = {**DOCUMENT, "_rev": "1-a"}
    no_such_path = answer(404, {"error": "not_found", "reason": "missing"})
    with canned_server(no_such_path, *[answer(200, rows(stored))] * 2) as server:
        link = CouchServer(server.url, None, 5.0)
        for doctype in ("com.grandlyon.enedis.minute", "com.grandlyon.enedis.hour"):
            assert CouchDatabase(link, doctype).read("acc", "", "~") == [stored]
    assert len(server.requests) == 3


def test_documents_of_many_accounts_are_looked_up_by_their_ids_whatever_their_rows_say() -> None:
    """Rows of CouchDB 3 for documents that exist, never existed, are deleted, or were erased during the answer."""
    stored, ids = {**DOCUMENT, "_rev": "1-a"}, [DOCUMENT["_id"], "acc:none", "b:gone", "c:going"]
    answer_rows = rows(stored)["rows"] + [
        {"key": "acc:none", "error": "not_found"},
        {"id": "b:gone", "key": "b:gone", "value": {"rev": "2-b", "deleted": True}, "doc": None},
        {"id": "c:going", "key": "c:going", "value": {"rev": "1-c"}, "doc": None},
    ]
    with canned_server(answer(200, {"total_rows": 9, "offset": None, "rows": answer_rows})) as server:
        assert store_at(server).look_up(ids) == [stored]
    assert server.requests == [("POST", f"{ALL_DOCS}?include_docs=true", {"keys": ids})]


def test_a_look_up_finds_nothing_in_a_missing_database_which_the_next_write_makes() -> None:
    with canned_server(answer(404, NO_DATABASE), answer(201, {"ok": True}), written(DOCUMENT)) as server:
        store = store_at(server)
        assert store.look_up(["acc:1"]) == []
        assert store.write([DOCUMENT]) == []
    assert paths(server) == [("POST", ALL_DOCS), ("PUT", f"/{DATABASE}"), ("POST", BULK)]


@pytest.mark.parametrize(
    "canned",
    [answer(200, {"rows": []}), answer(200, {"rows": [1]}), answer(200, [1]), answer(400, {}), answer(500, {})],
)
def test_a_look_up_that_is_not_answered_for_every_document_is_an_outage(canned: CannedAnswer) -> None:
    with canned_server(*[canned] * 2) as server, pytest.raises(StoreUnavailable):
        store_at(server).look_up(["acc:1"])


def test_a_missing_database_is_empty_and_made_by_the_first_write() -> None:
    script = answer(404, NO_DATABASE), answer(201, {"ok": True}), written(DOCUMENT)
    with canned_server(*script) as server:
        store = store_at(server)
        assert store.read("acc", "", "~") == []
        assert store.write([DOCUMENT]) == []
    assert paths(server) == [("GET", PARTITION), ("PUT", f"/{DATABASE}"), ("POST", BULK)]
    assert server.requests[1][1] == f"/{DATABASE}?partitioned=true"
    assert server.requests[2][2] == {"docs": [DOCUMENT]}


def test_a_database_is_empty_when_it_has_no_document_or_is_missing() -> None:
    script = [answer(404, NO_DATABASE), answer(200, rows()), answer(200, rows(DOCUMENT)), *[answer(500, {})] * 2]
    with canned_server(*script) as server:
        store = store_at(server)
        assert [store.is_empty() for _ in range(3)] == [True, True, False]
        with pytest.raises(StoreUnavailable):
            store.is_empty()
    assert {path for _, path, _ in server.requests} == {f"{ALL_DOCS}?limit=1"}


def test_a_database_of_a_cluster_is_made_with_its_shards_and_copies() -> None:
    with canned_server(answer(202, {"ok": True}), answer(412, {"error": "file_exists", "reason": "…"})) as server:
        link = CouchServer(server.url, None, 5.0)
        store = CouchDatabase(link, "com.grandlyon.enedis.minute", shards=8, replicas=3)
        assert store.create_if_missing()  # 202: Some nodes don't know of it yet.
        assert not store.create_if_missing()
    method, path, _ = server.requests[0]
    assert (method, urlsplit(path).path) == ("PUT", f"/{DATABASE}")
    assert parse_qs(urlsplit(path).query) == {"partitioned": ["true"], "q": ["8"], "n": ["3"]}


def test_shards_that_the_cluster_refuses_name_the_settings() -> None:
    refusal = answer(400, {"error": "bad_request", "reason": "The `q` parameter is not an integer greater than 0."})
    with canned_server(refusal) as server, pytest.raises(WriteRefused, match="RELEVE_COUCHDB_SHARDS") as caught:
        CouchDatabase(CouchServer(server.url, None, 5.0), "com.grandlyon.enedis.minute", shards=8).create_if_missing()
    assert "\n" not in str(caught.value)


def test_documents_that_less_than_a_quorum_has_written_yet_are_written() -> None:
    accepted = answer(202, [{"ok": True, "id": DOCUMENT["_id"], "rev": "1-a"}])
    with canned_server(accepted) as server:
        assert store_at(server).write([DOCUMENT]) == []


def test_a_write_to_a_database_that_vanished_makes_it_anew() -> None:
    script = answer(404, NO_DATABASE), answer(412, {"error": "file_exists", "reason": "…"}), written(DOCUMENT)
    with canned_server(*script) as server:
        assert store_at(server).write([DOCUMENT]) == []  # 412: Another process was faster.
    assert paths(server) == [("POST", BULK), ("PUT", f"/{DATABASE}"), ("POST", BULK)]


def test_a_database_that_can_t_be_made_is_an_outage_and_not_a_loop() -> None:
    script = answer(404, NO_DATABASE), answer(201, {"ok": True}), answer(404, NO_DATABASE)
    with canned_server(*script) as server, pytest.raises(StoreUnavailable, match="can't be created"):
        store_at(server).write([DOCUMENT])


def test_a_page_of_a_proxy_saying_404_is_not_an_empty_database() -> None:
    with canned_server(*[answer(404, PAGE, "text/html")] * 2) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable, match="404"):
            store.read("acc", "", "~")


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_database_that_this_user_may_not_create_is_named_and_not_the_password(status: int) -> None:
    missing, refusal = answer(404, NO_DATABASE), answer(status, {"error": "unauthorized"})
    there = answer(200, {"db_name": DATABASE})
    # Of the second write: an administrator has created it meanwhile.
    with canned_server(missing, refusal, missing, missing, refusal, there, written(DOCUMENT)) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable, match=f"{DATABASE} is missing.*run `releve migrate`") as caught:
            store.write([DOCUMENT])
        assert store.write([DOCUMENT]) == []
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("operation", ["read", "write", "create"])
def test_missing_rights_say_what_the_operator_must_do(status: int, operation: str) -> None:
    refusal = answer(status, {"error": "unauthorized", "reason": "Name or password is incorrect."})
    script = [answer(404, NO_DATABASE), refusal, refusal] if operation == "create" else [refusal]
    with canned_server(*script) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable, match="check user name and password") as caught:
            store.read("acc", "", "~") if operation == "read" else store.write([DOCUMENT])
    assert str(status) in str(caught.value)
    assert "s3cret" not in str(caught.value)


OUTAGES = {
    "409 to the whole request": answer(409, {"error": "conflict", "reason": "…"}),
    "429": answer(429, {"error": "too_many_requests", "reason": "…"}, **{"Retry-After": "3"}),
    "500": answer(500, {"error": "internal_server_error", "reason": "No DB shards could be opened."}),
    "500 with a body that is not JSON": answer(500, "oops"),
    "chunked 503 with a page": chunked(503, PAGE),
    "chunked 503 that says JSON": chunked(503, '{"error": "busy"}', "application/json"),
    "503 with a large page": answer(503, PAGE + "x" * 20_000, "text/html"),
    "502 without a content type": answer(502, PAGE, None),
    "502 without a body": answer(502, ""),
    "an error that is a JSON list": answer(500, []),
    "a page instead of JSON": answer(200, PAGE, "text/html"),
    "a redirect to itself": answer(302, "", None, Location="/"),
    "JSON of another shape": answer(200, {"hello": "world"}),
    "JSON that is a text": answer(200, '"ok"'),
    "JSON that breaks off": answer(200, '{"rows": ['),
    "an answer cut in the middle": cut_short(200, rows()),
    "a status line that is none": CannedAnswer(b"hello\r\n\r\n", cut=True),
    "no answer in time": SILENT,
    "a connection cut twice": CUT,
}


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("operation", ["read", "write", "erase"])
def test_an_outage_is_told_in_one_line_and_the_next_request_works(outage: str, operation: str) -> None:
    repeated = 8 if outage.startswith("a redirect") else 2 if outage.startswith("a connection") else 1
    with canned_server(*[OUTAGES[outage]] * repeated) as server:
        store = store_at(server, timeout_s=0.3 if outage == "no answer in time" else 5.0)
        with pytest.raises(StoreUnavailable) as caught:
            {
                "read": lambda: store.read("acc", "", "~"),
                "write": lambda: store.write([DOCUMENT]),
                "erase": lambda: store.erase("acc"),
            }[operation]()
        server.script[:] = [answer(200, rows())]
        assert store.read("acc", "", "~") == []
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_outage() -> None:
    with canned_server() as server:
        pass
    with pytest.raises(StoreUnavailable, match="can't be reached"):
        store_at(server).read("acc", "", "~")


def test_a_connection_that_died_while_idle_is_opened_again_unseen() -> None:
    last_words = CannedAnswer(answer(200, rows()).raw, cut=True)  # The server's keep-alive time ran out.
    with canned_server(last_words, written(DOCUMENT)) as server:
        store = store_at(server)
        store.read("acc", "", "~")
        assert store.write([DOCUMENT]) == []


def test_a_write_whose_answer_was_lost_is_sent_again_and_loses_against_itself() -> None:
    conflict = answer(201, [{"id": DOCUMENT["_id"], "error": "conflict", "reason": "Document update conflict."}])
    with canned_server(CUT, conflict) as server:
        assert store_at(server).write([DOCUMENT]) == [DOCUMENT]
    assert paths(server) == [("POST", BULK)] * 2


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_write_that_the_server_won_t_take_is_refused(status: int) -> None:
    refusal = answer(status, {"error": "too_large", "reason": "the request entity is too large"})
    with canned_server(refusal) as server, pytest.raises(WriteRefused, match=str(status)):
        store_at(server).write([DOCUMENT])


def test_a_value_that_json_can_t_carry_is_refused_before_anything_is_sent() -> None:
    with canned_server() as server, pytest.raises(WriteRefused):
        store_at(server).write([{**DOCUMENT, "load": float("nan")}])
    assert server.requests == []


def bulk_of(*errors: str | None) -> tuple[list[dict[str, Any]], CannedAnswer]:
    documents = [{"_id": f"acc:2024-01-{number + 1:02d}", "load": 0.5} for number in range(len(errors))]
    body = [
        {"id": document["_id"], "error": error, "reason": f"about {document}"} if error else {"id": document["_id"]}
        for document, error in zip(documents, errors, strict=True)
    ]
    return documents, answer(201, body)


def test_half_a_bulk_that_conflicts_gives_that_half_back() -> None:
    documents, canned = bulk_of("conflict", None, "conflict", None)
    with canned_server(canned) as server:
        assert store_at(server).write(documents) == [documents[0], documents[2]]


def test_half_a_bulk_that_is_forbidden_is_refused_by_its_words_alone() -> None:
    documents, canned = bulk_of(None, "forbidden", "conflict", "forbidden", None, "Said: acc:2024-01-05")
    with canned_server(canned) as server, pytest.raises(WriteRefused) as caught:
        store_at(server).write(documents)
    assert str(caught.value).endswith(": an error without a name, forbidden")


def test_half_a_bulk_that_the_server_failed_to_write_may_be_tried_again() -> None:
    documents, canned = bulk_of(None, "internal_server_error", "conflict", "timeout")
    with canned_server(canned) as server, pytest.raises(StoreUnavailable, match="internal_server_error, timeout"):
        store_at(server).write(documents)


def test_a_document_without_an_answer_is_not_taken_for_written() -> None:
    documents, _ = bulk_of(None, None)
    with canned_server(written(documents[0])) as server, pytest.raises(StoreUnavailable, match="lacks some documents"):
        store_at(server).write(documents)


def test_erasing_sends_nothing_of_the_documents_and_passes_conflicts_by() -> None:
    second = {**DOCUMENT, "_id": "acc:2024-01-02"}
    half = [{"id": DOCUMENT["_id"], "ok": True, "rev": "2-b"}, {"id": second["_id"], "error": "conflict"}]
    script = [
        answer(200, rows(DOCUMENT, second)),
        answer(201, half),
        answer(200, rows(second)),
        written(second),
        answer(200, rows()),
    ]
    with canned_server(*script) as server:
        assert store_at(server).erase("acc") == 2
    assert server.requests[1][2]["docs"][0] == {"_id": DOCUMENT["_id"], "_rev": "1-a", "_deleted": True}


def test_erasing_gives_up_where_every_round_loses() -> None:
    conflict = answer(201, [{"id": DOCUMENT["_id"], "error": "conflict"}])
    with canned_server(*[answer(200, rows(DOCUMENT)), conflict] * 3) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable, match="keep changing"):
            store.erase("acc")


def test_an_answer_is_never_taken_from_a_cache() -> None:
    stored = [{**DOCUMENT, "load": load} for load in (1.0, 2.0)]
    script = [answer(200, rows(document), ETag='"same"') for document in stored]
    with canned_server(*script) as server:
        store = store_at(server)
        assert [store.read("acc", "", "~")[0]["load"] for _ in range(2)] == [1.0, 2.0]
    assert all("if-none-match" not in head for head in server.headers)


def test_after_an_error_page_two_threads_don_t_share_a_connection() -> None:
    """The package gives a connection back twice after a small page that is no JSON."""
    with canned_server(answer(502, PAGE, "text/html")) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable):
            store.read("acc", "", "~")
        server.script[:] = [answer(200, rows({**DOCUMENT, "_id": f"acc:{n}"})) for n in range(2)]
        gate = Event()
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(lambda: gate.wait() and store.read("acc", "", "~")) for _ in range(2)]
            gate.set()
            ids = sorted(document["_id"] for future in reading for document in future.result() or [])
    assert ids == ["acc:0", "acc:1"]


def test_what_is_left_of_a_failed_answer_closes_no_later_connection() -> None:
    """The package closes the connection of an answer in chunks when the answer is collected, however late."""
    with canned_server(chunked(503, PAGE), *[answer(200, rows())] * 2) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable) as caught:
            store.read("acc", "", "~")
        store.read("acc", "", "~")
        del caught
        gc.collect()
        store.read("acc", "", "~")
        assert server.connections == 2


@pytest.mark.parametrize("send", [answer, chunked], ids=["with its length", "in chunks"])
def test_m7_an_answer_without_an_end_is_an_outage(monkeypatch: pytest.MonkeyPatch, send: Any) -> None:
    monkeypatch.setattr("worker.stores.measures.couchdb.MOST_BYTES", 100_000)
    text = json.dumps(rows({**DOCUMENT, "_rev": "1-a", "x": "y" * 200_000}))
    with canned_server(send(200, text, "application/json"), answer(200, rows())) as server:
        store = store_at(server)
        with pytest.raises(StoreUnavailable, match="broken answer"):
            store.read("acc", "2024-01-01", "2024-01-02")
        assert store.read("acc", "2024-01-01", "2024-01-02") == [] and server.connections == 2
