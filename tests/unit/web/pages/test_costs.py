"""The page of an account in euros: what bars, table and sentences say, and off-peak hours behind a day's bars."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api_service import TODAY, ApiService
from tests.support.household_pages import FRENCH, record_outcome
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.prices import load_tariff, read_costs, set_prices
from worker.domain.prices import Option
from worker.domain.prices.choices import OffPeakHours, Terms, read_hours
from worker.domain.prices.cost import EURO, row_of_days, rows_by_day
from worker.domain.prices.energy import EnergySource, PeriodEnergies, off_peak_minutes
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.prices.regulated import FILES
from worker.domain.series import USUAL_SERIES, Period, Series, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow
from worker.web.pages.costs import sum_months

LAST = TODAY - timedelta(days=1)
# In July a day's subscription is 1 euro.
BASE = "[[electricity]]\nfrom = {first}\nsubscription = 31\nbase = 0.25\n"
PEAK = "[[electricity]]\nfrom = 2023-01-01\nsubscription = 31\nhp = 0.25\nhc = 0.125\n"
SOLD = "[[production]]\nfrom = 2023-01-01\nprice = 0.1\n"
HPHC_HEADER = "DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_TTC;PART_VARIABLE_HC_TTC;PART_VARIABLE_HP_TTC"
UNKNOWN = "leurs heures creuses, leur couleur Tempo ou leurs mesures par période tarifaire ne sont pas connues."
USUAL = (Series.DAILY, Series.LOAD_CURVE)


def add_home(service: ApiService, prices: str, series: Any = USUAL, hours: str = "", **home: Any) -> str:
    account = service.add(21)
    store_home(service.parts, account, PanelHome(LAST, **{"days": 60, **home}), series)
    registry = service.parts.stores.registry
    own = read_own_prices(prices) if prices else None
    if own:
        ranges = read_hours(hours) if hours else ()
        set_prices(registry, registry.accounts.get_existing(account), own=own, hours=ranges)
    return account


def page_of(service: ApiService, account: str, query: str) -> str:
    answer = service.browser(account).get(f"/accounts/{account}{query}", headers=FRENCH)
    assert answer.status_code == 200
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def row_of(service: ApiService, account: str, first: date, last: date) -> dict[str, Any]:
    """Return what the command says that days cost."""
    stores, window = service.parts.stores, DateWindow(first, last + ONE_DAY)
    tariff = load_tariff(stores.registry, stores.measures, stores.registry.accounts.get_existing(account))
    return next(rows_by_day(window, Period.YEAR, *read_costs(stores.measures, account, tariff, window)))


def in_french(number: str) -> str:
    return number.replace(".", ",")


def slots_of(page: str) -> dict[str, list[str]]:
    """Return the cells of each row of the chart's table."""
    table = page.split("<table data-slots")[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">(?:<a [^>]*>)?([^<]+)(?:</a>)?</th>(.*?)</tr>', table)
    return {label: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for label, cells in rows}


def lines_of(page: str) -> list[list[str]]:
    """Return the lines of the table by tariff period."""
    table = page.split("Détail du coût</caption>")[1].split("</table>")[0]
    return [re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in table.split("<tr")[2:]]


def test_a_month_is_shown_in_euros_as_the_command_tells_it(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2023-01-01"))
    page, row = page_of(service, account, "?unit=eur"), row_of(service, account, date(2024, 7, 1), date(2024, 7, 31))
    assert f"<strong>{in_french(row['total_eur'])} €</strong>" in page
    assert "24 jours sur 31" in page and "dont environ 24,00 € d’abonnement" in page
    drawn = Decimal(sum(PanelHome.drawn(LAST))) / 1000
    assert slots_of(page)["mer. 24 juil."][0] == in_french(str(round(drawn / 4 + 1, 2)))
    assert lines_of(page) == [
        ["Toutes heures", in_french(row["periods"][0]["kwh"]), in_french(row["energy_eur"]) + " €"],
        ["Abonnement (environ)", "", "24,00 €"],
        ["Total", in_french(row["periods"][0]["kwh"]), in_french(row["total_eur"]) + " €"],
    ]
    assert '<span class="axis-unit">€</span>' in page and 'data-unit="€"' in page
    assert re.search(r'aria-label="mer. 24 juil. : \d+,\d\d €"', page)


@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
def test_the_total_of_every_span_is_the_commands_and_its_lines_add_up_to_it(service: ApiService, by: str) -> None:
    account = add_home(service, PEAK, (*USUAL, Series.REGISTERS, Series.CONTRACT), curve_days=3)
    first = {"day": LAST, "week": date(2024, 7, 22), "month": date(2024, 7, 1), "year": date(2024, 1, 1)}[by]
    page, row = page_of(service, account, f"?by={by}&unit=eur"), row_of(service, account, first, LAST)
    *lines, total = lines_of(page)
    assert total[2] == in_french(row["total_eur"]) + " €"
    for place, digits in ((1, 3), (2, 2)):
        amounts = [Decimal(line[place].removesuffix(" €").replace(",", ".") or 0) for line in (*lines, total)]
        assert sum(amounts[:-1]) == amounts[-1] and round(amounts[-1], digits) == amounts[-1]
    assert [line[0] for line in lines] == ["Heures pleines", "Heures creuses", "Abonnement (environ)"]


def test_the_months_of_a_year_are_what_the_command_tells_of_them(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2023-01-01").replace("31", "10.01"))
    slots = slots_of(page_of(service, account, "?by=year&unit=eur"))
    for name, month in (("juin", 6), ("juillet", 7)):
        row = row_of(service, account, date(2024, month, 1), date(2024, month, 30))
        assert slots[name][0] == in_french(row["total_eur"])
    assert slots["mai"][1:] == ["incomplet, 6 jours sur 31"]  # Without a column for the year before.


def test_a_day_is_shown_by_hours_in_euros(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2023-01-01"))
    slots = slots_of(page_of(service, account, "?by=day&unit=eur"))
    assert len(slots) == 24
    evening = Decimal(sum(PanelHome.drawn(LAST)[38:40])) / 4000 + Decimal(1) / 24
    assert slots["19:00 – 20:00"][0] == in_french(str(round(evening, 2)))


def test_the_unit_is_kept_by_every_link_of_the_chart_and_of_the_home(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2023-01-01"))
    page = page_of(service, account, "?by=month&at=2024-06-03&compare=year&unit=eur")
    links = re.findall(r'href="(\?by=[^"]+)"', page)
    assert len(links) > 30 and [link for link in links if "&unit=eur" not in link] == [
        "?by=month&at=2024-06-01&compare=year#chart"  # The link to kWh.
    ]
    assert '<input type="hidden" name="unit" value="eur">' in page
    assert "&unit=eur" not in page_of(service, account, "").replace("?by=month&at=2024-07-01&unit=eur", "")


def test_days_without_a_price_are_told_as_plainly_as_missing_days(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2024-07-10"))
    page = page_of(service, account, "?unit=eur")
    assert "Pas de prix du 1er juillet 2024 au 9 juillet 2024 : aucun n’est indiqué." in page
    assert "15 jours sur 31" in page
    assert slots_of(page)["mar. 9 juil."] == ["–", "pas de prix"]
    assert page.count('class="gap"') == 2 * 9  # In the wide drawing and the narrow one.


@pytest.mark.parametrize(
    ("option", "power", "why"),
    [
        (Option.BASE, 6, ""),
        (Option.BASE, 7, "le tarif réglementé n’a pas de prix pour 7 kVA avec l’option Base."),
        (Option.HPHC, 6, "les prix connus du tarif réglementé vont du 1er août 2023 au 31 janvier 2024."),
        (
            Option.TEMPO,
            3,
            "le tarif réglementé n’a pas de prix pour 3 kVA avec l’option Tempo.",
        ),
    ],
)
def test_why_a_regulated_price_is_unknown_is_told(service: ApiService, option: Option, power: int, why: str) -> None:
    account, registry = add_home(service, ""), service.parts.stores.registry
    registry.public_files.save(FILES[Option.HPHC], f"{HPHC_HEADER}\n01/08/2023;;6;150,00;0,20;0,25\n", date(2024, 1, 1))
    set_prices(registry, registry.accounts.get_existing(account), regulated=(option, power))
    page = page_of(service, account, "?unit=eur")
    assert ("Pas de prix" in page) == bool(why)
    assert f"Pas de prix du 1er juillet 2024 au 24 juillet 2024 : {why}" in page or not why


def test_the_missing_file_of_an_option_is_told_with_the_command_that_fetches_it(service: ApiService) -> None:
    account, registry = add_home(service, ""), service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), regulated=(Option.HPHC, 6))
    assert "n’ont pas encore été téléchargés (« releve prices update »)." in page_of(service, account, "?unit=eur")


def test_days_whose_periods_are_unknown_and_days_with_holes_are_told(service: ApiService) -> None:
    account = add_home(service, PEAK, curve_days=3)
    page = page_of(service, account, "?unit=eur")
    assert f"24 jours sont sans coût : {UNKNOWN}" in page
    registry, measures = service.parts.stores.registry, service.parts.stores.measures
    set_prices(registry, registry.accounts.get_existing(account), hours=read_hours("22:00-06:00"))
    assert "21 jours sont sans coût" in page_of(service, account, "?unit=eur")
    other = service.add(22)
    service.store_days(other, LAST - ONE_DAY, [5000, 5000])
    service.store_half_hours(other, LAST - ONE_DAY, [100] * 48)
    service.store_half_hours(other, LAST, [100] * 40)
    for series in USUAL_SERIES:
        record_outcome(service, other, series)
    owner = registry.accounts.get_existing(other)
    set_prices(registry, owner, own=read_own_prices(PEAK), hours=read_hours("22:00-06:00"))
    page = page_of(service, other, "?unit=eur")
    assert (
        "1 jour n’est compté qu’en partie : il manque des mesures ou une couleur de Tempo." in page
        and "1 jour sur 31" in page
    )
    assert slots_of(page)["mer. 24 juil."][-1].startswith("incomplet")
    tariff = load_tariff(registry, measures, owner)
    july = DateWindow(date(2024, 7, 1), TODAY)
    total = next(rows_by_day(july, Period.YEAR, *read_costs(measures, other, tariff, july)))
    assert f"<strong>{in_french(total['total_eur'])} €</strong>" in page


def test_what_is_fed_in_stands_beside_and_is_not_deducted(service: ApiService) -> None:
    account = add_home(service, BASE.format(first="2023-01-01") + SOLD, tuple(of_supplier("enedis")))
    page, row = page_of(service, account, "?unit=eur"), row_of(service, account, date(2024, 7, 1), LAST)
    assert lines_of(page)[-1] == [
        "Injecté, en plus (non déduit)",
        in_french(row["production_kwh"]),
        in_french(row["production_eur"]) + " €",
    ]
    assert lines_of(page)[-2][2] == in_french(row["total_eur"]) + " €"
    assert 'class="serie-fed"' not in page


def test_what_is_fed_in_is_told_where_consumption_has_no_price(service: ApiService) -> None:
    page = page_of(service, add_home(service, SOLD, tuple(of_supplier("enedis"))), "?unit=eur")
    ((name, _, euros),) = lines_of(page)
    assert (name, euros[-2:]) == ("Injecté, en plus (non déduit)", " €") and "Pas de prix du" in page
    assert "Aucune donnée" not in page


def test_without_a_price_euros_are_offered_by_a_link_to_the_form(service: ApiService) -> None:
    account = add_home(service, "")
    page = page_of(service, account, "?unit=eur")
    assert f'<a href="/accounts/{account}/prices">Indiquez un prix pour voir des euros</a>' in page
    assert "€" not in page and '<span class="axis-unit">kWh</span>' in page
    sold = service.add(23)
    store_home(service.parts, sold, PanelHome(LAST, days=60), (Series.PRODUCTION_DAILY,))
    assert "Indiquez un prix" not in page_of(service, sold, "")


def test_days_with_energy_of_which_the_hours_are_unknown_have_no_cost_in_words(service: ApiService) -> None:
    account, registry = add_home(service, PEAK), service.parts.stores.registry
    hours, first = read_hours("22:00-06:00"), date(2024, 7, 23)
    set_prices(registry, registry.accounts.get_existing(account), hours=hours, first=first)
    page = page_of(service, account, "?unit=eur")
    slots = slots_of(page)
    assert slots["lun. 22 juil."] == ["–", "pas de coût"] and slots["mar. 23 juil."][-1] == ""
    assert 'aria-label="lun. 22 juil. : pas de coût"' in page
    assert f"22 jours sont sans coût : {UNKNOWN}" in page


@pytest.mark.parametrize("unit", ["kwh", "eur"])
def test_off_peak_hours_stand_behind_the_bars_of_a_day(service: ApiService, unit: str) -> None:
    account = add_home(service, PEAK, hours="22:00-06:00,12:30-14:30")
    page = page_of(service, account, f"?by=day&unit={unit}")
    wide = page.split('class="chart chart-wide"')[1].split("</svg>")[0]
    bands = re.findall(r'class="off-peak" x="([\d.]+)" y="16" width="([\d.]+)"', wide)
    left = float(bands[0][0])
    hour = (920 - left) / 24
    expected = [(0, 6), (12.5, 2), (22, 2)]
    shown = [(float(x) - left, float(width)) for x, width in bands]
    assert shown == [pytest.approx((start * hour, length * hour), abs=0.02) for start, length in expected]
    assert page.count("key-off-peak") == 1
    assert "<dt>Heures creuses</dt><dd>00:00 – 06:00, 12:30 – 14:30, 22:00 – 00:00</dd>" in page
    for query in ("?by=month", "?by=day"):
        other = page_of(service, account if "month" in query else add_plain(service), query)
        assert "off-peak" not in other


def add_plain(service: ApiService) -> str:
    account = service.add(24)
    store_home(service.parts, account, PanelHome(LAST, days=60), USUAL)
    registry = service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(BASE.format(first="2023-01-01")))
    return account


@pytest.mark.parametrize(
    ("day", "hours", "expected"),
    [
        (date(2024, 7, 24), "22:00-06:00", [(0, 360), (1320, 1440)]),
        (date(2024, 10, 27), "01:00-03:00", [(60, 240)]),  # It is two o'clock twice.
        (date(2024, 10, 27), "22:00-02:30", [(0, 150), (180, 210), (1380, 1500)]),
        (date(2024, 3, 31), "22:00-06:00", [(0, 300), (1260, 1380)]),
        (date(2024, 7, 24), "07:04-23:04", [(424, 1384)]),
    ],
)
def test_off_peak_hours_are_those_of_the_clock(day: date, hours: str, expected: list[tuple[int, int]]) -> None:
    assert off_peak_minutes(day, Terms(Option.HPHC, None, OffPeakHours(day, read_hours(hours)))) == expected


def test_off_peak_hours_of_tempo_need_no_colour_and_base_has_none() -> None:
    assert off_peak_minutes(LAST, Terms(Option.TEMPO)) == [(0, 360), (1320, 1440)]
    assert off_peak_minutes(LAST, Terms(Option.BASE)) == []
    assert off_peak_minutes(LAST, Terms(Option.HPHC)) == []


@given(st.lists(st.integers(0, 10**8).map(lambda part: Fraction(part, 12 * 31 * 10**4)), min_size=1, max_size=70))
def test_the_months_of_a_year_are_added_up_before_they_are_rounded(costs: list[Fraction]) -> None:
    days = [date(2024, 1, 15) + rank * ONE_DAY for rank in range(len(costs))]
    by_day = {
        day: PeriodEnergies({"base": 1}, EnergySource.DAILY, parts={"base": EURO * cost})
        for day, cost in zip(days, costs, strict=True)
    }
    months, window = sum_months(by_day), DateWindow(date(2024, 1, 1), date(2025, 1, 1))
    for first, month in months.items():
        assert month.total == sum(by_day[day].total for day in days if day.month == first.month)
    assert row_of_days(window, months) == row_of_days(window, by_day)


def test_the_page_tells_which_of_its_days_have_production_without_a_price(service: ApiService) -> None:
    sold = SOLD.replace("2023-01-01", "2024-07-11")
    account = add_home(service, BASE.format(first="2023-01-01") + sold, (*USUAL, Series.PRODUCTION_DAILY))
    page, row = page_of(service, account, "?unit=eur"), row_of(service, account, date(2024, 7, 11), LAST)
    assert in_french(row["production_kwh"]) in page and in_french(row["production_eur"]) + " €" in page
    assert re.findall("L’injection[^<]*", page) == [
        "L’injection du 1er juillet 2024 au 10 juillet 2024 n’a pas de prix : les totaux ne la comptent pas."
    ]
