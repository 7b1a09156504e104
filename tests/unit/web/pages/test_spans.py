"""The page of free spans: sums, the difference of two spans, what bad days are told, and the kept day of the bill."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import FRENCH, csrf_of, record_outcome
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.prices import set_prices
from worker.accounts.spans import load_bill_day
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY

LAST = TODAY - timedelta(days=1)
BASE = "[[electricity]]\nfrom = 2024-01-01\nsubscription = 0\nbase = 0.25\n"
FAULT = "indiquez le premier puis le dernier jour, entre le 1er janvier 2000 et aujourd’hui"


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


def page_of(service: ApiService, account: str, query: str = "", status: int = 200) -> str:
    answer = service.browser(account).get(f"/accounts/{account}/spans{query}", headers=FRENCH)
    assert answer.status_code == status
    return answer.text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def facts_of(page: str, name: str) -> list[str]:
    """Return what each list of facts says of this name."""
    found = re.findall(rf"<dt>{name}</dt>\s*<dd>(.*?)</dd>", page, re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text)).strip() for text in found]


def rows_of(page: str, span: int) -> dict[str, list[str]]:
    table = page.split("<tbody>")[span].split("</tbody>")[0]
    rows = re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', table)
    return {label: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for label, cells in rows}


def add_home(service: ApiService, prices: str = "", days: int = 60, first_wh: int = 5000) -> str:
    """Add a home whose days count up by 10 Wh, up to yesterday."""
    account = service.add(21)
    service.store_days(account, TODAY - timedelta(days=days), [first_wh + 10 * rank for rank in range(days)])
    record_outcome(service, account, Series.DAILY)
    if prices:
        registry = service.parts.stores.registry
        set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(prices))
    return account


def test_any_days_are_summed_and_compared_with_any_others(service: ApiService) -> None:
    account = add_home(service, BASE)
    page = page_of(service, account, "?from=2024-07-01&to=2024-07-10&with_from=2024-06-01&with_to=2024-06-08")
    difference, july, june = facts_of(page, "Consommation")
    assert july == "54,1 kWh 5,41 kWh par jour connu 10 jours sur 10"  # 5.36 to 5.45.
    assert june == "40,8 kWh 5,10 kWh par jour connu 8 jours sur 8"  # 5.06 to 5.13.
    assert difference == "+13,3 kWh (+33 %) 10 jours connus contre 8 Par jour connu : +0,31 kWh (+6 %)"
    assert facts_of(page, "Coût") == [
        "+3,32 € (+33 %) 10 jours connus contre 8 Par jour connu : +0,08 € (+6 %)",
        "13,51 € 10 jours sur 10",
        "10,19 € 8 jours sur 8",
    ]
    assert rows_of(page, 1)["10 juil. 2024"] == ["5,45", "1,36"] and len(rows_of(page, 2)) == 8


def test_missing_days_are_told_of_a_span_and_of_its_months(service: ApiService) -> None:
    page = page_of(service, add_home(service), "?from=2024-05-01&to=2024-07-25")
    assert facts_of(page, "Consommation") == ["318 kWh 5,30 kWh par jour connu 60 jours sur 86"]
    assert rows_of(page, 1) == {
        "mai 2024": ["30,15", "6/31"],
        "juin 2024": ["156,15", "30/30"],
        "juillet 2024": ["131,40", "24/25"],
    }
    assert "Écart" not in page and 'value="2024-05-01"' in page


def test_without_days_the_newest_month_stands_beside_the_same_days_of_the_year_before(service: ApiService) -> None:
    account = add_home(service, days=400)
    page = page_of(service, account)
    difference, *of_spans = facts_of(page, "Consommation")
    assert difference == "+87,8 kWh (+70 %) sur 24 jours connus des deux côtés"
    assert [one[-16:].strip() for one in of_spans] == ["24 jours sur 24"] * 2
    asked = page_of(service, account, "?from=2024-07-01&to=2024-07-24&with_from=2023-07-01&with_to=2023-07-24")
    assert facts_of(asked, "Consommation") == [difference, *of_spans]


def test_spans_without_a_common_day_are_not_compared(service: ApiService) -> None:
    page = page_of(service, add_home(service))
    assert "n’ont pas de jours connus que l’on puisse comparer" in page
    assert facts_of(page, "Consommation")[1] == "pas de valeur 0 jour sur 24"


def test_whole_days_of_a_curve_count_where_no_daily_value_is_stored(service: ApiService) -> None:
    account = service.add(21)
    for day, steps in ((LAST - 2 * ONE_DAY, 48), (LAST - ONE_DAY, 47), (LAST, 48)):
        service.store_half_hours(account, day, [100] * steps)
    record_outcome(service, account, Series.LOAD_CURVE)
    assert facts_of(page_of(service, account), "Consommation")[-2] == "9,60 kWh 4,80 kWh par jour connu 2 jours sur 24"


def test_panels_and_gas_have_their_own_sums(service: ApiService) -> None:
    panels, feeding, gas = service.add(33), service.add(34), add_gas(service.parts, GasHome(LAST))
    store_home(service.parts, panels, PanelHome(LAST, days=60))
    store_home(service.parts, feeding, PanelHome(LAST, days=60), [Series.PRODUCTION_DAILY])
    query = "?from=2024-07-20&to=2024-07-24"
    fed = sum(sum(PanelHome.fed(LAST - rank * ONE_DAY)) for rank in range(5)) / 1000
    assert facts_of(page_of(service, feeding, query), "Injecté")[0].startswith(f"{fed:.1f} kWh".replace(".", ","))
    page = page_of(service, panels, query)
    assert facts_of(page, "Injecté") == facts_of(page_of(service, feeding, query), "Injecté")
    assert len(facts_of(page, "Prélevé")) == 1 and not facts_of(page, "Consommation")
    days = [GasHome(LAST).energy(date(2024, 7, day)) for day in (1, 2, 3)]
    shown = facts_of(page_of(service, gas, "?from=2024-07-01&to=2024-07-03"), "Consommation")
    assert shown == [f"{sum(days)},0 kWh {sum(days) / 3:.1f} kWh par jour connu 3 jours sur 3".replace(".", ",")]


@pytest.mark.parametrize(
    "query",
    [
        "?from=2024-07-10&to=2024-07-09",
        "?from=2024-07-01&to=2024-07-26",
        "?from=1999-12-31&to=2024-07-09",
        "?from=2024-02-30&to=2024-07-09",
        "?from=0001-01-01&to=9999-12-31",
        "?from=2024-07-01",
        "?from=%00&to=%22%3E",
        "?from=2024-07-01&to=2024-07-09&with_from=2024-06-01",
    ],
)
def test_bad_days_give_the_form_again_with_one_line(service: ApiService, account: str, query: str) -> None:
    page = page_of(service, account, query, 422)
    assert page.count(FAULT) == 1 and '<form class="card span-form" method="get"' in page
    assert "kWh" not in page


def test_no_day_is_known_of_an_account_without_data(service: ApiService) -> None:
    assert "kWh" not in page_of(service, service.add(21), "?from=2024-07-01&to=2024-07-09")


def test_the_day_of_the_bill_gives_its_years_and_is_forgotten_on_request(service: ApiService) -> None:
    account, registry = add_home(service, days=500), service.parts.stores.registry
    browser = service.browser(account)
    csrf = csrf_of(browser.get(f"/accounts/{account}/spans").text)

    def send(**form: str) -> int:
        data = {"csrf": csrf, **form}
        return browser.post(f"/accounts/{account}/bill-day", data=data, follow_redirects=False).status_code

    assert send(day="14", month="3") == 303
    page = page_of(service, account)
    links = re.findall(r'<a href="(\?from=[^"]+)#result">([^<]+)', page)
    assert [(html.unescape(query), text) for query, text in links] == [
        ("?from=2024-07-01&to=2024-07-24&with_from=2023-07-01&with_to=2023-07-24", "Les mêmes jours, un an plus tôt"),
        (
            "?from=2024-03-14&to=2024-07-24&with_from=2023-03-14&with_to=2023-07-24",
            "Depuis le 14 mars 2024, début de votre année de facturation",
        ),
        (
            "?from=2023-03-14&to=2024-03-13&with_from=2022-03-14&with_to=2023-03-13",
            "L’année de facturation commencée le 14 mars 2023",
        ),
    ]
    assert "sur 133 jours connus" in page_of(service, account, html.unescape(links[1][0]))
    assert 'value="14"' in page and '<option value="3" selected>' in page
    for day, month in (("31", "4"), ("x", "3"), ("9" * 99, "3"), ("1", "")):
        assert send(day=day, month=month) == 422
    assert send(day="29", month="2") == 303 and load_bill_day(registry, account) == date(2000, 2, 29)
    assert send() == 303 and load_bill_day(registry, account) is None
