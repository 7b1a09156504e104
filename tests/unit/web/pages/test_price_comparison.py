"""The page that compares options: a table of those that can be computed, and what the others lack."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta
from decimal import Decimal

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_homes import GasHome, add_gas
from tests.support.household_pages import FRENCH
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.prices import load_tariff, read_costs, remove_prices, save_colours, set_prices
from worker.domain.prices import Option
from worker.domain.prices.choices import read_hours
from worker.domain.prices.cost import row_of_days
from worker.domain.prices.regulated import FILES
from worker.domain.prices.tempo import read_colours
from worker.domain.series import Series
from worker.domain.windows import DateWindow

LAST = TODAY - timedelta(days=1)
YEAR = DateWindow(date(2023, 7, 25), TODAY)
BLUE_DAYS = "day,colour\n" + "".join(f"{date(2023, 7, 24) + timedelta(days=day)},BLUE\n" for day in range(400))


def page_of(service: ApiService, account: str, query: str = "", status: int = 200) -> str:
    answer = service.browser(account).get(f"/accounts/{account}/prices/compare{query}", headers=FRENCH)
    assert answer.status_code == status
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def lines_of(page: str) -> dict[str, list[str]]:
    rows = re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', page)
    return {option: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for option, cells in rows}


def test_options_are_compared_on_the_same_days_and_the_others_say_what_they_lack(service: ApiService) -> None:
    account, registry = service.add(21), service.parts.stores.registry
    store_home(service.parts, account, PanelHome(LAST, days=400, curve_days=350), (Series.DAILY, Series.LOAD_CURVE))
    assert "Votre puissance souscrite n’est pas connue" in page_of(service, account)
    save_colours(registry, read_colours(BLUE_DAYS))
    page = page_of(service, account, "?power=9&hours=23:00-07:00")
    lines = lines_of(page)
    assert list(lines) == ["Base", "Tempo"]
    assert "Jours comparés : 349 sur 366, du 25 juillet 2023 au 24 juillet 2024, à 9 kVA." in page
    assert "La moins chère sur ces jours : Tempo." in page and "Cela ne dit rien de l’avenir" in page
    assert [cells[3:] for cells in lines.values()] == [["0 %", "valeurs quotidiennes"], ["0 %", "courbe de charge"]]
    no_file = "les prix de l’option Heures pleines / heures creuses n’ont pas encore été téléchargés"
    assert f"trop peu de jours connus : 0, il en faut 330. Jours sans prix : 366 ; {no_file}" in page
    header = "DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_TTC;PART_VARIABLE_HC_TTC;PART_VARIABLE_HP_TTC"
    registry.public_files.save(FILES[Option.HPHC], f"{header}\n01/01/2023;;9;150,00;0,20;0,25\n", TODAY)
    assert "Jours sans heures creuses connues : 366." in page_of(service, account, "?power=9")
    lines = lines_of(page_of(service, account, "?power=9&hours=23:00-07:00"))
    assert list(lines) == ["Base", "Heures pleines / heures creuses", "Tempo"]
    # Each costs what its days cost on that tariff; in the half-hours of the home, the day of 25 hours has a hole.
    owner, costs = registry.accounts.get_existing(account), {}
    for option in Option:
        set_prices(registry, owner, regulated=(option, 9), hours=read_hours("23:00-07:00"))
        assert lines_of(page_of(service, account)) == lines  # Power and hours are those that are set.
        tariff = load_tariff(registry, service.parts.stores.measures, owner)
        costs[option], _ = read_costs(service.parts.stores.measures, account, tariff, YEAR)
        remove_prices(registry, owner)
    days = [day for day, one in costs[Option.TEMPO].items() if one.known]
    assert len(days) == 349
    for option, cells in zip(Option, lines.values(), strict=True):
        row = row_of_days(YEAR, {day: costs[option][day] for day in days})
        euros = [Decimal(cell.removesuffix(" €").replace(" ", "").replace(",", ".")) for cell in cells[:3]]
        assert [*map(str, euros)] == [row["total_eur"], row["energy_eur"], row["subscription_eur"]]


def test_hours_that_are_not_well_written_are_told_and_nothing_is_computed(service: ApiService, account: str) -> None:
    page = page_of(service, account, "?power=6&hours=22:00-24:00", 422)
    assert "write 00:00 for 24:00" in page and "Jours comparés" not in page
    assert 'value="22:00-24:00"' in page and re.search(r'value="6" selected', page)


def test_gas_has_no_options(service: ApiService) -> None:
    gas = add_gas(service.parts, GasHome(TODAY))
    answer = service.browser(gas).get(f"/accounts/{gas}/prices/compare", follow_redirects=False)
    assert answer.headers["location"] == f"/accounts/{gas}/prices"
    assert "/prices/compare" not in service.browser(gas).get(f"/accounts/{gas}/prices").text


def test_given_hours_are_not_those_that_registers_count_by(service: ApiService) -> None:
    account, registry = service.add(33), service.parts.stores.registry
    store_home(service.parts, account, PanelHome(LAST, days=400, curve_days=350))
    header = "DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_TTC;PART_VARIABLE_HC_TTC;PART_VARIABLE_HP_TTC"
    registry.public_files.save(FILES[Option.HPHC], f"{header}\n01/01/2023;;6;150,00;0,10;0,30\n", TODAY)
    peak = "Heures pleines / heures creuses"
    asked = ["", "?hours=23:00-07:00", "?hours=11:00-17:00"]
    registers, night, noon = (lines_of(page_of(service, account, query))[peak] for query in asked)
    assert [cells[4] for cells in (registers, night, noon)] == ["index", "courbe de charge", "courbe de charge"]
    assert night[1] != noon[1]
