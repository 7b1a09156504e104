"""The top of the operator's first page: each thing that needs somebody, in the reader's language, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.cutting_proxy import cutting_proxy
from tests.support.factories import NOW
from tests.support.operators import signed_in
from worker.app import enqueue_backfill
from worker.domain.account import AccountState
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.lanes import QUEUES
from worker.domain.series import Series
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.registry.outcomes import RunOutcome

_NEED = re.compile(r'<li>\s*<span class="pill pill-(act|wait)">[^<]*</span>\s*<span>(.*?)</span>\s*</li>', re.S)


@dataclass(frozen=True)
class Need:
    level: str
    text: str
    page: str


def read_needs(browser: TestClient, language: str = "en") -> list[Need]:
    page = browser.get("/operator", headers={"Accept-Language": language}).text
    needs = []
    for level, html in _NEED.findall(page):
        link = re.search(r'<a href="([^"]+)"', html)
        text = " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())
        needs.append(Need(level, text, unescape(link[1]) if link else ""))
    assert ("Nothing needs anybody." in page or "Rien à traiter." in page) == (not needs)
    return needs


def run_worker(service: ApiService, queues: tuple[str, ...] = tuple(QUEUES), silent_s: float = 0) -> None:
    heartbeats = Heartbeats(service.parts.stores.redis)
    seen_at = heartbeats.now() - silent_s
    heartbeats.record_worker("host-1", WorkerHeartbeat("all@host", seen_at, seen_at, 0, 4, queues))


def make_calm(service: ApiService) -> TestClient:
    """Let all processes run; return an operator's browser."""
    heartbeats = Heartbeats(service.parts.stores.redis)
    run_worker(service)
    heartbeats.record_beat()
    heartbeats.record_tick()
    service.parts.stores.settings.data_dir.chmod(0o700)
    return signed_in(service.app, service.parts)


def stop_worker(service: ApiService) -> None:
    Heartbeats(service.parts.stores.redis).forget_worker("host-1")


def silence_worker(service: ApiService) -> None:
    run_worker(service, silent_s=300)


def leave_a_queue(service: ApiService) -> None:
    run_worker(service, ("nightly",))
    enqueue_backfill(service.add(11), broker_url=service.parts.stores.broker_url)


def stop_beat(service: ApiService) -> None:
    service.parts.stores.redis.hdel("releve:heartbeat", "beat")


def close_gate(service: ApiService) -> None:
    service.parts.sync.ledger.close_gate(120)


def hold_request(service: ApiService) -> None:
    request = ConnectionRequest(
        id="held", supplier="enedis", browser="b", begun_on=TODAY, created_at=NOW, state=RequestState.HELD
    )
    service.parts.consent.requests.create(request)


def let_consents_end(service: ApiService) -> None:
    for number, days in ((11, 0), (12, 7), (13, 8)):
        service.parts.stores.registry.accounts.add(
            "enedis",
            f"30001640{number:06}",
            NOW,
            token_needed=False,
            consent_from=TODAY - timedelta(days=900),
            consent_until=TODAY + timedelta(days=days),
        )


def lose_workers(service: ApiService) -> None:
    lost = RunOutcome(code="WORKER_LOST", message="", last_day=None, stored=False)
    service.parts.stores.registry.outcomes.record(service.add(11), Series.DAILY, "r1", NOW, lost)


def refuse_accounts(service: ApiService) -> None:
    for number in (11, 12):
        account_id = service.add(number)
        service.parts.stores.registry.accounts.set_state(
            account_id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW
        )


def fail_output(service: ApiService) -> None:
    outputs = service.parts.stores.registry.outputs
    output_id = outputs.insert("webhook", {"url": "https://example.org/"}, NOW)
    outputs.record_failure(output_id, "NotDelivered", "away", NOW, sent=False)


def open_folder(service: ApiService) -> None:
    service.parts.stores.settings.data_dir.chmod(0o755)


@pytest.mark.parametrize(
    ("happens", "level", "words", "page"),
    [
        (stop_worker, "act", "no worker is running", ""),
        (silence_worker, "wait", "restart it", ""),
        (leave_a_queue, "act", "messages wait in control", ""),
        (stop_beat, "act", "beat has never sent a message", ""),
        (close_gate, "wait", "no calls for another", ""),
        (hold_request, "wait", "1 connection request is waiting for your approval", ""),
        (let_consents_end, "wait", "2 consents expire within 7 days.", "/operator/accounts?ending=7"),
        (lose_workers, "wait", "ended three workers", "/operator/accounts?code=WORKER_LOST"),
        (refuse_accounts, "wait", "2 accounts can’t be read", "/operator/accounts?code=LOGIN_FAILED"),
        (fail_output, "wait", "has received nothing since", ""),
        (open_folder, "wait", "other users can read", ""),
    ],
)
def test_what_needs_somebody_is_told_in_both_languages_with_what_mends_it(
    service: ApiService, happens: Callable[[ApiService], None], level: str, words: str, page: str
) -> None:
    browser = make_calm(service)
    assert read_needs(browser) == []
    happens(service)
    (english,) = read_needs(browser)
    assert (english.level, english.page) == (level, page) and words in english.text
    if page:
        assert browser.get(page).status_code == 200
    (french,) = read_needs(browser, "fr")
    assert (french.level, french.page) == (level, page)
    assert (
        not set(english.text.split()) & {"the", "is", "it"} & set(french.text.split()) and french.text != english.text
    )


def test_an_incident_is_told_for_each_series_it_holds(service: ApiService) -> None:
    browser = make_calm(service)
    service.parts.sync.incidents.open_by_hand()
    told = read_needs(browser)
    assert len(told) == 2 and all("releve incidents" in need.text for need in told)


def test_a_night_too_large_for_the_quota_names_the_supplier(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path, calls_per_hour="1") as service:
        browser = make_calm(service)
        for number in range(11, 41):
            service.add(number)
        (need,) = read_needs(browser)
    assert need.level == "wait" and need.text.startswith("Enedis: a nightly sync needs ")


def test_what_is_red_comes_first(service: ApiService) -> None:
    browser = make_calm(service)
    for happens in (open_folder, let_consents_end, close_gate, stop_worker, stop_beat):
        happens(service)
    assert [need.level for need in read_needs(browser)] == ["act", "act", "wait", "wait", "wait"]


def test_a_broker_that_does_not_answer_is_told(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path, broker_url="redis://127.0.0.1:9/0") as service:
        (need,) = read_needs(make_calm(service))
    assert need.level == "act" and "broker does not answer" in need.text


def test_without_redis_the_page_still_tells_what_the_registry_knows(redis_url: str, tmp_path: Path) -> None:
    with cutting_proxy(redis_url) as proxy, open_api_service(proxy.url, tmp_path) as service:
        browser = make_calm(service)
        refuse_accounts(service)
        proxy.close()
        needs, page = read_needs(browser), browser.get("/operator").text
        proxy.open()
    assert [need.level for need in needs] == ["act", "wait"] and "Redis does not answer" in needs[0].text
    assert 'id="fresh"' in page and 'id="queues"' not in page
