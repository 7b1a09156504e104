"""The page of a gas account: days, provisional values, billed periods, the contract, and nothing of electricity."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.gas_homes import CONTRACT, DAILY, GAS_SETTINGS, PUBLISHED, GasHome, add_gas
from tests.support.household_pages import FRENCH
from tests.unit.web.pages.test_prices import REGULATED, Form
from worker.web.texts import Words

LAST = TODAY - timedelta(days=2)
FR = Words("fr")
ELECTRICITY = ("Enedis", "Linky", "emi-heure", "kVA", "kW<", "uissance", "lectricité prélevée", "Injecté", "tarifaire")


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


def page_of(service: ApiService, account: str, query: str = "", language: str = "fr") -> str:
    answer = service.browser(account).get(f"/accounts/{account}{query}", headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def main_of(page: str) -> str:
    return page.partition("<main")[2].partition("</main>")[0]


def kwh_of(home: GasHome, year: int, month: int) -> int:
    return sum(home.energy(day) for day in home.dates() if (day.year, day.month) == (year, month))


def test_the_page_shows_the_gas_of_days_months_and_years(service: ApiService) -> None:
    home = GasHome(LAST)
    account = add_gas(service.parts, home)
    page = page_of(service, account)
    assert "<h1>Mon gaz</h1>" in page and "GRDF" in page and "…0123" in page
    july = sum(home.energy(date(2024, 7, day)) for day in range(1, LAST.day + 1))
    assert f"<strong>{FR.number(july)} kWh</strong>" in page.replace("\N{NARROW NO-BREAK SPACE}", " ")
    row = re.search(r'<tr><th scope="row"><a [^>]*>mar. 23 juil.</a></th>(.*?)</tr>', page)
    assert row and re.findall(r'class="number">([^<]+)<', row[1])[0] == FR.kwh(home.energy(LAST) * 10**6, 3)
    year = page_of(service, account, "?by=year")
    row = re.search(r'<tr><th scope="row"><a [^>]*>juin</a></th>(.*?)</tr>', year)
    assert row and re.findall(r'class="number">([^<]+)<', row[1])[0] == FR.kwh(kwh_of(home, 2024, 6) * 10**6, 3)


@pytest.mark.parametrize("query", ["", "?by=day", "?by=year", "?by=day&at=2024-07-01", "?sum=1"])
def test_nothing_of_electricity_is_on_a_page_of_gas(service: ApiService, query: str) -> None:
    account = add_gas(service.parts, GasHome(LAST, gaps=(5,)))
    page = main_of(page_of(service, account, query))
    assert [word for word in ELECTRICITY if word in page] == []
    for path in ("/download", "/series", "/stop", "/remove"):
        page = main_of(page_of(service, account, path))
        assert [word for word in ELECTRICITY if word in page] == [], path


def test_provisional_and_estimated_values_are_told_in_words(service: ApiService) -> None:
    account = add_gas(service.parts, GasHome(LAST, provisional=10))
    page = page_of(service, account)
    assert "Les valeurs de 10 jours sont provisoires" in page
    assert page.count('<td class="remark">provisoire</td>') == 9
    assert '<td class="remark">provisoire, estimé</td>' in page
    year = page_of(service, account, "?by=year")
    assert '<td class="remark">23 jours sur 31, 10 jours provisoires</td>' in year


def test_a_final_month_says_nothing_of_provisional_values(service: ApiService) -> None:
    page = page_of(service, add_gas(service.parts, GasHome(LAST)), "?at=2024-05-10")
    assert "rovisoire" not in page.partition('id="chart"')[2].partition("</section>")[0]


def test_a_gap_is_a_gap_and_a_zero_is_a_zero(service: ApiService) -> None:
    account = add_gas(service.parts, GasHome(LAST, gaps=(3,), zeros=(4,)))
    page = page_of(service, account)
    gap = re.search(r'<tr><th scope="row"><a [^>]*>sam. 20 juil.</a></th>(.*?)</tr>', page)
    zero = re.search(r'<tr><th scope="row"><a [^>]*>ven. 19 juil.</a></th>(.*?)</tr>', page)
    assert gap and 'class="number">–<' in gap[1] and "pas de total" in gap[1]
    assert zero and 'class="number">0,000<' in zero[1]
    assert "1 jour manque (hachuré)" in page
    assert "Aucune donnée pour cette période." in page_of(service, account, "?by=day&at=2024-07-20")
    assert "<strong>0,00 kWh</strong>" in page_of(service, account, "?by=day&at=2024-07-19")


def test_the_details_of_a_day_are_there_where_they_are_asked_for(service: ApiService) -> None:
    home = GasHome(LAST)
    account = add_gas(service.parts, home)
    assert "Coefficient" not in page_of(service, account).partition('id="chart"')[2]
    page = page_of(service, account, "?by=day&at=2024-05-10")
    facts = dict(re.findall(r"<div><dt>([^<]+)</dt><dd>([^<]+)</dd></div>", page))
    assert facts["Volume"] == f"{home.volume(date(2024, 5, 10))} m³"
    assert facts["Coefficient de conversion"] == "11,16 kWh/m³"
    assert (facts["Qualité"], facts["État de la valeur"]) == ("mesuré", "définitif")
    assert 'class="chart chart-' not in page.partition('id="chart"')[2].partition("</section>")[0]
    assert "Cette valeur est provisoire" in page_of(service, account, "?by=day")


def test_billed_periods_are_a_table_of_their_own(service: ApiService) -> None:
    home = GasHome(LAST)
    page = page_of(service, add_gas(service.parts, home), "/contract").partition('id="billed"')[2]
    days = [date(2024, 6, day) for day in range(3, 31)]
    row = re.search(r'<th scope="row">du 3 juin 2024 au 1er juil. 2024</th>(.*?)</tr>', page)
    assert row and re.findall(r'class="number">([^<]+)<', row[1]) == [
        str(sum(map(home.energy, days))),
        f"{sum(map(home.volume, days))} m³",
        "11,16",
    ]
    assert "mesuré" in row[1] and "n’additionnez pas ces valeurs" in page


@pytest.mark.parametrize(
    "excess, words",
    [(0, "comme la valeur publiée"), (7, "Un écart de −7 kWh est normal"), (40, "L’écart de −40 kWh dépasse 1 m³")],
)
def test_the_days_of_a_month_stand_beside_what_was_published(service: ApiService, excess: int, words: str) -> None:
    home = GasHome(LAST, excess=excess)
    page = page_of(service, add_gas(service.parts, home), "/contract?at=2024-06-10")
    june = kwh_of(home, 2024, 6)
    note = next(text for text in re.findall(r'<p class="note">([^<]*)</p>', page) if words in text)
    assert f"{june} kWh" in note and (excess == 0 or f"{june + excess} kWh" in note)
    row = re.search(r'<th scope="row">juin</th>(.*?)</tr>', page.partition('id="billed"')[2])
    cells = [str(june + excess), str(june), FR.signed_kwh(-excess * 10**6, 0)]
    assert row and re.findall(r'class="number">([^<]+)<', row[1]) == cells
    assert ("écart de plus de 1 m³" in row[1]) == (excess == 40)


def test_a_month_with_a_gap_is_compared_with_nothing(service: ApiService) -> None:
    age = (LAST - date(2024, 6, 10)).days
    page = page_of(service, add_gas(service.parts, GasHome(LAST, gaps=(age,))), "/contract?at=2024-06-10")
    row = re.search(r'<th scope="row">juin</th>(.*?)</tr>', page.partition('id="billed"')[2])
    assert row and re.findall(r'class="number">([^<]+)<', row[1])[1:] == ["–", "–"]


def test_the_contract_says_how_the_meter_is_read(service: ApiService) -> None:
    page = page_of(service, add_gas(service.parts, GasHome(LAST)), "/contract").partition('id="contract"')[2]
    for words in ("Mon contrat de gaz", "tous les mois, à distance", "T2, chauffage", "9 426 kWh", "31 août 2018"):
        assert words in page, words


def test_a_reference_consumption_that_nobody_told_is_left_out(service: ApiService) -> None:
    page = page_of(service, add_gas(service.parts, GasHome(LAST, yearly=0)), "/contract")
    assert "Mon contrat de gaz" in page and "annuelle de référence" not in page


def test_a_meter_that_is_read_every_six_months_says_why_it_has_no_days(service: ApiService) -> None:
    home = GasHome(LAST, frequency="6M")
    account = add_gas(service.parts, home, only=(PUBLISHED, CONTRACT))
    page = page_of(service, account)
    assert "Votre compteur est relevé tous les six mois" in page and f"{account}/contract" in page
    assert 'id="chart"' not in page and "Données en retard" not in page and 'id="part-gas_daily"' not in page
    english = page_of(service, account, language="en")
    assert "read every six months" in english


def test_days_that_come_some_days_later_are_not_called_late(service: ApiService) -> None:
    page = page_of(service, add_gas(service.parts, GasHome(TODAY - timedelta(days=5))), "/connection")
    assert "GRDF les publie" in page and "Données en retard" not in page
    page = page_of(service, add_gas(service.parts, GasHome(TODAY - timedelta(days=9)), "GI000789"), "/connection")
    assert (
        "Données en retard" in page
        and "Nous n’avons pas encore demandé la consommation de gaz du 20 juillet 2024" in page
    )


def test_gas_can_be_downloaded_with_its_details_as_columns(service: ApiService) -> None:
    home = GasHome(LAST)
    account = add_gas(service.parts, home)
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    files = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*/download/file[^"]+)"', page)]
    assert len(files) == 3 * (3 + 2)
    answers = {path: browser.get(path) for path in files}
    assert all(answer.status_code == 200 for answer in answers.values())
    days = answers[f"/accounts/{account}/download/file?series={DAILY}&by=day&columns=fields"].text.splitlines()
    assert days[0] == ",".join(
        ["load,year,month,day,hour,minute,fold,volume,coefficient,index_start,index_end,quality,status"]
    )
    assert len(days) == 1 + home.days and days[-1].endswith(",measured,provisional")
    periods = answers[f"/accounts/{account}/download/file?series={PUBLISHED}&by=day&columns=fields"].text.splitlines()
    assert periods[0].split(",")[7] == "ends_on" and periods[-1].split(",")[7] == "2024-07-03"


def test_the_series_of_gas_can_be_chosen_and_days_stay(service: ApiService) -> None:
    account = add_gas(service.parts, GasHome(LAST))
    page = page_of(service, account, "/series")
    assert re.findall(r'name="series" value="([^"]+)"', page) == [DAILY, PUBLISHED, CONTRACT]
    assert page.count("disabled") == 1 and "La consommation que GRDF publie pour votre facture" in page


def test_a_service_without_gas_says_nothing_of_it(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path) as service:
        account = service.add()
        browser = service.browser(account)
        for path in ("/", f"/accounts/{account}", "/invitation", f"/accounts/{account}/series"):
            for language in ("fr", "en"):
                page = browser.get(path, headers={"Accept-Language": language}).text
                assert not re.search(r"\bga[sz]\b|GRDF|\bPCE\b", page, re.IGNORECASE), path


def test_the_first_page_names_gas_where_there_is_gas(service: ApiService) -> None:
    page = service.stranger().get("/", headers=FRENCH).text
    assert "Suivez votre électricité et votre gaz" in page and "(GRDF)</h3>" in page


def test_a_gas_meter_takes_own_prices_alone_and_is_shown_in_euros(service: ApiService) -> None:
    account = add_gas(service.parts, GasHome(LAST, days=60))
    form = Form(service, account)
    page = main_of(form.load())
    assert 'id="option"' not in page and "[[gas]]" in page
    assert [word for word in ELECTRICITY if word in page] == []
    assert form.send(REGULATED).status_code == 422
    assert form.send({"own": "[[gas]]\nfrom = 2023-01-01\nsubscription = 31\nprice = 0.1\n"}).status_code == 303
    for by in ("day", "month", "year"):
        page = main_of(page_of(service, account, f"?by={by}&unit=eur"))
        assert "Détail du coût" in page and '<th scope="row">Gaz</th>' in page
        assert [word for word in ELECTRICITY if word in page] == []
