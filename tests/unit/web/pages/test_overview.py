"""The operator's page: the state of the fleet without any account's name."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.factories import NOW
from tests.support.operators import signed_in
from worker.app import enqueue_backfill, queue_lengths
from worker.domain.account import AccountState
from worker.domain.completeness import COMPLETE
from worker.domain.series import Series
from worker.runtime.supplier_settings import ledger_of
from worker.stores.registry.outcomes import HourFreshness, RunOutcome
from worker.web.pages import operator_overview

OPERATE = Path(__file__).parents[4] / "docs/how-to/operate.md"


def log_in(service: ApiService) -> tuple[TestClient, str]:
    """Return the browser of an operator who has signed in, with the page that it sees."""
    browser = signed_in(service.app, service.parts)
    return browser, browser.get("/operator").text


def record_day(service: ApiService, account_id: str, last_day: date, code: str | None = None) -> None:
    """Record a run that stored the daily values up to a day, which is complete."""
    service.parts.stores.registry.outcomes.record(
        account_id,
        Series.DAILY,
        "r1",
        NOW,
        RunOutcome(code=code, message="", last_day=last_day, stored=True, days={last_day: COMPLETE}),
    )


def test_with_gas_the_quota_and_gate_of_each_supplier_are_told(redis_url: str, tmp_path: Path) -> None:
    gas = {"grdf_client_id": "id", "grdf_client_secret": "secret", "grdf_url": "http://127.0.0.1:9"}
    with open_api_service(redis_url, tmp_path, **gas) as service:
        parts = service.parts
        preset = parts.sync.suppliers.clients_of("grdf").endpoints.preset
        ledger = ledger_of(preset, parts.stores.settings, parts.stores.redis)
        parts.stores.redis.flushdb()
        assert ledger.try_permit("data").permit
        ledger.close_gate(90)
        text = " ".join(re.sub(r"<[^>]+>", " ", log_in(service)[1]).split())
    told = text[text.index("GRDF quota") :]
    assert "Calls granted in the last 24 hours." in told and "grdf-adict" in told
    assert "1 / 6,000" in told and re.search(r"paused for another \d+ s", told)
    assert "Calls to the supplier: allowed" in text[: text.index("GRDF quota")], "the other supplier's gate is its own"


def test_without_gas_the_page_says_nothing_of_it(service: ApiService) -> None:
    _, page = log_in(service)
    assert "GRDF" not in page and "grdf" not in page and "gas" not in page


def test_the_page_tells_states_freshness_quota_gate_errors_and_queues(service: ApiService) -> None:
    ids = [service.add(number) for number in (11, 12, 13, 14)]
    service.parts.stores.registry.accounts.set_state(ids[3], AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    for account_id, days_ago, code in ((ids[0], 1, None), (ids[1], 1, "VENDOR_DOWN"), (ids[2], 4, None)):
        record_day(service, account_id, TODAY - timedelta(days=days_ago), code)
    table = service.parts.stores.registry.completeness
    for hours, complete in ((30, 9), (3, 6), (2, 9)):
        table.save_freshness(HourFreshness(NOW - timedelta(hours=hours), Series.DAILY, 12, complete))
    service.parts.sync.ledger.try_permit("mesure_synchrone_auto")
    service.parts.sync.ledger.close_gate(120)
    enqueue_backfill(ids[0], broker_url=service.parts.stores.broker_url)
    _, page = log_in(service)
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Active 3" in text and "To be reconnected 1" in text
    for link in ("state=ready", "state=action_needed", "late=daily", "code=VENDOR_DOWN"):
        assert f'href="/operator/accounts?{link}"' in page, "each number leads to its accounts"
    assert "66.7% · 2 / 3" in text and "0% · 0 / 3" in text
    assert "25 Jul 2024, 06:00 50% 25 Jul 2024, 07:00 75%" in text and "24 Jul 2024, 03:00" not in text
    assert (
        "VENDOR_DOWN Daily totals 1" in text and "VENDOR_DOWN No action needed. Relève retries automatically." in text
    )
    assert "0.1% · 1 / 1,000" in text and "paused for" in text
    assert (
        f"control {queue_lengths(service.parts.stores.broker_url)['control']}" in text
        and queue_lengths(service.parts.stores.broker_url)["control"] >= 1
    )
    assert not any(account_id in page for account_id in ids), "no account by name"
    service.parts.stores.redis.flushdb()


def test_before_the_nights_run_the_day_before_is_told_and_when_yesterday_comes(redis_url: str, tmp_path: Path) -> None:
    """D35: between midnight and the run the bars said 0 %, as if all were lost."""
    early = "2024-07-25T05:00:00+00:00"  # 07:00 in Paris.
    with open_api_service(redis_url, tmp_path, pretend_now=early) as service:
        account, last_day = service.add(11), TODAY - timedelta(days=2)
        record_day(service, account, last_day)
        text = " ".join(re.sub(r"<[^>]+>", " ", log_in(service)[1]).split())
    assert "Yesterday’s values arrive from 08:30. These are the values of 23 July 2024." in text
    assert "100% · 1 / 1" in text


def test_the_page_says_what_doctor_says_of_workers_and_beat_and_what_the_night_costs(service: ApiService) -> None:
    service.parts.stores.redis.flushdb()
    text = " ".join(re.sub(r"<[^>]+>", " ", log_in(service)[1]).split())
    assert "workers no worker is running: start one with releve up" in text
    assert "beat has never sent a message" in text
    assert "Next night: 0 calls a night" in text


def test_counts_that_take_long_are_kept_for_a_minute(service: ApiService, monkeypatch: pytest.MonkeyPatch) -> None:
    def count_ready(page: str) -> str:
        return re.findall(r'figure-energy">(\d+)<', page)[list(AccountState).index(AccountState.READY)]

    service.add(1)
    browser, page = log_in(service)
    assert count_ready(page) == "1"
    monkeypatch.setattr(operator_overview, "LONG_S", -1.0)
    service.add(2)
    assert count_ready(browser.get("/operator").text) == "2", "what was counted quickly isn't kept"
    service.add(3)
    assert count_ready(browser.get("/operator").text) == "2"
    service.app.state.operator_counts = (time.monotonic(), service.app.state.operator_counts[1])
    assert count_ready(browser.get("/operator").text) == "3"


def test_each_place_that_the_page_of_ten_questions_names_is_there(service: ApiService) -> None:
    service.parts.stores.registry.outcomes.record(
        service.add(11), Series.DAILY, "r1", NOW, RunOutcome(code="CODE", message="", last_day=None, stored=False)
    )
    browser, page = log_in(service)
    questions = re.findall(r"^\| [^|]+\? \|.*$", OPERATE.read_text(encoding="utf-8"), re.M)
    places = {place for row in questions for place in re.findall(r"`(/operator[^`]*)`", row)}
    assert len(questions) == 10 and all(re.search("`releve .*`/operator", row) for row in questions)
    ids, links = set(re.findall(r'id="([^"]+)"', page)), set(re.findall(r'href="([^"]+)"', page))
    wrong = {place for place in places if place.partition("#")[2] not in ids and place not in links}
    assert wrong == set()
    assert [browser.get(link).status_code for link in sorted(places)] == [200] * len(places)
