"""A home with electricity and gas: joined by its household, a tab each, one sum where it is asked for."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_homes import GAS_SETTINGS, OTHER_PCE, GasHome, add_gas
from tests.support.household_pages import FRENCH, csrf_of, record_outcome
from worker.accounts.meter_names import save_name
from worker.domain.account import AccountState
from worker.domain.series import Series
from worker.web.texts import Words

LAST = TODAY - timedelta(days=2)
HOME = GasHome(LAST)
WATT_HOURS = 5000


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


@pytest.fixture
def power(service: ApiService) -> str:
    """An account of electricity: 5 kWh on each of 60 days up to yesterday."""
    account = service.add(11)
    service.store_days(account, TODAY - timedelta(days=60), [WATT_HOURS] * 60)
    record_outcome(service, account, Series.DAILY)
    return account


@pytest.fixture
def gas(service: ApiService) -> str:
    return add_gas(service.parts, HOME)


def load(browser: TestClient, account: str, query: str = "") -> str:
    answer = browser.get(f"/accounts/{account}{query}", headers=FRENCH)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def join(browser: TestClient, account: str, other: str) -> int:
    csrf = csrf_of(browser.get(f"/accounts/{account}/stop").text)
    form = {"csrf": csrf, "other": other}
    return browser.post(f"/accounts/{account}/home", data=form, follow_redirects=False).status_code


def part(browser: TestClient, account: str) -> int:
    csrf = csrf_of(browser.get(f"/accounts/{account}/stop").text)
    return browser.post(f"/accounts/{account}/home/part", data={"csrf": csrf}, follow_redirects=False).status_code


def tabs(page: str) -> list[str]:
    nav = page.partition('class="tabs energies"')[2].partition("</nav>")[0]
    return re.findall(r"<a [^>]*>([^<]+)</a>", nav)


def test_a_household_joins_its_two_accounts_and_parts_them_again(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    alone = load(browser, power, "/connection")
    assert tabs(alone) == [] and "Regrouper les deux compteurs" in alone
    assert join(browser, power, gas) == 303
    for account in (power, gas):
        page = load(browser, account, "/connection")
        assert tabs(page) == ["Électricité", "Gaz"] and "Séparer les deux compteurs" in page
        assert f'href="/accounts/{account}/connection" aria-current="page"' in page
    assert part(browser, gas) == 303
    assert all(tabs(load(browser, account)) == [] for account in (power, gas))


def test_a_named_meter_has_its_name_on_its_tab_and_not_with_others(service: ApiService, power: str, gas: str) -> None:
    registry = service.parts.stores.registry
    browser = service.browser(power, gas)
    join(browser, power, gas)
    save_name(registry, registry.accounts.get_existing(gas), "Maison")
    assert '>Gaz<span class="wide-only"> · Maison</span></a>' in load(browser, power)
    assert "Maison" not in load(service.browser(power), power).partition('id="meter-name"')[0]


def test_a_tab_keeps_the_span_that_is_shown(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    page = load(browser, power, "?by=year&at=2024-06-01")
    assert f'href="/accounts/{gas}?by=year&at=2024-06-01"' in page
    page = load(browser, power, "?by=month&at=2024-06-01&compare=year&unit=eur")
    assert f'href="/accounts/{gas}?by=month&at=2024-06-01&compare=year&unit=eur"' in page


def test_each_account_shows_its_own_page_under_its_tab(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    assert "<h1>Ma consommation</h1>" in load(browser, power) and "<h1>Mon gaz</h1>" in load(browser, gas)


def test_nobody_joins_an_account_that_the_browser_does_not_show(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power)
    assert gas not in load(browser, power)
    assert join(browser, power, gas) == 404
    assert join(browser, power, "zzzzzzzzzzzz") == 404
    assert service.parts.stores.registry.accounts.get(gas).home is None


def test_who_shows_one_account_of_a_home_sees_nothing_of_the_other(service: ApiService, power: str, gas: str) -> None:
    join(service.browser(power, gas), power, gas)
    other = service.browser(gas)
    page = load(other, gas, "?sum=1")
    assert tabs(page) == [] and power not in page and 'id="sum"' not in page
    assert other.get(f"/accounts/{power}").status_code == 404


def test_a_form_of_another_site_joins_and_parts_nothing(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    form = {"csrf": "0" * 64, "other": gas}
    assert browser.post(f"/accounts/{power}/home", data=form).status_code == 403
    join(browser, power, gas)
    assert browser.post(f"/accounts/{power}/home/part", data=form).status_code == 403
    assert (
        service.parts.stores.registry.accounts.get(gas).home
        == service.parts.stores.registry.accounts.get(power).home
        is not None
    )


def test_a_home_has_one_account_of_each_energy(service: ApiService, power: str, gas: str) -> None:
    second, second_gas = service.add(12), add_gas(service.parts, HOME, OTHER_PCE)
    browser = service.browser(power, gas, second, second_gas)
    assert join(browser, power, second) == 404, "two meters of one energy are two homes"
    join(browser, power, gas)
    assert join(browser, power, second_gas) == 404
    assert join(browser, second, gas) == 404, "it would take the gas out of the first home unasked"
    assert join(browser, second, second_gas) == 303
    homes = {service.parts.stores.registry.accounts.get(account).home for account in (power, gas, second, second_gas)}
    assert len(homes) == 2


def test_there_is_no_sum_unless_it_is_asked_for(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    for query in ("", "?by=year", "?sum=0"):
        page = load(browser, power, query)
        assert 'id="sum"' not in page and "Additionner l’électricité et le gaz, en kWh" in page


def test_the_sum_says_what_is_added_and_adds_only_days_known_of_both(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    for account in (power, gas):
        box = load(browser, account, "?sum=1").partition('id="sum"')[2].partition("</section>")[0]
        assert "seulement les jours où les deux énergies ont une valeur" in box
        first = TODAY - timedelta(days=60)
        months = [day for day in HOME.dates() if (day.year, day.month) == (2024, 7)]
        year = [day for day in HOME.dates() if day.year == 2024 and day >= first]
        words = Words("fr")
        for days in ([LAST], months, year):
            drawn, heated = len(days) * WATT_HOURS * 1000, sum(map(HOME.energy, days)) * 10**6
            places = 2 if days == [LAST] else None
            for energy in (drawn, heated, drawn + heated):
                shown = words.energy(energy, places).replace("\N{NO-BREAK SPACE}", " ")
                assert shown.replace("\N{NARROW NO-BREAK SPACE}", " ") in box
        assert f"sur {len(year)} jours où les deux énergies ont une valeur" in box


def test_a_gap_of_one_energy_leaves_the_day_out_of_the_sum(service: ApiService, power: str) -> None:
    gas = add_gas(service.parts, GasHome(LAST, gaps=(0, 5)))
    service.parts.stores.registry.outcomes.load(gas)
    browser = service.browser(power, gas)
    join(browser, power, gas)
    box = load(browser, power, f"?sum=1&at={LAST - timedelta(days=5)}").partition('id="sum"')[2]
    assert "pas de valeur" in box.partition("</div>")[0]


def test_a_sum_without_days_of_one_energy_says_so(service: ApiService, gas: str) -> None:
    empty = service.add(14)
    browser = service.browser(empty, gas)
    join(browser, empty, gas)
    assert "Il n’y a encore rien à additionner" in load(browser, gas, "?sum=1")


@pytest.mark.parametrize("way", ["stop", "remove"])
def test_gas_is_left_without_losing_electricity(service: ApiService, power: str, gas: str, way: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    csrf = csrf_of(browser.get(f"/accounts/{gas}/{way}").text)
    left = browser.post(f"/accounts/{gas}/{way}", data={"csrf": csrf}, headers=FRENCH)
    assert left.status_code == 200 and "GRDF" in left.text
    account = service.parts.stores.registry.accounts.get(power)
    assert account.state is AccountState.READY
    page = load(browser, power)
    assert "<h1>Ma consommation</h1>" in page and 'id="chart"' in page
    assert tabs(page) == (["Électricité", "Gaz"] if way == "stop" else [])
    if way == "remove":
        assert service.parts.stores.registry.accounts.get(gas).home is None


def test_the_first_page_names_the_energy_of_each_meter(service: ApiService, power: str, gas: str) -> None:
    page = service.browser(power, gas).get("/", headers=FRENCH).text
    assert "Électricité · Compteur …0011" in page and "Gaz · Compteur …0123" in page


def test_two_meters_of_electricity_are_offered_nothing(service: ApiService, power: str) -> None:
    page = load(service.browser(power, service.add(12)), power, "/connection")
    assert "Réunir" not in page and "Ajouter le gaz" in page


def test_dates_outside_of_the_calendar_do_no_harm(service: ApiService, power: str, gas: str) -> None:
    browser = service.browser(power, gas)
    join(browser, power, gas)
    for at in (date.min, date.max):
        assert browser.get(f"/accounts/{power}?sum=1&at={at}").status_code == 200
