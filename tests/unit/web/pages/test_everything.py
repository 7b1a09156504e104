"""All data of an account as one ZIP file: whole, in both languages, and without secrets."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import ENGLISH, FRENCH
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.campaign import Campaign, Recipient
from worker.domain.documents import ALL_KEYS, Document
from worker.domain.series import Doctype
from worker.web.pages.everything import write_zip

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 100)


def fetch(browser: TestClient, account: str, headers: dict[str, str]) -> dict[str, str]:
    """Return the text of each file by its name."""
    answer = browser.get(f"/accounts/{account}/everything", headers=headers)
    name = f"releve-{account}-{TODAY}.zip"
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {info.date_time[:3] for info in archive.infolist()} == {(TODAY.year, TODAY.month, TODAY.day)}
        return {name: archive.read(name).decode() for name in archive.namelist()}


def stored(service: ApiService, account: str) -> Iterator[tuple[str, list[Document]]]:
    for doctype, documents in service.parts.stores.measures.read(account, dict.fromkeys(Doctype, ALL_KEYS)).items():
        if documents:
            yield f"{doctype.series}-{doctype.period}", documents


def add_panels(service: ApiService) -> str:
    account = service.add()
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=110, curve_days=5))
    return account


def add_gas_home(service: ApiService) -> str:
    return add_gas(service.parts, GasHome(TODAY - timedelta(days=1)))


@pytest.mark.parametrize("add", [add_panels, add_gas_home])
def test_each_series_has_all_that_is_stored(service: ApiService, add: object) -> None:
    account = add(service)  # type: ignore[operator]
    files = fetch(service.browser(account), account, ENGLISH)
    expected = dict(stored(service, account))
    assert len(expected) > 4
    assert list(files)[:2] == ["README.txt", "account.json"]
    assert set(files) - {"README.txt", "account.json"} == {
        f"{kind}/{name}.{kind}" for name in expected for kind in ("csv", "json")
    }
    for name, documents in expected.items():
        loads = [Decimal(str(document["load"])) for document in documents]
        told = json.loads(files[f"json/{name}.json"])["documents"]
        assert [Decimal(str(document["load"])) for document in told] == loads
        rows = list(csv.DictReader(io.StringIO(files[f"csv/{name}.csv"].removeprefix(BOM))))
        unit = next(unit for unit in ("kWh", "kVA", "m³") if unit in rows[0])
        assert sum(Decimal(row[unit]) for row in rows) == sum(loads), name
        assert files["README.txt"].count(f"- {name} ") == 2  # In French and in English.


def test_the_account_is_told_with_what_people_have_said_and_without_secrets(service: ApiService) -> None:
    account = add_panels(service)
    registry = service.parts.stores.registry
    registry.account_details.save(account, "some_day", {"text": "=Maison"})
    facts = {"campaign_id": "c1", "account_id": account, "mail_id": "m1", "created_at": NOW, "next_attempt_at": NOW}
    recipient = Recipient(**facts, id="r1", sealed_address="sealed")
    registry.campaigns.create(Campaign("c1", "alice", NOW, "--csv", 200), [recipient])
    files = fetch(service.browser(account), account, FRENCH)
    told = json.loads(files["account.json"])
    assert (told["id"], told["last_digits"], told["told"]) == (account, "…0011", {"some_day": {"text": "=Maison"}})
    (asked,) = told["campaigns"]
    assert (asked["campaign_id"], asked["source"], asked["state"]) == ("c1", "list", "chosen")
    whole = "".join(files.values())
    assert "alice" not in whole and "sealed" not in whole
    assert registry.accounts.get(account).usage_point_id not in whole
    assert "browser" not in whole and "token" not in whole
    assert files["csv/daily-day.csv"].splitlines()[0].startswith(f"{BOM}début;fin;kWh")
    assert "Toutes les données" in files["README.txt"] and "All data of the meter …0011" in files["README.txt"]


def test_an_account_without_data_has_its_file_too(service: ApiService) -> None:
    account = service.add()
    assert list(fetch(service.browser(account), account, FRENCH)) == ["README.txt", "account.json"]


@given(st.lists(st.lists(st.text(), max_size=5), max_size=4))
def test_a_zip_file_has_the_texts_that_were_written(texts: list[list[str]]) -> None:
    members = {f"{number}.txt": parts for number, parts in enumerate(texts)}
    content = b"".join(write_zip(members.items(), NOW))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            name: "".join(parts) for name, parts in members.items()
        }
