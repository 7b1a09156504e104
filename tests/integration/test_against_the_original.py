"""The comparison with the original: the stand-in of the Cozy stack's data API, and that both sides do the same work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from benchmarks.original import theirs
from tests.support import servers
from tests.support.canned_server import CUT, CannedAnswer, CannedServer, answer, canned_server
from worker.cli.totals_check import Truth

DAY, DATABASE = "/data/com.grandlyon.enedis.day/", "/home-com-grandlyon-enedis-day"
NO_DATABASE = answer(404, {"error": "not_found", "reason": "no_db_file"})
CREATED = answer(201, {"ok": True})


@contextmanager
def open_stack(*script: CannedAnswer) -> Iterator[tuple[CannedServer, str]]:
    try:
        with canned_server(*script) as couchdb, theirs.stack(couchdb.url) as stack:
            yield couchdb, stack.url
    except servers.NotInstalled as missing:
        pytest.skip(str(missing))


def send_request(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    response = requests.request(method, url, json=body, timeout=10)
    return response.status_code, response.json()


def test_a_doctypes_first_document_makes_its_database_and_comes_back_with_id_and_revision() -> None:
    stored = answer(201, {"ok": True, "id": "a1", "rev": "1-x"})
    with open_stack(NO_DATABASE, CREATED, stored) as (couchdb, url):
        status, body = send_request("POST", url + DAY, {"load": 7.5})
    assert (status, body["data"]) == (
        201,
        {"load": 7.5, "_id": "a1", "_rev": "1-x", "_type": "com.grandlyon.enedis.day"},
    )
    assert couchdb.requests == [
        ("POST", DATABASE, {"load": 7.5}),
        ("PUT", DATABASE, None),
        ("POST", DATABASE, {"load": 7.5}),
    ]


def test_an_index_is_made_once_and_then_said_to_exist() -> None:
    index = {"index": {"fields": ["year"]}}
    with open_stack(answer(200, {"result": "created", "id": "i"}), answer(200, {"indexes": []})) as (couchdb, url):
        answers = [send_request("POST", f"{url}{DAY}_index", index) for _ in range(2)]
    assert answers == [(200, {"result": "created", "id": "i"}), (200, {"result": "exists", "id": "i"})]
    assert couchdb.requests == [("POST", f"{DATABASE}/_index", index), ("GET", f"{DATABASE}/_index", None)]


def test_a_search_finds_a_hundred_where_nobody_says_how_many() -> None:
    with open_stack(answer(200, {"docs": []}), answer(200, {"docs": []})) as (couchdb, url):
        send_request("POST", f"{url}{DAY}_find", {"selector": {"year": 2024}})
        send_request("POST", f"{url}{DAY}_find", {"selector": {"year": 2024}, "limit": 5})
    assert [body["limit"] for _, _, body in couchdb.requests] == [100, 5]


def test_all_else_is_passed_on_as_it_is_and_so_is_a_refusal() -> None:
    conflict = answer(409, {"error": "conflict"})
    with open_stack(answer(200, {"rows": []}), answer(200, {"ok": True}), conflict) as (couchdb, url):
        answers = [
            send_request("POST", f"{url}{DAY}_all_docs?include_docs=true", {}),
            send_request("DELETE", f"{url}{DAY}a1?rev=1-x"),
            send_request("PUT", f"{url}{DAY}a2", {"load": 1, "_rev": "1-y"}),
        ]
    assert answers == [(200, {"rows": []}), (200, {"ok": True}), (409, {"error": "conflict"})]
    assert couchdb.requests == [
        ("POST", f"{DATABASE}/_all_docs?include_docs=true", {}),
        ("DELETE", f"{DATABASE}/a1?rev=1-x", None),
        ("PUT", f"{DATABASE}/a2", {"load": 1, "_rev": "1-y"}),
    ]


def test_a_connection_that_was_closed_meanwhile_is_no_failure_but_a_server_that_is_gone_is() -> None:
    with open_stack(answer(200, {"n": 1}), CUT, answer(200, {"n": 2}), CUT, CUT) as (_, url):
        answers = [send_request("GET", f"{url}{DAY}a1") for _ in range(3)]
    assert answers[:2] == [(200, {"n": 1}), (200, {"n": 2})]
    assert answers[2][0] == 502


def measured(days: int) -> Truth:
    """Return the last days before today, at 600 W and slowly more."""
    first = date(2024, 7, 25) - timedelta(days=days)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=2)
    starts = [midnight + number * timedelta(minutes=30) for number in range(48 * days)]
    curve = [(f"{start:%Y-%m-%dT%H:%M:%SZ}", 30, 600 + 2 * number) for number, start in enumerate(starts)]
    daily = {
        (first + timedelta(days=n)).isoformat(): sum(w for _, _, w in curve[48 * n :][:48]) / 2 for n in range(days)
    }
    return Truth(daily, curve)


def test_rows_are_labelled_with_local_ends_and_a_call_brings_seven_days() -> None:
    rows = theirs.Rows.from_truth(measured(days=10))
    assert [len(call) for call in rows.curves] == [7 * 48, 3 * 48]
    assert (rows.curves[0][0], rows.curves[1][-1][0]) == (["2024-07-15 00:30:00", 600], "2024-07-25 00:00:00")
    assert rows.daily[0][0] == "2024-07-15"
    assert rows.for_later_run() == theirs.Rows(rows.daily, rows.curves[-1:])


@pytest.fixture(scope="module")
def couchdb() -> Iterator[str]:
    """Yield a CouchDB address where the original's library is installed; only the comparison needs it."""
    try:
        theirs.version()
        with servers.couchdb_server() as url:
            yield url.removeprefix("couchdb+").rstrip("/")
    except servers.NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("flow", theirs.FLOWS)
def test_the_originals_library_stores_what_was_measured_and_finds_nothing_new_later(flow: str, couchdb: str) -> None:
    truth, prefix = measured(days=2), f"{flow}-"
    daily, [steps] = theirs.Rows.from_truth(truth).daily, theirs.Rows.from_truth(truth).curves
    # Two calls meet within an hour, for which the konnector's second total replaces the first one.
    rows = theirs.Rows(daily, [steps[:49], steps[49:]])
    with theirs.stack(couchdb, prefix) as stack:
        first, later = theirs.sync(flow, rows, stack.url), theirs.sync(flow, rows.for_later_run(), stack.url)
    stored = theirs.content(couchdb, prefix)
    assert stored == truth.expected_loads()
    assert (first.added, later.added) == (96 + 48 + 2 + 1 + 1 + (flow == "konnector"), 0)
