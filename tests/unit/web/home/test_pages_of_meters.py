"""The pages of a home's meters: electricity of a gateway, and gas that came by a file."""

from __future__ import annotations

import io
from datetime import date

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of
from tests.support.made_files import hour_export
from tests.support.own_home import METER, gateway_token
from worker.accounts.status import HomeSummary, coverage_of, progress_of, summarize_home
from worker.cli.home import _account_lines
from worker.domain.account import Account, AccountState
from worker.domain.files import read_file
from worker.domain.reasons import Reason
from worker.domain.series import Series
from worker.errors import TokenNeeded
from worker.runtime.consent_parts import build_file_accounts
from worker.runtime.sync_parts import build_explainer, build_importer

_GAS = """N° PCE :;GI123456
Date de relevé;Index de début de période (m3);Index de fin de période (m3);Volume consommé (m3);Energie consommée (kWh)
24/06/2024;12163;12175;12;133
"""
_INDEXES = f"""Identifiant PRM;Type de donnees;Grandeur physique;Grandeur metier;Unite
{METER};Index;Energie active;Consommation;Wh
Horodate;EAS F1;EAS T
2024-07-01T00:00:00+02:00;1000;1000
2024-07-02T00:00:00+02:00;3000;3000
"""


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_page_of_a_meter_of_files_is_there_beside_one_of_another_energy(
    empty_home: ApiService, language: str
) -> None:
    parts = empty_home.parts
    for content in (hour_export(METER), _INDEXES, _GAS):
        for series in read_file("x.csv", io.BytesIO(content.encode())):
            account = build_file_accounts(parts.stores).find(series) or build_file_accounts(parts.stores).add(series)
            build_importer(parts.stores, parts.sync).store(series, account.id)
    client = TestClient(empty_home.app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    client.headers["Accept-Language"] = language
    paths = {route.path for route in iter_route_contexts(empty_home.app.routes) if "GET" in (route.methods or ())}
    pages = [path for path in paths if path.startswith("/accounts/{account_id}") and path.count("{") == 1]
    accounts = parts.stores.registry.accounts.list_accounts()
    assert {account.supplier for account in accounts} == {"gateway", "grdf"} and len(pages) > 5
    for account in accounts:
        for page in pages:
            assert client.get(page.replace("{account_id}", account.id)).status_code < 500, page
    gas, power = sorted(accounts, key=lambda account: account.supplier, reverse=True)
    form = {"csrf": csrf_of(client.get(f"/accounts/{gas.id}/connection").text), "other": power.id}
    assert client.post(f"/accounts/{gas.id}/home", data=form).status_code == 200
    assert client.get(f"/accounts/{power.id}?sum=yes").status_code == 200


@pytest.fixture
def of_files(empty_home: ApiService) -> Account:
    """The account of a home whose only file is an old one of hours."""
    return import_file(empty_home, hour_export(METER))


def import_file(home: ApiService, content: str) -> Account:
    importer, accounts = build_importer(home.parts.stores, home.parts.sync), build_file_accounts(home.parts.stores)
    for series in read_file("x.csv", io.BytesIO(content.encode())):
        account = accounts.find(series) or accounts.add(series)
        importer.store(series, account.id)
    return home.parts.stores.registry.accounts.get(account.id)


def summary_of(home: ApiService) -> HomeSummary:
    return summarize_home(history=home.parts.sync.history, supplier="gateway", has_password=False, gate_code="")


def text_of(home: ApiService, path: str) -> str:
    client = TestClient(home.app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    return client.get(path, headers={"Accept-Language": "en"}).text


def test_a_home_of_files_alone_is_calm(empty_home: ApiService, of_files: Account) -> None:
    assert (of_files.state, of_files.reason) == (AccountState.ACTION_NEEDED, "FILES_ONLY")
    first, page = text_of(empty_home, "/"), text_of(empty_home, f"/accounts/{of_files.id}")
    assert "Files only" in first and "pill-act" not in first
    assert "Files only" in page and "card alert" not in page and "gateway requires" not in page


def test_the_command_tells_of_files_alone_without_a_code(empty_home: ApiService, of_files: Account) -> None:
    (account,) = summary_of(empty_home).accounts
    first, *others = _account_lines(account, "", "en")
    assert first.endswith("Files only") and len(others) == 1 and "NEEDED" not in others[0]


def test_nothing_is_missing_of_what_nobody_can_fetch(empty_home: ApiService, of_files: Account) -> None:
    history = empty_home.parts.sync.history
    (account,) = summary_of(empty_home).accounts
    assert {series: one.missing for series, one in account.series.items()} == {Series.LOAD_CURVE: 0}
    progress = progress_of(of_files, history).series
    assert {series: one.done == one.total for series, one in progress.items()} == {Series.LOAD_CURVE: True}
    coverage = coverage_of(of_files.id, history)
    assert {series: one.open_days for series, one in coverage.items()} == {Series.LOAD_CURVE: ()}


def test_a_hole_of_a_file_is_not_called_missing(empty_home: ApiService) -> None:
    lines = hour_export(METER, days=8).splitlines()
    account = import_file(empty_home, "\n".join([*lines[:100], *lines[160:], ""]))
    pages = [text_of(empty_home, f"/accounts/{account.id}?by={by}&at=2024-07-04") for by in ("week", "month", "year")]
    assert [("missing" in page, "to come" in page) for page in pages] == [(False, False)] * 3
    assert ">no total yet<" in pages[0] and "6 of 31 days" in pages[1] and "6 of 31 days" in pages[2]


def test_a_home_of_files_is_told_of_no_consent(empty_home: ApiService, of_files: Account) -> None:
    page = text_of(empty_home, f"/accounts/{of_files.id}/connection")
    assert "your consent" not in page and "Connected since" not in page and "Stop data collection" not in page
    assert "Add a token" in page and "new token" not in page
    gas = import_file(empty_home, _GAS)
    assert "consent" not in text_of(empty_home, f"/accounts/{gas.id}/connection").lower()


def test_a_step_is_no_sum_of_the_curve(empty_home: ApiService, of_files: Account) -> None:
    by_day, by_month = (
        text_of(empty_home, f"/accounts/{of_files.id}?by={view}&at=2024-07-02") for view in ("day", "month")
    )
    assert ">sum of the curve<" not in by_day and "The total of this day is the sum of its curve" in by_day
    assert by_month.count(">sum of the curve<") == 2


def test_all_that_a_curve_of_production_made_can_be_downloaded(empty_home: ApiService) -> None:
    account = import_file(empty_home, hour_export(METER).replace("Consommation", "Production"))
    page = text_of(empty_home, f"/accounts/{account.id}/download")
    periods = ("minute", "hour", "day", "month", "year")
    assert [f"series=production_daily&amp;by={period}&amp;format=csv" in page for period in periods] == [True] * 5


def test_a_day_of_which_a_file_has_a_part_is_told_so(empty_home: ApiService) -> None:
    """However long after the day the file was made."""
    lines = hour_export(METER, days=80).splitlines()
    account = import_file(empty_home, "\n".join([*lines[:50], *lines[56:], ""]))
    explanation = build_explainer(empty_home.parts.stores, empty_home.parts.sync).explain(account, date(2024, 7, 1))
    assert explanation.series[Series.LOAD_CURVE].sentences["en"] == (
        "The imported files contain only 47 of the 48 half-hours of the curve for 1 July 2024."
    )
    by_day, by_week = (text_of(empty_home, f"/accounts/{account.id}?by={by}&at=2024-07-02") for by in ("day", "week"))
    assert "sum of the curve received" in by_day and "no data" not in by_week and ">no total yet<" in by_week
    partly = (
        build_explainer(empty_home.parts.stores, empty_home.parts.sync)
        .explain(account, date(2024, 7, 2))
        .series[Series.LOAD_CURVE]
    )
    assert partly.reason is Reason.FILES_PARTIAL


def test_a_file_of_production_is_explained_without_the_consumption(empty_home: ApiService) -> None:
    account = import_file(empty_home, hour_export(METER).replace("Consommation", "Production"))
    explanation = build_explainer(empty_home.parts.stores, empty_home.parts.sync).explain(account, date(2024, 7, 1))
    assert [*explanation.series] == [Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE]
    assert explanation.reason is Reason.COMPUTED


def test_a_home_of_files_has_its_days_asked_for_once_it_gets_a_token(empty_home: ApiService, of_files: Account) -> None:
    empty_home.parts.consent.assertion.add_by_token(gateway_token(), "cli:anna")
    first = text_of(empty_home, "/")
    assert "Files only" not in first and "Your data is arriving" in first
    (account,) = summary_of(empty_home).accounts
    assert account.has_token and account.series[Series.LOAD_CURVE].missing > 300


def test_an_account_that_had_a_token_is_to_be_reconnected(empty_home: ApiService, of_files: Account) -> None:
    parts = empty_home.parts
    parts.consent.assertion.add_by_token(gateway_token(), "cli:anna")
    parts.stores.registry.accounts.set_state(
        of_files.id, AccountState.ACTION_NEEDED, TokenNeeded.code, now=parts.stores.now()
    )
    assert "Token missing" in text_of(empty_home, "/")
    assert "card alert" in text_of(empty_home, f"/accounts/{of_files.id}")
