"""The API reads every series: documents in JSON and CSV, refusals of periods, and the schemas of the doctypes."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.output_home import put, put_curve, put_days
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.documents import ALL_KEYS, Entry
from worker.domain.series import Doctype, Period, Series, find_doctype, of_supplier, periods_of
from worker.domain.sessions import Scope

HOME = PanelHome(TODAY - timedelta(days=1), days=110)


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def gas(service: ApiService) -> str:
    return add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))


@pytest.fixture
def home(service: ApiService) -> str:
    account_id = service.add()
    store_home(service.parts, account_id, HOME)
    return account_id


@pytest.fixture
def client(service: ApiService) -> TestClient:
    return service.client(Scope.READ_MEASURES)


def read(client: TestClient, account: str, query: str) -> dict[str, Any]:
    answer = client.get(f"/api/accounts/{account}/measures?{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_every_series_is_read_by_each_of_its_periods_and_by_no_other(
    service: ApiService, client: TestClient, home: str, gas: str
) -> None:
    for series, by in product(Series, Period):
        service.forget_limits()
        account = home if series in of_supplier("enedis") else gas
        query = f"series={series}&by={by}&limit=3"
        if by not in periods_of(series):
            refused = client.get(f"/api/accounts/{account}/measures?{query}")
            assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request"), query
            known = ", ".join(periods_of(series))
            assert refused.json()["message"] == f"series {series} has no documents by {by}: ask by {known}"
            continue
        body, doctype = read(client, account, query), find_doctype(series, by)
        assert doctype is not None and body["documents"], query
        named = (body["series"], body["by"], body["doctype"], body["unit"])
        assert named == (series, by, doctype.full_name, doctype.series.description.quantity.load_unit)


def test_without_a_series_the_answer_is_the_consumption_as_ever(client: TestClient, home: str) -> None:
    for query, series in (("limit=1", "daily"), ("by=minute&limit=9", "load_curve")):
        usual, named = read(client, home, query), read(client, home, f"{query}&series={series}")
        assert {**usual, "next": None} == {**named, "next": None}


def test_pages_of_a_series_lead_to_the_next_of_the_same(client: TestClient, home: str) -> None:
    days, path = [], f"/api/accounts/{home}/measures?series=max_power&limit=17"
    while path:
        body = client.get(path).json()
        assert body["series"] == "max_power"
        days += [(document["month"], document["day"]) for document in body["documents"]]
        path = body["next"]
    assert days == [(day.month, day.day) for day in HOME.dates()]


def test_the_highest_power_has_va_and_its_instant(client: TestClient, home: str) -> None:
    power, at = HOME.peak(HOME.last)
    (document,) = read(client, home, f"series=max_power&from={HOME.last}&to={HOME.last}")["documents"]
    assert (document["va"], document["load"], document["at"]) == (power, power / 1000, at.isoformat())


def test_registers_are_an_object_by_tariff_period(client: TestClient, home: str) -> None:
    first, second, *_ = read(client, home, "series=registers")["documents"]
    assert first["calendar"] == "FC000040" and set(first["registers"]) == {"HC", "HP"}
    day = next(HOME.dates())
    drawn = sum(second["registers"].values()) - sum(first["registers"].values())
    assert drawn == sum(HOME.drawn(day))


def test_a_contract_has_a_row_for_each_change(client: TestClient, home: str) -> None:
    rows = read(client, home, "series=contract")["documents"]
    assert [row["va"] for row in rows] == [9000, 6000]
    assert all(row["activated_on"] == "2018-08-31" for row in rows)


def test_a_csv_has_a_row_for_each_document_and_a_cell_for_each_field(
    service: ApiService, client: TestClient, home: str, gas: str
) -> None:
    for series in Series:
        service.forget_limits()
        account = home if series in of_supplier("enedis") else gas
        path = f"/api/accounts/{account}/measures?series={series}"
        answer = client.get(f"{path}&format=csv")
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="releve-{account}-{series}-day-')
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        documents = client.get(path).json()["documents"]
        assert len(rows) == len(documents) > 0, series
        for row, document in zip(rows, documents, strict=True):
            assert float(row["load"]) == document["load"] and None not in row, series
            for period, energy in document.get("registers", {}).items():
                assert int(row[f"registers.{period}"]) == energy, series


def test_pages_of_a_csv_have_the_same_columns_also_where_the_tariff_changed(
    service: ApiService, client: TestClient, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 7)  # So that it takes several reads.
    measures, keys = service.parts.stores.measures, {Doctype.INDEX: ALL_KEYS}
    documents = measures.read(home, keys)[Doctype.INDEX]
    changed = [document | {"registers": {"BASE": 1}} for document in documents[20:]]
    assert measures.write({Doctype.INDEX: changed}) == {Doctype.INDEX: []}
    path = f"/api/accounts/{home}/measures?series=registers&format=csv"
    whole = client.get(path).text.splitlines()
    assert whole[0].endswith("calendar,registers.BASE,registers.HC,registers.HP")
    assert len(whole) == 1 + len(documents)
    assert whole[1].split(",")[-3] == "" and whole[-1].split(",")[-3:] == ["1", "", ""]
    first = client.get(f"{path}&limit=5")
    second = client.get(first.links["next"]["url"])
    assert first.text.splitlines()[0] == second.text.splitlines()[0] == whole[0]
    assert first.text.splitlines()[1:] == whole[1:6] and second.text.splitlines()[1:] == whole[6:11]


def test_documents_in_the_store_fit_the_schemas_that_are_served(
    service: ApiService, client: TestClient, home: str, gas: str
) -> None:
    listed = client.get("/api/schemas").json()["schemas"]
    assert [entry["doctype"] for entry in listed] == [doctype.full_name for doctype in Doctype]
    of_home, of_gas = (service.parts.stores.measures.read(one, dict.fromkeys(Doctype, ALL_KEYS)) for one in (home, gas))
    stored = {doctype: of_home[doctype] or of_gas[doctype] for doctype in Doctype}
    for entry, doctype in zip(listed, Doctype, strict=True):
        answer = client.get(entry["path"])
        assert answer.headers["Content-Type"] == "application/schema+json"
        validator = Draft202012Validator(answer.json())
        assert stored[doctype] and [str(error) for row in stored[doctype] for error in validator.iter_errors(row)] == []


def test_an_unknown_doctype_is_refused_and_a_stranger_too(service: ApiService, client: TestClient) -> None:
    refused = client.get("/api/schemas/com.grandlyon.enedis.week")
    assert (refused.status_code, refused.json()["error"]) == (404, "unknown_doctype")
    assert service.stranger().get("/api/schemas").status_code == 401


def test_without_a_series_a_gas_meter_has_its_gas(client: TestClient, gas: str) -> None:
    path = f"/api/accounts/{gas}/measures"
    named = client.get(path, params={"series": "gas_daily", "by": "month"})
    usual = client.get(path, params={"by": "month"})
    assert usual.json()["documents"] and usual.json() == named.json()
    first = client.get(path, params={"by": "day", "limit": 2}).json()
    assert client.get(first["next"]).json()["documents"]


# What a total is made of


def july_without_the_third(service: ApiService) -> str:
    """Return an account with the days of July 2024 up to yesterday, but for one."""
    account, measures = service.add(99), service.parts.stores.measures
    known = {date(2024, 7, day): 1000 * day for day in range(1, 25) if day != 3}
    for series in (Series.DAILY, Series.PRODUCTION_DAILY):
        put_days(measures, series, known | {date(2023, 12, 31): 5}, account_id=account)
    return account


@pytest.mark.parametrize("series", ["daily", "production_daily"])
def test_a_month_and_a_year_say_how_many_of_their_days_are_known(
    service: ApiService, client: TestClient, series: str
) -> None:
    account = july_without_the_third(service)
    months, years = (read(client, account, f"series={series}&by={by}")["documents"] for by in ("month", "year"))
    assert [(row["month"], row["days"], row["expected_days"]) for row in months] == [(12, 1, 31), (7, 23, 31)]
    assert [(row["year"], row["days"], row["expected_days"]) for row in years] == [(2023, 1, 365), (2024, 23, 366)]
    (day,) = read(client, account, f"series={series}&from=2024-07-01&to=2024-07-01")["documents"]
    assert day.keys() == {"load", "year", "month", "day", "hour", "minute"}


def test_an_hour_says_how_many_of_its_minutes_are_known(service: ApiService, client: TestClient) -> None:
    account, measures = service.add(), service.parts.stores.measures
    put_curve(measures, [date(2023, 10, 29)], account_id=account)
    put(measures, Doctype.MINUTE, [Entry("2023-10-30T10:30Z", 1000), Entry("2023-10-30T11:00Z", 1000, 10)], account)
    put(measures, Doctype.HOUR, [Entry("2023-10-30T10:00Z", 1000), Entry("2023-10-30T11:00Z", 1000)], account)
    rows = read(client, account, "by=hour")["documents"]
    assert [(row["minutes"], row["expected_minutes"]) for row in rows] == [(60, 60)] * 25 + [(30, 60), (10, 60)]


def test_a_page_of_totals_reads_what_is_within_its_periods_alone(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 20)  # Of which more are within a page.
    account, measures = service.add(), service.parts.stores.measures
    put_curve(measures, [date(2024, 7, day) for day in range(1, 8)], account_id=account)
    rows, path, sizes, read_all = [], f"/api/accounts/{account}/measures?by=hour&limit=15", list[int](), measures.read

    def count(account_id: str, ranges: Any, limit: int | None = None) -> Any:
        found = read_all(account_id, ranges, limit)
        sizes.append(sum(map(len, found.values())))
        return found

    monkeypatch.setattr(measures, "read", count)
    while path:
        body = client.get(path).json()
        assert max(sizes) <= 22 and sum(sizes) <= 17 + 30 + 4, "the steps of its hours, and a few more"
        sizes.clear()
        rows, path = rows + body["documents"], body["next"]
    assert [row["minutes"] for row in rows] == [60] * (7 * 24)


def test_a_csv_of_totals_ends_with_what_they_are_made_of(
    service: ApiService, client: TestClient, gas: str, home: str
) -> None:
    account = july_without_the_third(service)
    path = f"/api/accounts/{account}/measures?by=month&format=csv"
    lines = client.get(path).text.splitlines()
    assert lines == [
        "load,year,month,day,hour,minute,fold,days,expected_days",
        "0.005,2023,12,0,0,0,0,1,31",
        "297.000,2024,7,0,0,0,0,23,31",
    ]
    assert client.get(f"{path}&limit=1").text.splitlines() == lines[:2]
    for one, query in ((home, "by=hour"), (home, "series=production_daily&by=year"), (gas, "by=month")):
        rows = list(csv.DictReader(io.StringIO(client.get(f"/api/accounts/{one}/measures?{query}&format=csv").text)))
        documents = read(client, one, query)["documents"]
        names = ["minutes", "expected_minutes"] if "hour" in query else ["days", "expected_days"]
        assert rows and list(rows[0])[-2:] == names
        assert [[int(row[name]) for name in names] for row in rows] == [
            [row[name] for name in names] for row in documents
        ]


def test_the_description_names_what_a_total_is_made_of(service: ApiService) -> None:
    fields = service.app.openapi()["components"]["schemas"]["Measure"]["properties"]
    for name in ("computed", "days", "expected_days", "minutes", "expected_minutes"):
        assert fields[name]["description"]
