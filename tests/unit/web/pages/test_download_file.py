"""The files of a household's download page: whole, for a spreadsheet in its reader's language, and for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import ENGLISH, FRENCH
from tests.support.output_home import put_curve, put_days
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype, Series, daily_of, find_doctype, of_supplier, periods_of
from worker.errors import StoreUnavailable

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
EVERY_FILE = [(series, by) for series in Series for by in periods_of(series)]


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 100)


def path_of(account: str, **query: object) -> str:
    return f"/accounts/{account}/download/file?" + "&".join(f"{name}={value}" for name, value in query.items())


def read_rows(text: str, delimiter: str) -> list[list[str]]:
    assert text.startswith(BOM)
    return list(csv.reader(io.StringIO(text.removeprefix(BOM)), delimiter=delimiter))


# D5: one whole file


def test_d5_a_json_file_has_every_document_and_its_browser_saves_it(service: ApiService) -> None:
    account = service.add()
    service.store_days(account, TODAY - timedelta(days=1300), [1000 + rank for rank in range(1300)])
    answer = service.browser(account).get(path_of(account, by="day", format="json"))
    name = f"releve-{account}-daily-day-all-{TODAY}.json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    body = answer.json()
    assert [round(document["load"] * 1000) for document in body["documents"]] == [1000 + rank for rank in range(1300)]
    named = ("account", "series", "doctype", "unit", "by", "next")
    assert [body[key] for key in named] == [account, "daily", "com.grandlyon.enedis.day", "kWh", "day", None]


def test_d5_every_file_of_the_page_is_whole_and_saved(service: ApiService, small_pages: None) -> None:
    account = service.add()
    home = PanelHome(TODAY - timedelta(days=1), days=110, curve_days=5)
    store_home(service.parts, account, home)
    browser, documents = service.browser(account), home.documents()
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*/download/file[^"]+)"', page)]
    assert len(links) == 3 * (5 + 5 + 4) and "/api/" not in page and "next" not in page
    for link in links:
        answer = browser.get(link, headers=FRENCH)
        assert answer.headers["Content-Disposition"].startswith("attachment; filename="), link
        series, by = re.search(r"series=(\w+)&by=(\w+)", link).groups()  # type: ignore[union-attr]
        doctype = next(one for one in Doctype if one.period == by and one in _family(Series(series)))
        rows = len(json.loads(answer.text)["documents"]) if "json" in link else len(answer.text.splitlines()) - 1
        assert rows == len(documents[doctype]), link


def _family(series: Series) -> list[Doctype | None]:
    return [find_doctype(series, by) for by in periods_of(series)]


def test_d5_a_file_is_read_and_sent_page_by_page(
    service: ApiService, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = service.add()
    service.store_days(account, TODAY - timedelta(days=1000), [1000] * 1000)
    sizes, read = [], service.parts.stores.measures.read

    def count(*args: Any) -> Any:
        found = read(*args)
        sizes.append(sum(map(len, found.values())))
        return found

    monkeypatch.setattr(service.parts.stores.measures, "read", count)
    for form in ("json", "csv"):
        service.browser(account).get(path_of(account, by="day", format=form))
        assert len(sizes) >= 10 and max(sizes) <= 102
        sizes.clear()


def test_d5_a_part_has_the_days_that_were_asked_for(service: ApiService) -> None:
    account = service.add()
    service.store_days(account, date(2024, 7, 1), [100, 200, 300])
    query = {"by": "day", "from": "2024-07-02", "to": "2024-07-03", "format": "json"}
    answer = service.browser(account).get(path_of(account, **query))
    assert [document["day"] for document in answer.json()["documents"]] == [2, 3]
    assert "day-2024-07-02-2024-07-03.json" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "query", [{"by": "week"}, {"from": "2024-07-02", "to": "2024-07-01"}, {"columns": "some"}, {"series": "none"},
              {"series": "max_power", "by": "hour"}]
)  # fmt: skip
def test_what_cannot_be_meant_is_a_page_in_the_readers_language(service: ApiService, query: dict[str, str]) -> None:
    account = service.add()
    refused = service.browser(account).get(path_of(account, **query), headers=FRENCH)
    assert refused.status_code == 422 and refused.headers["Content-Type"].startswith("text/html")


def test_a_store_that_is_away_is_a_page_and_no_file(service: ApiService, monkeypatch: pytest.MonkeyPatch) -> None:
    account = service.add()

    def away(*_: object) -> None:
        raise StoreUnavailable("db.internal does not serve")

    monkeypatch.setattr(service.parts.stores.measures, "read", away)
    answer = service.browser(account).get(path_of(account, by="day"), headers=FRENCH)
    assert answer.status_code == 503 and "Content-Disposition" not in answer.headers
    assert "db.internal" not in answer.text


def test_files_count_among_the_calls_of_their_session(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path, api_calls_per_minute=3) as service:
        account = service.add()
        browser = service.browser(account)
        statuses = [browser.get(path_of(account, by="day")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


# D6: spreadsheets


def test_d6_a_french_excel_opens_the_file_with_one_click(service: ApiService) -> None:
    account = service.add()
    service.store_days(account, date(2024, 7, 1), [7351, 12])
    answer = service.browser(account).get(path_of(account, by="day", format="csv"), headers=FRENCH)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.content.decode() == (
        f"{BOM}début;fin;kWh\r\n2024-07-01;2024-07-02;7,351\r\n2024-07-02;2024-07-03;0,012\r\n"
    )


def test_d6_in_english_a_comma_separates_and_a_point_is_decimal(service: ApiService) -> None:
    account = service.add()
    service.store_half_hours(account, date(2024, 7, 1), [7351])
    answer = service.browser(account).get(path_of(account, by="minute"), headers=ENGLISH)
    assert answer.content.decode() == (
        f"{BOM}start,end,kWh,UTC offset (h)\r\n2024-07-01 00:00,2024-07-01 00:30,7.351,2\r\n"
    )


def test_d6_a_total_ends_with_what_it_is_made_of_in_both_languages(service: ApiService) -> None:
    account, measures = service.add(), service.parts.stores.measures
    put_days(measures, Series.DAILY, {date(2024, 7, day): 1000 for day in range(1, 24)}, account_id=account)
    put_curve(measures, [date(2024, 7, 1)], account_id=account)
    browser = service.browser(account)
    months = browser.get(path_of(account, by="month"), headers=FRENCH).text
    assert months == f"{BOM}début;fin;kWh;jours connus;jours de la période\r\n2024-07-01;2024-08-01;23,000;23;31\r\n"
    head, first, *_ = browser.get(path_of(account, by="hour"), headers=ENGLISH).text.splitlines()
    assert head == f"{BOM}start,end,kWh,UTC offset (h),known minutes,minutes in the hour"
    assert first == "2024-07-01 00:00,2024-07-01 01:00,0.4135,2,60,60"
    (year,) = browser.get(path_of(account, by="year", format="json")).json()["documents"]
    assert (year["days"], year["expected_days"]) == (23, 366)
    fields = browser.get(path_of(account, by="year", columns="fields")).text.splitlines()
    assert fields[0].endswith(",fold,days,expected_days") and fields[1].endswith(",0,23,366")


def test_d6_programs_keep_the_technical_columns(service: ApiService) -> None:
    account = service.add()
    service.store_days(account, date(2024, 7, 1), [7351])
    answer = service.browser(account).get(path_of(account, by="day", columns="fields"), headers=FRENCH)
    assert answer.text == "load,year,month,day,hour,minute,fold,computed\n7.351,2024,7,1,0,0,0,\n"
    assert answer.headers["Content-Disposition"].endswith('-fields.csv"')
    of_api = service.client().get(f"/api/accounts/{account}/measures?by=day&format=csv")
    assert of_api.text == answer.text, "as the API's file"


@pytest.mark.parametrize("series, by", EVERY_FILE)
@pytest.mark.parametrize("headers, delimiter, point", [(FRENCH, ";", ","), (ENGLISH, ",", ".")])
def test_d6_every_cell_of_every_series_is_a_date_or_a_number(
    homes: tuple[TestClient, str, str], series: Series, by: str, headers: dict[str, str], delimiter: str, point: str
) -> None:
    browser, home, gas = homes
    account = home if series in of_supplier("enedis") else gas
    head, *rows = read_rows(browser.get(path_of(account, series=series, by=by), headers=headers).text, delimiter)
    assert rows and all(len(row) == len(head) for row in rows)
    assert not any(title.startswith(("=", "+", "-", "@", "'")) or not title for title in head)
    cell = rf"\d{{4}}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?|\d+({re.escape(point)}\d+)?|"
    assert all(re.fullmatch(cell, text) for row in rows for text in row)


@pytest.fixture(scope="module")
def homes(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str, str]]:
    """A browser with a home with panels and one with gas."""
    with open_api_service(redis_url, tmp_path_factory.mktemp("homes"), **GAS_SETTINGS) as service:
        home = service.add()
        store_home(service.parts, home, PanelHome(TODAY - timedelta(days=1), days=110))
        gas = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
        yield service.browser(home, gas), home, gas


def test_d6_no_text_of_a_supplier_becomes_a_formula(service: ApiService) -> None:
    account, evil = service.add(), '=HYPERLINK("http://evil";"x")'
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=110))
    measures = service.parts.stores.measures
    stored = measures.read(account, dict.fromkeys((Doctype.CONTRACT, Doctype.INDEX), ALL_KEYS))
    contracts = [row | {"tariff": evil, "activated_on": "+1"} for row in stored[Doctype.CONTRACT]]
    registers = [row | {"registers": {"=1;2\n3": 5}, "calendar": "@x"} for row in stored[Doctype.INDEX]]
    lost = measures.write({Doctype.CONTRACT: contracts, Doctype.INDEX: registers})
    assert not any(lost.values())
    browser = service.browser(account)
    for series in ("contract", "registers"):
        text = browser.get(path_of(account, series=series), headers=FRENCH).text
        cells = [cell for row in read_rows(text, ";") for cell in row]
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells) and "evil" not in text
    assert read_rows(text, ";")[0] == ["relevé le", "kWh", "kWh =1;2 3"]


def test_without_a_series_a_gas_meter_has_its_gas(service: ApiService) -> None:
    account = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
    browser = service.browser(account)
    usual = browser.get(path_of(account, by="month", format="json")).json()
    assert usual["documents"] and usual["series"] == daily_of(supplier="grdf")
