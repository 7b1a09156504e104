"""Requests of a sync to the document store, counted on the wire; the original needs at least 3 167 for a first one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from simulator.switches import SimulatorOptions
from tests.support.counting_proxy import CountingProxy
from tests.support.factories import NOW
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation
from tests.support.simulators import serve_in_background
from worker.clients.enedis import ENEDIS
from worker.domain.series import Doctype
from worker.runtime.process import Runtime

MOST_REQUESTS = {"plain": (40, 6), "packed": (20, 2)}  # Of a first and of an unchanged sync.


@pytest.fixture
def proxy(empty_couchdb_url: str) -> Iterator[CountingProxy]:
    """Yield a proxy before a server without databases, as a first sync needs it."""
    with CountingProxy(empty_couchdb_url) as proxy:
        yield proxy


@pytest.fixture
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(installation: Installation, proxy: CountingProxy, layout: str) -> Iterator[Runtime]:
    settings = {"measures_url": proxy.url, "layout": layout, "calls_per_second": "0", "calls_per_hour": "0"}
    with (
        serve_in_background(SimulatorOptions(pretend_now=NOW)) as supplier,
        installation.open(**settings, enedis_url=supplier) as runtime,
    ):
        yield runtime


@pytest.mark.parametrize("layout", MOST_REQUESTS, indirect=True)
def test_a_first_sync_takes_40_requests_at_most_or_20_packed_and_an_unchanged_one_6_or_2(
    runtime: Runtime, proxy: CountingProxy, layout: str
) -> None:
    most_first, most_unchanged = MOST_REQUESTS[layout]
    account, _ = runtime.registry.add(ENEDIS.name, "12345678901299", runtime.now())
    inline = runtime.inline(print_line=print)
    first = list(inline.history(account.id))
    first_requests = list(proxy.requests)
    documents = {doctype: ByDoctype(runtime.measures)[doctype].read(account.id, "0", "~") for doctype in Doctype}
    stored = {doctype: len(of_doctype) for doctype, of_doctype in documents.items() if of_doctype}
    proxy.clear()
    unchanged = list(inline.look_back(account.id))

    assert not inline.failures
    assert stored == {
        Doctype.MINUTE: 28 * 48,
        Doctype.HOUR: 28 * 24,
        Doctype.DAY: 1095,
        Doctype.MONTH: 37,
        Doctype.YEAR: 4,
    }
    assert sum(stored.values()) == 3152
    assert sum(report["created"] for report in first) == 3152
    assert len(first_requests) <= most_first, Counter(first_requests)
    assert [(report["created"], report["updated"]) for report in unchanged] == [(0, 0), (0, 0)]
    assert len(proxy.requests) <= most_unchanged, proxy.requests
    assert {method for method, _ in proxy.requests} == {"GET"}
