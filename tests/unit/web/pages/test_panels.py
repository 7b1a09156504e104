"""The page of a home with panels, registers and a contract; and that other homes see nothing of it."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.household_pages import FRENCH
from tests.support.panel_homes import PanelHome, ask_for, store_home
from worker.domain.series import Series, of_supplier
from worker.web.texts import Words

LAST = TODAY - timedelta(days=1)
USUAL = (Series.DAILY, Series.LOAD_CURVE)
PRODUCTION = (Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE)


def page_of(service: ApiService, home: PanelHome, series: tuple[Series, ...], query: str = "", number: int = 21) -> str:
    account = service.add(number)
    store_home(service.parts, account, home, series)
    answer = service.browser(account).get(f"/accounts/{account}{query}", headers=FRENCH)
    assert answer.status_code == 200
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ")


class PlainWords(Words):
    """French words with plain spaces, as ``page_of`` has them."""

    def energy(self, milliwatt_hours: int, places: int | None = None) -> str:
        return super().energy(milliwatt_hours, places).replace("\N{NO-BREAK SPACE}", " ")

    def power(self, millivolt_amperes: int, places: int | None = None) -> str:
        return super().power(millivolt_amperes, places).replace("\N{NO-BREAK SPACE}", " ")


WORDS = PlainWords("fr")


def energy(watt_hours: int, places: int | None = None) -> str:
    return WORDS.energy(1000 * watt_hours, places)


def test_both_directions_are_in_one_chart_and_the_balance_is_named(service: ApiService) -> None:
    home = PanelHome(LAST, days=60)
    page = page_of(service, home, USUAL + PRODUCTION)
    drawn, fed = (sum(sum(of(date(2024, 7, day))) for day in range(1, 25)) for of in (home.drawn, home.fed))
    assert "<h1>Ma consommation et ma production</h1>" in page
    assert page.count('class="chart chart-wide"') == 1 and page.count('class="serie-fed"') == 2
    assert energy(drawn) in page and energy(fed) in page
    assert fed > drawn
    assert f"Vous avez injecté {energy(fed - drawn)} de plus que vous n’en avez prélevé." in page
    assert "Le compteur mesure seulement les échanges avec le réseau" in page
    row = re.search(r'<tr><th scope="row"><a [^>]*>mer. 24 juil.</a></th>(.*?)</tr>', page)
    cells = [sum(home.drawn(LAST)), sum(home.fed(LAST)), sum(home.drawn(LAST)) - sum(home.fed(LAST))]
    assert row and re.findall(r'class="number">([^<]+)<', row[1])[:3] == [WORDS.kwh(1000 * cell, 3) for cell in cells]


def test_days_that_are_known_of_one_direction_alone_are_in_no_balance(service: ApiService) -> None:
    page = page_of(service, PanelHome(LAST, days=60, fed_days_late=5), USUAL + PRODUCTION)
    assert "(19 jours comparés)" in page
    assert "Pour 5 jours, l’énergie injectée manque ou n’est pas encore connue." in page
    day = re.search(r'<tr><th scope="row"><a [^>]*>mer. 24 juil.</a></th>(.*?)</tr>', page)
    assert day and re.findall(r'class="number">([^<]+)<', day[1])[1:3] == ["–", "–"]
    assert "pas de valeur" not in page, "a card without a value of the injection has no line for it"


@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
def test_every_span_of_a_home_with_panels_is_drawn_also_while_the_production_is_late(
    service: ApiService, by: str
) -> None:
    page = page_of(service, PanelHome(LAST, days=60, fed_days_late=5), tuple(of_supplier("enedis")), f"?by={by}")
    assert 'class="chart chart-narrow"' in page and f'/contract?by={by}" >Index et contrat</a>' in page


def test_the_highest_power_stands_against_the_subscribed_one(service: ApiService) -> None:
    home = PanelHome(LAST, subscribed_va=2000)
    page = page_of(service, home, (*USUAL, Series.MAX_POWER, Series.CONTRACT), "/power")
    of_month = max(home.peak(date(2024, 7, day)) for day in range(1, 25))
    of_year = max(home.peak(day) for day in home.dates() if day.year == 2024)
    for power, at in (of_month, of_year):
        assert f"{WORDS.power(power * 1000, 3)}, le {WORDS.day(at.date())} à {at:%H:%M}" in page
    assert page.count('class="limit"') == 2 and "2 kVA" in page
    changed = LAST - timedelta(days=100)
    above = sum(home.peak(day)[0] > (2000 if day >= changed else 9000) for day in home.dates() if day.year == 2024)
    assert above > 1 and f"il y a eu {above} jours de dépassement de la puissance souscrite." in page


def test_without_a_contract_the_powers_have_no_line(service: ApiService) -> None:
    page = page_of(service, PanelHome(LAST), (*USUAL, Series.MAX_POWER), "/power")
    assert "Puissance maximale" in page and 'class="limit"' not in page
    assert "souscrite" not in re.sub(r"Au-delà de la puissance souscrite", "", page)


def test_registers_are_a_table_by_tariff_period_with_the_sums_of_months(service: ApiService) -> None:
    home = PanelHome(LAST, days=60)
    page = page_of(service, home, (*USUAL, Series.REGISTERS), "/contract")
    sums = {
        period: sum(sum(home.drawn(date(2024, 7, day))[rank::2]) for day in range(1, 25))
        for rank, period in enumerate(home.periods)
    }
    for period, about in (("HC", "heures creuses"), ("HP", "heures pleines")):
        told = rf'\s*<tr><td class="remark" colspan="3">{about}</td>'
        row = re.search(rf'<th scope="row">{period}</th>(.*?)</tr>{told}', page)
        assert row and re.findall(r">([^<]+)</td>", row[1])[1] == WORDS.kwh(1000 * sums[period], 3)
    assert WORDS.kwh(1000 * sum(sums.values()), 3) in page
    assert "Index du 25 juillet 2024 à 0 h." in page and "2024, mois par mois" in page
    assert (
        page.count("jours manquent") == 1 and "25 jours manquent" in page
    )  # May, of which the home's data begin on the 26th.


def test_the_contract_and_what_it_was_before_are_told(service: ApiService) -> None:
    page = page_of(service, PanelHome(LAST), (*USUAL, Series.CONTRACT), "/contract")
    assert "Moyenne utilisation, deux périodes (BTINFMUDT)" in page
    assert "23:30 – 05:30" in page and "31 août 2018" in page
    assert "9 kVA, BTINFMUDT" in page


def test_a_meter_that_only_feeds_in_shows_its_production(service: ApiService) -> None:
    home = PanelHome(LAST, days=60)
    page = page_of(service, home, PRODUCTION)
    assert "<h1>Ma production</h1>" in page and "of-production" in page
    assert 'class="serie-fed"' not in page and "Prélevé" not in page
    assert energy(sum(sum(home.fed(date(2024, 7, day))) for day in range(1, 25))) in page


def test_a_home_without_panels_and_registers_sees_no_empty_box(service: ApiService) -> None:
    page = page_of(service, PanelHome(LAST, days=60), USUAL)
    assert "<h1>Ma consommation</h1>" in page
    for word in ("serie-fed", "flows", "power", "registers", "contract", "key-fed", "injecté", "Injecté", "kVA"):
        assert word not in page, word


def test_series_that_are_asked_for_and_have_nothing_yet_leave_no_empty_box(service: ApiService) -> None:
    account = service.add(22)
    store_home(service.parts, account, PanelHome(LAST, days=60), USUAL)
    for series in of_supplier("enedis"):
        ask_for(service.parts, account, series)
    page = html.unescape(service.browser(account).get(f"/accounts/{account}", headers=FRENCH).text)
    assert "<h1>Ma consommation</h1>" in page
    assert all(word not in page for word in ("serie-fed", f"{account}/power", f"{account}/contract", "key-fed"))
