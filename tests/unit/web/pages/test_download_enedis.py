"""The file for comparators on the download page: its form, and the meter's number that a household types."""

from __future__ import annotations

import logging
import re
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.downloaded_files import read_one
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import FRENCH
from tests.support.output_home import put_curve

LAST = TODAY - timedelta(days=1)
FORM = re.compile(r'<form[^>]*action="(/accounts/[^"]+/download/enedis)".*?</form>', re.DOTALL)


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def home(service: ApiService) -> str:
    account = service.add()
    put_curve(service.parts.stores.measures, [LAST - timedelta(days=1), LAST], account_id=account)
    return account


def send(service: ApiService, account: str, **typed: str) -> Any:
    """Fill in the page's form and send it."""
    browser = service.browser(account)
    form = FORM.search(browser.get(f"/accounts/{account}/download", headers=FRENCH).text)
    assert form is not None
    fields = dict(re.findall(r'name="(\w+)"[^>]*?value="([^"]*)"', form[0]))
    fields = dict.fromkeys(re.findall(r'name="(\w+)"', form[0]), "") | fields | typed
    return browser.post(form[1], data=fields, headers=FRENCH)


def test_a_household_gets_the_file_with_four_digits_of_its_meter(service: ApiService, home: str) -> None:
    answer = send(service, home)
    name = "Enedis_Conso_Heure_20240723-20240725_0011.csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    found = read_one(name, answer.content)
    assert (found.usage_point, len(found.readings), found.readings[-1].amount) == (None, 96, (413 + 95 - 48) * 500)
    assert answer.content.decode().splitlines()[1].startswith("00000000000011;Courbe de charge;23/07/2024;25/07/2024;")
    one_day = read_one(name, send(service, home, **{"from": str(LAST)}).content)
    assert {reading.start.date() for reading in one_day.readings} == {LAST}


def test_a_typed_number_is_in_its_file_alone(service: ApiService, home: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = send(service, home, meter=" 30 001 640 000 011 ")
    assert read_one("x.csv", answer.content).usage_point == "30001640000011"
    assert "30001640000011" not in answer.headers["Content-Disposition"] + caplog.text + str(answer.request.url)


@pytest.mark.parametrize("typed", ["30001640000012", "640000011", "3000164000001٣", "30001640000011x"])
def test_a_number_that_is_not_the_meters_is_refused(service: ApiService, home: str, typed: str) -> None:
    answer = send(service, home, meter=typed)
    assert answer.status_code == 422 and "14 chiffres" in answer.text and typed not in answer.text


def test_days_without_a_curve_are_refused_in_one_sentence(service: ApiService, home: str) -> None:
    answer = send(service, home, **{"from": "2020-01-01", "to": "2020-01-31"})
    assert answer.status_code == 404 and "courbe de charge" in answer.text


def test_only_a_meter_with_a_curve_offers_the_file(service: ApiService) -> None:
    account = service.add(12)
    service.store_days(account, date(2024, 7, 1), [7351])
    gas = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
    browser = service.browser(account, gas)
    for one in (account, gas):
        assert not FORM.search(browser.get(f"/accounts/{one}/download", headers=FRENCH).text)


def test_only_a_form_of_its_own_page_gets_the_file(service: ApiService, home: str) -> None:
    assert send(service, home, csrf="x").status_code == 403
    assert service.browser(service.add(12)).post(f"/accounts/{home}/download/enedis").status_code == 404
