"""Numbers of requests of the CouchDB store, counted by a proxy before a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.conftest import couch_databases
from tests.support.counting_proxy import CountingProxy
from tests.support.fakes import ByDoctype
from worker.domain.documents import Document, Entry, to_document
from worker.domain.series import Doctype
from worker.stores.measures import open_measures

ACCOUNT = "acc"
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def proxy(couchdb_url: str) -> Iterator[CountingProxy]:
    with CountingProxy(couchdb_url) as proxy:
        yield proxy


@pytest.fixture
def measures(proxy: CountingProxy) -> Iterator[ByDoctype]:
    with couch_databases(proxy.url) as (url, prefix):
        yield ByDoctype(open_measures(url, prefix=prefix))


@pytest.fixture
def created_measures(proxy: CountingProxy, measures: ByDoctype) -> ByDoctype:
    """All five databases, created, and known to be partitioned or not."""
    for store in measures.values():
        store.write(documents(1))
        store.read(ACCOUNT, "", "~")
    measures.erase(ACCOUNT)
    proxy.clear()
    return measures


def documents(count: int) -> list[Document]:
    keys = (FIRST + n * timedelta(minutes=30) for n in range(count))
    return [{"_id": f"{ACCOUNT}:{key:%Y-%m-%dT%H:%MZ}", "load": 0.5} for key in keys]


def methods(proxy: CountingProxy) -> list[str]:
    return [method for method, _ in proxy.requests]


def test_an_account_is_read_in_one_request_however_much_it_has(
    proxy: CountingProxy, created_measures: ByDoctype
) -> None:
    created_measures[Doctype.MINUTE].write(documents(1_400))
    proxy.clear()
    assert len(created_measures[Doctype.MINUTE].read(ACCOUNT, "", "~")) == 1_400
    assert methods(proxy) == ["GET"]


@pytest.mark.parametrize("count, requests", [(0, 0), (1, 1), (500, 1), (501, 2), (1_344, 3)])
def test_a_write_takes_one_request_per_five_hundred(
    proxy: CountingProxy, created_measures: ByDoctype, count: int, requests: int
) -> None:
    assert created_measures[Doctype.MINUTE].write(documents(count)) == []
    assert methods(proxy) == ["POST"] * requests


def test_lost_races_cost_no_request_of_their_own(proxy: CountingProxy, created_measures: ByDoctype) -> None:
    created_measures[Doctype.MINUTE].write(documents(500))
    proxy.clear()
    assert len(created_measures[Doctype.MINUTE].write(documents(500))) == 500
    assert methods(proxy) == ["POST"]


def test_a_fresh_server_costs_one_request_a_database_and_one_a_process_more(
    proxy: CountingProxy, measures: ByDoctype
) -> None:
    for store in measures.values():
        store.read(ACCOUNT, "", "~")
        store.write(documents(1))
        store.read(ACCOUNT, "", "~")
    assert methods(proxy).count("PUT") == len(Doctype)
    assert methods(proxy).count("POST") == len(Doctype)
    assert methods(proxy).count("GET") - 2 * len(Doctype) <= 1  # One more where the server has no partitions.


def test_making_the_databases_ahead_takes_one_request_each_and_none_later(
    proxy: CountingProxy, measures: ByDoctype
) -> None:
    measures.prepare()
    assert methods(proxy) == ["PUT"] * len(Doctype)
    proxy.clear()
    for store in measures.values():
        store.write(documents(1))
    assert methods(proxy) == ["POST"] * len(Doctype)


def test_databases_that_are_there_cost_at_most_one_request_a_process_more(
    proxy: CountingProxy, measures: ByDoctype
) -> None:
    for store in measures.values():
        store.write(documents(1))
    prefix = "".join(path.partition("-")[0].lstrip("/") + "-" for _, path in proxy.requests[:1])
    proxy.clear()
    another_process = ByDoctype(open_measures(proxy.url, prefix=prefix))
    for store in another_process.values():
        assert len(store.read(ACCOUNT, "", "~")) == 1
    assert len(Doctype) <= len(proxy.requests) <= len(Doctype) + 1


def test_erasing_takes_two_requests_a_page_and_one_to_see_the_end(
    proxy: CountingProxy, created_measures: ByDoctype
) -> None:
    created_measures[Doctype.MINUTE].write(documents(1_001))
    proxy.clear()
    assert created_measures.erase(ACCOUNT) == 1_001
    # One more read for each of the empty doctypes.
    assert sorted(methods(proxy)) == ["GET"] * (3 + 1 + len(Doctype) - 1) + ["POST"] * 3


def test_connections_are_kept(proxy: CountingProxy, created_measures: ByDoctype) -> None:
    for _ in range(5):
        created_measures[Doctype.MINUTE].read(ACCOUNT, "", "~")
    assert len(proxy.connections) == 1


@pytest.fixture
def packed(proxy: CountingProxy) -> Iterator[ByDoctype]:
    """Both databases of the packed layout, created, and known to be partitioned or not."""
    with couch_databases(proxy.url) as (url, prefix):
        measures = ByDoctype(open_measures(url, prefix=prefix, layout="packed"))
        measures.prepare()
        for store in measures.values():
            store.read(ACCOUNT, "", "~")
        proxy.clear()
        yield measures


def half_hours(count: int, energy: int = 500_000) -> list[Document]:
    keys = (FIRST + n * timedelta(minutes=30) for n in range(count))
    return [
        to_document(ACCOUNT, Doctype.MINUTE, Entry(f"{key:%Y-%m-%dT%H:%MZ}", energy), datetime(2024, 3, 1, tzinfo=UTC))
        for key in keys
    ]


@pytest.mark.parametrize("days", [0, 1, 28])
def test_new_days_are_packed_in_one_request_however_many_half_hours_they_have(
    proxy: CountingProxy, packed: ByDoctype, days: int
) -> None:
    assert packed[Doctype.MINUTE].write(half_hours(48 * days)) == []
    assert methods(proxy) == ["POST"] * bool(days)


def test_what_is_replaced_in_a_pack_is_read_in_one_request_before(proxy: CountingProxy, packed: ByDoctype) -> None:
    packed[Doctype.MINUTE].write(half_hours(48 * 28))
    stored = packed[Doctype.MINUTE].read(ACCOUNT, "", "~")
    proxy.clear()
    assert packed[Doctype.MINUTE].write([{**document, "load": 0.25} for document in stored]) == []
    assert [path.rpartition("/")[2] for _, path in proxy.requests] == ["_all_docs?include_docs=true", "_bulk_docs"]


def test_new_values_of_a_day_that_is_there_cost_a_request_to_find_out(proxy: CountingProxy, packed: ByDoctype) -> None:
    documents = half_hours(40)
    packed[Doctype.MINUTE].write(documents[:20])
    proxy.clear()
    assert packed[Doctype.MINUTE].write(documents[20:]) == []
    paths = [path.rpartition("/")[2] for _, path in proxy.requests]
    assert paths == ["_bulk_docs", "_all_docs?include_docs=true", "_bulk_docs"]
    assert len(packed[Doctype.MINUTE].read(ACCOUNT, "", "~")) == 40


def test_readings_and_totals_are_read_and_written_together(proxy: CountingProxy, packed: ByDoctype) -> None:
    hours = [
        to_document(ACCOUNT, Doctype.HOUR, Entry("2024-01-01T00:00Z", 1_000_000), datetime(2024, 3, 1, tzinfo=UTC))
    ]
    lost = packed.write({Doctype.MINUTE: half_hours(2), Doctype.HOUR: hours})
    assert lost == {Doctype.MINUTE: [], Doctype.HOUR: []}
    stored = packed.read(ACCOUNT, {Doctype.HOUR: ("0", "~"), Doctype.MINUTE: ("0", "~")})
    assert [len(stored[period]) for period in (Doctype.MINUTE, Doctype.HOUR)] == [2, 1]
    assert methods(proxy) == ["POST", "GET"]


def test_a_window_is_one_request_a_doctype_in_order(proxy: CountingProxy, created_measures: ByDoctype) -> None:
    day, month = ({"_id": f"{ACCOUNT}:{key}", "load": 0.5} for key in ("2024-01-01", "2024-01"))
    assert not any(created_measures.write({Doctype.DAY: [day], Doctype.MONTH: [month], Doctype.YEAR: []}).values())
    stored = created_measures.read(ACCOUNT, {Doctype.MONTH: ("0", "~"), Doctype.DAY: ("0", "~")})
    assert not any(created_measures.write({Doctype.DAY: []}, stored).values())
    databases = [path.split("/")[1].rpartition("-")[2] for _, path in proxy.requests]
    assert list(zip(methods(proxy), databases, strict=True)) == [
        ("POST", "day"),
        ("POST", "month"),
        ("GET", "month"),
        ("GET", "day"),
        ("POST", "day"),
        ("POST", "month"),
    ]
