"""Requests of a sync to the document store, counted on the wire; the original needs at least 3 167 for a first one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests

from simulator.switches import CLIENT_ID, SimulatorOptions
from tests.golden.keep_outputs import KEPT, PCE
from tests.golden.keep_outputs import NOW as HOME_NOW
from tests.support.counting_proxy import CountingProxy
from tests.support.factories import NOW
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.real_couchdb import real_couchdb_url
from tests.support.registries import switch_on
from tests.support.simulators import serve_in_background
from tests.support.waiting import DEADLINE_S
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.domain.series import Doctype, Series
from worker.runtime.sync_parts import build_auditor, build_inline

MOST_REQUESTS = {"plain": (40, 6), "packed": (20, 2)}  # Of a first and of an unchanged sync.
METER = "12345678901299"
# What each step of a home with panels, and of one with gas, took of CouchDB 3.5 at commit 9262099f: what is computed
# or told beside may not add one. The first step of a process takes one more of a server without partitions.
STEPS = ("first", "unchanged", "two nights later", "verify")
AT_9262099F = {
    "plain": {ENEDIS.name: (78, 10, 20, 14), GRDF.name: (15, 5, 8, 6)},
    "packed": {ENEDIS.name: (36, 4, 10, 12), GRDF.name: (15, 5, 8, 6)},
}


@pytest.fixture
def proxy(empty_couchdb_url: str) -> Iterator[CountingProxy]:
    """Yield a proxy before a server without databases, as a first sync needs it."""
    with CountingProxy(empty_couchdb_url) as proxy:
        yield proxy


@pytest.fixture
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def parts(installation: Installation, proxy: CountingProxy, layout: str) -> Iterator[Parts]:
    settings = {"measures_url": proxy.url, "layout": layout, "calls_per_second": "0", "calls_per_hour": "0"}
    with (
        serve_in_background(SimulatorOptions(pretend_now=NOW)) as supplier,
        installation.open(**settings, enedis_url=supplier) as parts,
    ):
        yield parts


@pytest.mark.rest
@pytest.mark.parametrize("layout", MOST_REQUESTS, indirect=True)
def test_a_first_sync_takes_40_requests_at_most_or_20_packed_and_an_unchanged_one_6_or_2(
    parts: Parts, proxy: CountingProxy, layout: str
) -> None:
    most_first, most_unchanged = MOST_REQUESTS[layout]
    account, _ = parts.stores.registry.accounts.add(ENEDIS.name, "12345678901299", parts.stores.now())
    inline = build_inline(parts.stores, parts.sync, print_line=print)
    first = list(inline.run_history(account.id))
    first_requests = list(proxy.requests)
    documents = {doctype: ByDoctype(parts.stores.measures)[doctype].read(account.id, "0", "~") for doctype in Doctype}
    stored = {doctype: len(of_doctype) for doctype, of_doctype in documents.items() if of_doctype}
    proxy.clear()
    unchanged = list(inline.run_look_back(account.id))

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


@pytest.mark.rest
@pytest.mark.parametrize("layout", AT_9262099F, indirect=True)
def test_no_step_of_a_home_with_panels_and_gas_takes_more_requests_than_at_9262099f(
    installation: Installation, proxy: CountingProxy, layout: str
) -> None:
    counted: dict[str, list[int]] = {ENEDIS.name: [], GRDF.name: []}
    options = SimulatorOptions(data_dir=KEPT / "recordings", pretend_homes=True, pretend_now=HOME_NOW)
    with serve_in_background(options) as supplier:
        control(supplier, f"meters/{METER}", panels_wp=3_000)
        unlimited = dict.fromkeys(("calls_per_second", "calls_per_hour", "grdf_calls_per_second"), "0")
        of_home = {"enedis_url": supplier, "grdf_url": supplier, "grdf_client_id": CLIENT_ID, **unlimited}
        for steps, now in ((STEPS[:2], HOME_NOW), (STEPS[2:], HOME_NOW + timedelta(days=2))):
            control(supplier, "clock", now=now.isoformat())
            settings = {"measures_url": proxy.url, "layout": layout, "pretend_now": now.isoformat()}
            with installation.open(**settings, **of_home) as parts:
                for name, meter in ((ENEDIS.name, METER), (GRDF.name, PCE)):
                    account, _ = parts.stores.registry.accounts.add(name, meter, now, token_needed=False)
                    if name == ENEDIS.name:
                        switch_on(
                            parts.stores.registry, account.id, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE
                        )
                    for step in steps:
                        proxy.clear()
                        assert do_step(parts, step, account.id), (name, step)
                        counted[name].append(len(proxy.requests))
    without_partitions = 1 if real_couchdb_url() is None else 0
    for name, (first, unchanged, later, verify) in AT_9262099F[layout].items():
        more = without_partitions if name == ENEDIS.name else 0
        most = (first + more, unchanged, later + more, verify)
        assert all(number <= limit for number, limit in zip(counted[name], most, strict=True)), (most, counted)


def control(supplier: str, path: str, **changes: object) -> None:
    requests.post(f"{supplier}/__sim__/{path}", json=changes, timeout=DEADLINE_S).raise_for_status()


def do_step(parts: Parts, step: str, account_id: str) -> bool:
    """Carry out a step, and return whether it did what it is to do."""
    if step == "verify":
        return not build_auditor(parts.stores, parts.sync, lambda job: None).verify_account(account_id).findings
    inline = build_inline(parts.stores, parts.sync, print_line=print)
    results = [*(inline.run_history if step == "first" else inline.run_look_back)(account_id)]
    created = sum(result["created"] for result in results)
    return not inline.failures and (created == 0 if step == "unchanged" else created > 0)
