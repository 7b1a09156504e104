"""The page "Is this much?": its figures beside plain ones, and what it says where something lacks."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta
from statistics import median

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import FRENCH, record_outcome
from tests.support.panel_homes import PanelHome, store_home
from worker.accounts.prices import set_prices
from worker.accounts.usage import read_base_load
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY

LAST = TODAY - timedelta(days=1)
YEAR = [LAST - rank * ONE_DAY for rank in range(366)]  # From 25 July 2023 on; it has 29 February.
HPHC = "[[electricity]]\nfrom = 2024-01-01\nsubscription = 12\nhp = 0.20\nhc = 0.15\n"


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return GAS_SETTINGS


def page_of(service: ApiService, account: str) -> str:
    answer = service.browser(account).get(f"/accounts/{account}/usage", headers=FRENCH)
    assert answer.status_code == 200
    plain = html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    return re.sub(r"\s+", " ", plain)


def facts_of(page: str) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt> ?<dd>(.*?)</dd>", page)
    return {name: re.sub("<[^>]*>", "", text) for name, text in found}


def parts_of(page: str) -> list[str]:
    return re.findall(r'<section id="([^"]+)" class="card"', page)


def night_watts(day: date) -> float:
    steps = PanelHome.drawn(day)[:12]
    return min(sum(steps[first : first + 5]) for first in range(8)) / 2.5


def test_a_home_of_three_years_is_judged(service: ApiService) -> None:
    account, home = service.add(41), PanelHome(LAST, days=900, curve_days=35)
    store_home(service.parts, account, home)
    registry = service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(HPHC))
    page = page_of(service, account)
    facts, days = facts_of(page), {day: sum(home.drawn(day)) for day in home.dates()}
    watts = round(median(night_watts(day) for day in YEAR[:30]))
    assert facts["Puissance de veille"] == f"{watts} W"
    assert facts["Sur un an"].replace(" ", "") == f"{round(watts * 8.766)}kWh"
    # The contract has eight off-peak hours a day.
    euros = watts * 8.766 * (8 / 24 * 0.15 + 16 / 24 * 0.20)
    assert facts["Coût sur un an, sans l’abonnement"] == f"{euros:.2f} €".replace(".", ",")

    ranked = sorted(YEAR, key=lambda day: -days[day])
    share = 100 * sum(days[day] for day in ranked[:36]) / sum(days[day] for day in YEAR)
    assert f"un dixième des 366 jours connus, représentent {share:.1f} % de".replace(".", ",") in page
    assert re.findall(r"\?by=day&at=([0-9-]+)#chart", page) == [str(day) for day in ranked[:5]]

    peaks = {day: home.peak(day)[0] for day in YEAR}
    near = sum(power >= 0.9 * (6000 if day >= LAST - 100 * ONE_DAY else 9000) for day, power in peaks.items())
    highest = max(YEAR, key=peaks.__getitem__)
    assert facts["Puissance maximale"].startswith(f"{peaks[highest] / 1000:.3f} kVA, le ".replace(".", ","))
    assert facts["À moins de 10 % de la puissance souscrite, ou au-dessus"].startswith(f"{near} jour")
    held = next(kva for kva in (3, 6, 9, 12) if peaks[highest] <= 1000 * kva)
    assert facts["Le plus petit abonnement qui aurait suffi ces 366 jours"] == f"{held} kVA"
    assert "Un Linky monophasé coupe le courant" in page

    # 29 February has no counterpart. The home began 900 days ago, so the second year before is known in part.
    assert re.findall(r"(\d+) jours connus des deux côtés", page) == ["365", "169"]
    both = [day for day in YEAR if (day.month, day.day) != (2, 29)]
    sums = [sum(days[one] for one in some) / 1000 for some in (both, [day.replace(year=day.year - 1) for day in both])]
    assert "{:,.0f} kWh au lieu de {:,.0f} kWh".format(*sums).replace(",", " ") in page


def test_a_curve_without_a_daily_value_counts_by_its_whole_days(service: ApiService) -> None:
    account = service.add(42)
    for day in YEAR[1:41]:
        service.store_half_hours(account, day, PanelHome.drawn(day))
    service.store_half_hours(account, LAST, PanelHome.drawn(LAST)[:8])  # Its night and its day have holes.
    record_outcome(service, account, Series.LOAD_CURVE)
    page = page_of(service, account)
    assert "29 des 30 dernières nuits" in page and "40 jours sont connus sur 366" in page
    assert facts_of(page)["Puissance de veille"] == f"{round(median(map(night_watts, YEAR[1:30])))} W"
    stored = service.parts.stores
    found = stored.registry.accounts.get_existing(account)
    bases = [read_base_load(stored.measures, found, LAST - days * ONE_DAY) for days in (20, 21)]
    assert [base and base.nights for base in bases] == [20, None]  # Of the second, 19 nights are known.


def test_a_base_load_has_no_cost_while_periods_of_hours_are_unknown(service: ApiService) -> None:
    account = service.add(47)
    store_home(service.parts, account, PanelHome(LAST, days=40, curve_days=31), [Series.DAILY, Series.LOAD_CURVE])
    registry = service.parts.stores.registry
    periods = (f"{colour}_{hours} = 0.2" for colour in ("blue", "white", "red") for hours in ("hp", "hc"))
    tempo = "\n".join(["[[electricity]]", "from = 2024-01-01", "subscription = 0", *periods, ""])
    assert "Indiquez un prix" in page_of(service, account)
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(tempo))
    page = page_of(service, account)
    assert "Pas de coût" in page and "Puissance de veille" in page and "€" not in page


def test_what_lacks_is_said_and_how_to_switch_it_on(service: ApiService) -> None:
    account = service.add(43)
    service.store_days(account, TODAY - 60 * ONE_DAY, [5000] * 60)
    record_outcome(service, account, Series.DAILY)
    page = page_of(service, account)
    assert "0 nuit complète est connue sur les 30 qui finissent le 24 juillet 2024" in page
    assert "60 jours sont connus sur 366" in page and "Aucun jour n’est connu à la fois" in page
    assert "Il faut la puissance maximale de chaque jour : la courbe ne l’indique pas" in page
    assert f'<a href="/accounts/{account}/series">' in page and not facts_of(page)


def test_few_maximum_powers_tell_no_subscription(service: ApiService) -> None:
    account = service.add(44)
    store_home(service.parts, account, PanelHome(LAST, days=300), [Series.DAILY, Series.MAX_POWER])
    page = page_of(service, account)
    assert "Il manque 30 jours connus" in page and "Le plus petit abonnement" not in page
    assert "La puissance souscrite n’est pas connue" in page and "À moins de 10 %" not in page
    assert list(facts_of(page)) == ["Puissance maximale"]


def test_gas_and_what_is_fed_in_have_what_makes_sense(service: ApiService) -> None:
    gas = add_gas(service.parts, GasHome(LAST, days=900))
    page = page_of(service, gas)
    assert parts_of(page) == ["highest", "years"] and "des 366 jours connus" in page
    feeding = service.add(45)
    store_home(service.parts, feeding, PanelHome(LAST, days=800), [Series.PRODUCTION_DAILY])
    assert parts_of(page_of(service, feeding)) == ["years"]
    assert "aucune n’est enregistrée pour l’instant" in page_of(service, service.add(46))
