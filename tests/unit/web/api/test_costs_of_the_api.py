"""The API tells costs: the rows of `releve cost --json`, in pages."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.gas_entries import gas_period
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.cost_rows import find_window, read_rows
from worker.accounts.prices import load_tariff, set_prices
from worker.domain.documents import to_document
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Doctype, Period, Series
from worker.domain.sessions import Scope
from worker.stores.registry.tables import ACCOUNT_DETAILS

HOME = PanelHome(TODAY - timedelta(days=1), days=430, curve_days=40)
OWN = """
[[electricity]]
from = 2023-12-01
subscription = 31
hp = 0.25
hc = 0.125
[[production]]
from = 2024-01-01
price = 0.1
"""
GAS = "[[gas]]\nfrom = 2023-01-01\nsubscription = 31\nprice = 0.1\n"


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def client(service: ApiService) -> TestClient:
    return service.client(Scope.READ_MEASURES)


@pytest.fixture
def home(service: ApiService) -> str:
    account = service.add()
    store_home(service.parts, account, HOME)
    price(service, account, OWN)
    return account


def price(service: ApiService, account: str, own: str) -> None:
    registry = service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(own))


def rows_of(service: ApiService, account: str, by: str, first: date | None = None, last: date | None = None) -> Any:
    """Return what the command prints."""
    stores = service.parts.stores
    tariff = load_tariff(stores.registry, stores.measures, stores.registry.accounts.get_existing(account))
    window = find_window(TODAY, Period(by), first, last)
    return json.loads(json.dumps(read_rows(stores.measures, account, tariff, window, Period(by))[0]))


@pytest.mark.parametrize("by", ["hour", "day", "month", "year"])
def test_rows_are_those_of_the_command_field_by_field(
    service: ApiService, client: TestClient, home: str, by: str
) -> None:
    body = client.get(f"/api/accounts/{home}/costs?by={by}").json()
    assert body == {"account": home, "by": by, "costs": rows_of(service, home, by), "next": None}
    assert list(body["costs"][-1]) == [
        *("start", "end", "periods", "energy_eur", "subscription_eur", "total_eur"),
        *(("minutes", "expected_minutes") if by == "hour" else ("days", "expected_days")),
        *("estimated", "source", "production_kwh", "production_eur"),
    ]


def test_a_home_without_panels_has_no_production(service: ApiService, client: TestClient) -> None:
    account = service.add()
    store_home(service.parts, account, HOME, (Series.DAILY, Series.LOAD_CURVE))
    price(service, account, OWN)
    rows = client.get(f"/api/accounts/{account}/costs").json()["costs"]
    assert len(rows) == 31 and not any("production_kwh" in row for row in rows)


@pytest.mark.parametrize(
    ("by", "first", "pages"), [("hour", "2024-06-01", 2), ("day", "2023-11-15", 2), ("year", "2015-01-01", 4)]
)
def test_pages_are_bounded_and_add_up_to_the_whole(
    service: ApiService, client: TestClient, home: str, by: str, first: str, pages: int
) -> None:
    found, path, answers = [], f"/api/accounts/{home}/costs?by={by}&from={first}", 0
    while path:
        body = client.get(path).json()
        found, path, answers = found + body["costs"], body["next"], answers + 1
    assert (found, answers) == (rows_of(service, home, by, date.fromisoformat(first)), pages)


def test_without_a_price_the_list_is_empty(service: ApiService, client: TestClient) -> None:
    account = service.add()
    store_home(service.parts, account, HOME)
    answer = client.get(f"/api/accounts/{account}/costs?by=year&from=2010-01-01")
    assert answer.json() == {"account": account, "by": "year", "costs": [], "next": None}


def test_prices_that_can_not_be_decrypted_are_not_told_as_none(
    service: ApiService, client: TestClient, home: str
) -> None:
    service.parts.stores.registry.database.change(update(ACCOUNT_DETAILS).values(sealed="with a key that is lost"))
    refused = client.get(f"/api/accounts/{home}/costs")
    assert (refused.status_code, refused.json()["error"]) == (500, "failed")


def test_costs_are_for_the_tokens_own_tenant(service: ApiService, home: str) -> None:
    refused = service.client(Scope.READ_MEASURES, tenant="other").get(f"/api/accounts/{home}/costs")
    assert (refused.status_code, refused.json()["error"]) == (404, "unknown_account")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("from=2024-07-02&to=2024-07-01", "from 2024-07-02 to 2024-07-01: the first day must not come after the last"),
        ("by=year&to=9999-12-31", "give days of the years 2000 to 2099"),
        ("by=year&to=0001-01-05", "give days of the years 2000 to 2099"),
        ("by=minute", "query.by: Input should be 'hour', 'day', 'month' or 'year'"),
        ("from=1721865600", "query.from: write a day like 2024-07-25"),
        ("until=2024-07-01", "this route allows by, from, to"),
    ],
)
def test_what_cannot_be_meant_is_one_line(client: TestClient, home: str, query: str, why: str) -> None:
    refused = client.get(f"/api/accounts/{home}/costs?{query}")
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert why in refused.json()["message"] and "\n" not in refused.json()["message"]


def test_gas_has_no_hours_and_billed_periods_have_no_days(service: ApiService, client: TestClient) -> None:
    daily = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
    billed, _ = service.parts.stores.registry.accounts.add("grdf", "GI123457", NOW, token_needed=False)
    documents = [to_document(billed.id, Doctype.GAS_PUBLISHED, gas_period("2024-05-15", "2024-06-15"), NOW)]
    service.parts.stores.measures.write({Doctype.GAS_PUBLISHED: documents})
    for account in (daily, billed.id):
        price(service, account, GAS)
        assert client.get(f"/api/accounts/{account}/costs?by=month").json()["costs"][4]["total_eur"]
    for path, why in (
        (f"{daily}/costs?by=hour", "gas has no hours: ask by day, month or year"),
        (f"{billed.id}/costs?from=2024-05-01", "this meter is read by periods of several days: ask by month or year"),
    ):
        refused = client.get(f"/api/accounts/{path}")
        assert (refused.status_code, refused.json()["message"]) == (422, why)
