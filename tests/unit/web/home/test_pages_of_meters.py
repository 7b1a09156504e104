"""The pages of a home's meters: electricity of a gateway, and gas that came by a file."""

from __future__ import annotations

import io

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of
from tests.support.made_files import hour_export
from tests.support.own_home import METER
from worker.domain.files import read_file

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
    runtime = empty_home.runtime
    for content in (hour_export(METER), _INDEXES, _GAS):
        for series in read_file("x.csv", io.BytesIO(content.encode())):
            account = runtime.file_accounts.find(series) or runtime.file_accounts.add(series)
            runtime.file_importer.store(series, account.id)
    client = TestClient(empty_home.app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    client.headers["Accept-Language"] = language
    paths = {route.path for route in iter_route_contexts(empty_home.app.routes) if "GET" in (route.methods or ())}
    pages = [path for path in paths if path.startswith("/accounts/{account_id}") and path.count("{") == 1]
    accounts = runtime.registry.list_accounts()
    assert {account.supplier for account in accounts} == {"gateway", "grdf"} and len(pages) > 5
    for account in accounts:
        for page in pages:
            assert client.get(page.replace("{account_id}", account.id)).status_code < 500, page
    gas, power = sorted(accounts, key=lambda account: account.supplier, reverse=True)
    form = {"csrf": csrf_of(client.get(f"/accounts/{gas.id}").text), "other": power.id}
    assert client.post(f"/accounts/{gas.id}/home", data=form).status_code == 200
    assert client.get(f"/accounts/{power.id}?sum=yes").status_code == 200
