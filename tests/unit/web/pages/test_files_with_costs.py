"""CSV files end with what the energy costs where prices are set, and are otherwise as before."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.gas_entries import gas_period
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import ENGLISH, FRENCH
from tests.support.output_home import put
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.prices import read_costs, remove_prices, set_prices
from worker.domain.documents import Entry, to_document
from worker.domain.prices.choices import read_hours
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Doctype, Period, Series, of_supplier, periods_of
from worker.domain.sessions import Scope
from worker.errors import StoreUnavailable
from worker.web.error_pages import AbortedAnswer

HOME = PanelHome(TODAY - timedelta(days=1), days=110, curve_days=40)
OWN = """
[[electricity]]
from = 2024-01-01
subscription = 31
hp = 0.25
hc = 0.125
[[production]]
from = 2024-01-01
price = 0.1
[[gas]]
from = 2023-01-01
subscription = 31
price = 0.1
"""
PRICED = {Series.DAILY: "total_eur", Series.LOAD_CURVE: "total_eur", Series.GAS_DAILY: "total_eur"} | dict.fromkeys(
    (Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE), "production_eur"
)


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
    price(service, account)
    return account


def price(service: ApiService, account: str, own: str = OWN) -> None:
    registry = service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(own))


def read_csv(client: TestClient, account: str, query: str) -> list[dict[str, str]]:
    answer = client.get(f"/api/accounts/{account}/measures?format=csv&{query}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def costs_of(client: TestClient, account: str, by: str, first: str) -> dict[str, dict[str, Any]]:
    rows = client.get(f"/api/accounts/{account}/costs?by={by}&from={first}").json()["costs"]
    return {row["start"]: row for row in rows}


def starts_of(rows: list[dict[str, str]]) -> Iterator[str]:
    for row in rows:
        yield f"{row['year']}-{int(row['month']) or 1:02}-{int(row['day']) or 1:02}"


@pytest.mark.parametrize("account_kind", [pytest.param("enedis", marks=pytest.mark.rest), "grdf"])
def test_prices_add_last_columns_to_files_of_energy_and_change_no_other_byte(
    service: ApiService, home: str, account_kind: str
) -> None:
    account, registry = home, service.parts.stores.registry
    if account_kind == "grdf":
        account = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
        price(service, account)
    browser = service.browser(account)

    def read_all() -> dict[tuple[Series, str, str], list[list[str]]]:
        files = {}
        for series in of_supplier(account_kind):
            for by in periods_of(series):
                for columns in ("times", "fields"):
                    service.forget_limits()
                    path = f"/accounts/{account}/download/file?series={series}&by={by}&columns={columns}"
                    answer = browser.get(path, headers=ENGLISH)
                    files[series, by, columns] = list(csv.reader(io.StringIO(answer.text)))
        return files

    with_prices = read_all()
    remove_prices(registry, registry.accounts.get_existing(account))
    for (series, by, columns), plain in read_all().items():
        name = PRICED.get(series, "total_eur" if series is Series.GAS_PUBLISHED else "")
        counts = ["priced_days"] if by in (Period.MONTH, Period.YEAR) else []
        new = [name, *counts] if name and by is not Period.MINUTE else []
        found = with_prices[series, by, columns]
        assert [row[: len(row) - len(new)] for row in found] == plain, (series, by)
        assert columns == "times" or found[0][len(plain[0]) :] == new
        assert not new or any(row[-len(new)] for row in found[1:]), (series, by)


@pytest.mark.parametrize("series, field", [("daily", "total_eur"), ("production_daily", "production_eur")])
def test_the_column_has_the_total_of_the_same_period(client: TestClient, home: str, series: str, field: str) -> None:
    for by, first in (("day", "2024-04-01"), ("month", "2024-04-01"), ("year", "2024-01-01")):
        rows, costs = read_csv(client, home, f"series={series}&by={by}"), costs_of(client, home, by, first)
        assert rows
        for row, start in zip(rows, starts_of(rows), strict=True):
            assert row[field] == costs[start][field] and row.get("priced_days", row["year"]) != "0"
            assert by == "day" or int(row["priced_days"]) == costs[start]["days"]
    rows = read_csv(client, home, f"series={series}&by=hour")
    hours = client.get(f"/api/accounts/{home}/costs?by=hour&from=2024-06-24").json()["costs"]
    assert [row[field] for row in rows[-24:]] == [
        row[field] for row in client.get(f"/api/accounts/{home}/costs?by=hour&from=2024-07-24").json()["costs"]
    ]
    by_start = {row["start"][:16]: row[field] for row in hours}
    found = {f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}T{row['hour']:0>2}:00": row[field] for row in rows}
    assert by_start.items() <= found.items() and len(by_start) == 31 * 24


def test_what_is_priced_in_part_is_empty_by_day_and_counted_by_month(service: ApiService, client: TestClient) -> None:
    account = service.add()
    store_home(service.parts, account, HOME, (Series.DAILY, Series.LOAD_CURVE))
    price(service, account, "[[electricity]]\nfrom = 2024-07-10\nsubscription = 31\nbase = 0.25\n")
    months = read_csv(client, account, "by=month")
    assert [(row["total_eur"], row["priced_days"]) for row in months[:-1]] == [("", "0")] * 3
    assert (months[-1]["days"], months[-1]["priced_days"]) == ("24", "15") and float(months[-1]["total_eur"]) > 15
    days = read_csv(client, account, "by=day&from=2024-07-08&to=2024-07-11")
    assert [bool(row["total_eur"]) for row in days] == [False, False, True, True]


def test_a_day_that_the_curve_tells_in_part_is_empty_and_an_hour_has_the_cost_of_its_minutes(
    service: ApiService, client: TestClient
) -> None:
    account, registry, day = service.add(), service.parts.stores.registry, TODAY - timedelta(days=1)
    service.store_days(account, day, [5000])
    service.store_half_hours(account, day, [1000] * 39)
    hours = [Entry(f"{day}T16:00Z", 2_000_000), Entry(f"{day}T17:00Z", 1_000_000)]
    put(service.parts.stores.measures, Doctype.HOUR, hours, account)
    owner, own = registry.accounts.get_existing(account), read_own_prices(OWN.replace("= 31", "= 0"))
    set_prices(registry, owner, own=own, hours=read_hours("22:00-06:00"))
    assert [row["total_eur"] for row in read_csv(client, account, "by=day")] == [""]
    rows = read_csv(client, account, "by=hour")
    assert [(row["minutes"], row["total_eur"]) for row in rows] == [("60", "0.50"), ("30", "0.25")]


def test_a_billed_period_has_the_cost_of_its_days(service: ApiService, client: TestClient) -> None:
    account, _ = service.parts.stores.registry.accounts.add("grdf", "GI123457", NOW, token_needed=False)
    periods = [gas_period("2023-11-15", "2024-01-15"), gas_period("2024-01-15", "2024-03-15")]
    documents = [to_document(account.id, Doctype.GAS_PUBLISHED, period, NOW) for period in periods]
    service.parts.stores.measures.write({Doctype.GAS_PUBLISHED: documents})
    price(service, account.id, "[[gas]]\nfrom = 2023-01-01\nuntil = 2024-01-31\nsubscription = 0\nprice = 0.1\n")
    first, second = read_csv(client, account.id, "series=gas_published")
    assert first["total_eur"] == f"{float(first['load']) / 10:.2f}"
    assert second["total_eur"] == "", "its days from February on have no price"


def test_a_french_spreadsheet_names_the_cost_and_writes_a_decimal_comma(service: ApiService, home: str) -> None:
    lines = service.browser(home).get(f"/accounts/{home}/download/file?by=month", headers=FRENCH).text.splitlines()
    assert lines[0].endswith("kWh;jours connus;jours de la période;coût (€);jours avec un coût")
    cost, days = lines[-1].split(";")[-2:]
    assert cost.partition(",")[2].isdigit() and days == "24"


def test_pages_of_a_file_have_the_costs_of_the_whole_and_the_store_is_read_in_bounds(
    service: ApiService, client: TestClient, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sizes, read = f"/api/accounts/{home}/measures?format=csv&by=", list[int](), service.parts.stores.measures.read
    whole = {by: client.get(f"{path}{by}").text for by in ("hour", "day")}

    def count(*args: Any) -> Any:
        found = read(*args)
        sizes.append(sum(map(len, found.values())))
        return found

    monkeypatch.setattr(service.parts.stores.measures, "read", count)
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 24)
    assert {by: client.get(f"{path}{by}").text for by in whole} == whole
    assert max(sizes) < 200


def test_a_store_that_fails_at_the_costs_ends_no_file_as_if_it_were_whole(
    service: ApiService, client: TestClient, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def away(*source: Any) -> Any:
        calls[0] -= 1
        if calls[0] < 0:
            raise StoreUnavailable("db.internal does not serve")
        return read_costs(*source)

    monkeypatch.setattr("worker.accounts.cost_rows.read_costs", away)
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 24)
    assert client.get(f"/api/accounts/{home}/measures?format=csv").status_code == 503
    calls[0] = 2
    with pytest.raises(AbortedAnswer):
        client.get(f"/api/accounts/{home}/measures?format=csv")
