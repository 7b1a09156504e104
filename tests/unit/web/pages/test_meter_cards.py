"""The cards on the first page: figures, the same days of the year before, costs, and what is wrong."""

from __future__ import annotations

import html
from datetime import date, timedelta

from tests.support.api_service import TODAY, ApiService
from tests.support.gas_household import GasHousehold
from tests.support.household_pages import FRENCH, record_outcome
from tests.support.panel_homes import PanelHome, store_home
from tests.support.registries import close_account
from worker.accounts.meter_names import save_name
from worker.accounts.prices import set_prices
from worker.domain.account import AccountState
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.errors import ConsentRevoked

YESTERDAY = TODAY - timedelta(days=1)
PRICES = "[[electricity]]\nfrom = 2023-01-01\nsubscription = 31\nbase = 0.25\n"  # A day of July: 1 euro.


def home_of(service: ApiService, *accounts: str, query: str = "") -> str:
    answer = service.browser(*accounts).get(f"/{query}", headers=FRENCH)
    assert answer.status_code == 200
    return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def add_days(service: ApiService, number: int, first: date, watt_hours: list[int]) -> str:
    account = service.add(number)
    store_days(service, account, first, watt_hours)
    return account


def store_days(service: ApiService, account: str, first: date, watt_hours: list[int]) -> None:
    service.store_days(account, first, watt_hours)
    record_outcome(service, account, Series.DAILY, day=first + timedelta(days=len(watt_hours) - 1))


def set_own_prices(service: ApiService, account: str) -> None:
    registry = service.parts.stores.registry
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(PRICES))


def test_a_card_says_yesterday_the_month_and_the_same_days_of_last_year(service: ApiService) -> None:
    account = add_days(service, 11, date(2023, 7, 3), [10_000] * 40)  # 29 days of July 2023.
    store_days(service, account, date(2024, 7, 1), [8_000] * 24)
    page = home_of(service, account)
    assert "Hier, mercredi 24 juillet 2024" in page and ">8,00 kWh<" in page
    assert ">192 kWh<" in page and "24 jours sur 31" in page
    # The first two days of July 2023 are unknown, so 22 days are compared: 176 kWh beside 220 kWh.
    assert "−20 % par rapport à juillet 2023 (22 jours comparés)" in page
    assert "Les mêmes 22 jours en juillet 2023 : 220 kWh" in page


def test_a_newest_day_that_is_not_yesterday_is_named(service: ApiService) -> None:
    account = add_days(service, 11, date(2024, 6, 1), [5_000] * 30)
    page = home_of(service, account)
    assert "Dernier jour connu, dimanche 30 juin 2024" in page and "Hier" not in page and "juin 2024" in page


def test_prices_give_the_cost_of_the_day_and_of_the_known_days_of_the_month(service: ApiService) -> None:
    account = add_days(service, 11, date(2024, 7, 1), [8_000] * 24)
    assert "€" not in home_of(service, account)
    set_own_prices(service, account)
    page = home_of(service, account)
    assert "3,00 €, abonnement compris" in page and "72,00 €, abonnement compris" in page  # 8 kWh at 0.25 €, and 1 €.


def test_a_cost_of_fewer_days_than_are_known_says_so(service: ApiService) -> None:
    account = add_days(service, 11, date(2024, 7, 1), [8_000] * 24)
    registry = service.parts.stores.registry
    own = read_own_prices(PRICES.replace("2023-01-01", "2024-07-05"))
    set_prices(registry, registry.accounts.get_existing(account), own=own)
    assert "60,00 €, abonnement compris (20 jours sur 24)" in home_of(service, account)


def test_what_is_fed_in_is_beside_what_is_drawn_and_a_meter_that_only_feeds_has_its_card(service: ApiService) -> None:
    both, feeding = service.add(21), service.add(22)
    store_home(service.parts, both, PanelHome(YESTERDAY, days=40))
    fed = [Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE]
    store_home(service.parts, feeding, PanelHome(YESTERDAY, days=40), fed)
    page = home_of(service, both, feeding)
    first, second = page.split('<li class="card meter-card')[1:]
    assert "Ma consommation et ma production" in first and first.count("Injecté : ") == 2
    assert "Ma production" in second and "of-production" in second and "Injecté : " not in second and "kWh" in second


def test_gas_is_on_the_same_page_and_a_meter_without_days_shows_its_newest_period(service: ApiService) -> None:
    by_day = GasHousehold(service.parts)
    assert "22 juillet 2024" in home_of(service, by_day.account)


def test_a_meter_read_every_six_months_shows_its_newest_billed_period(service: ApiService) -> None:
    page = home_of(service, GasHousehold(service.parts, frequency="6M").account)
    assert "Gaz · Compteur" in page and "922 kWh" in page and "Aucune donnée" not in page


def test_whole_days_of_a_curve_count_where_no_daily_value_is_stored(service: ApiService) -> None:
    account = service.add(11)
    for number in range(3):
        service.store_half_hours(account, YESTERDAY - timedelta(days=number), [100] * 48)
    record_outcome(service, account, Series.LOAD_CURVE, day=YESTERDAY)
    page = home_of(service, account)
    assert ">4,80 kWh<" in page and ">14,4 kWh<" in page and "3 jours sur 31" in page
    month = html.unescape(service.browser(account).get(f"/accounts/{account}", headers=FRENCH).text)
    assert "3 jours sur 31" in month and "pas de valeur" not in month


def test_where_only_a_part_of_a_day_is_stored_the_card_does_not_say_that_there_is_nothing(service: ApiService) -> None:
    account = service.add(11)
    service.store_half_hours(account, YESTERDAY, [100] * 10)
    record_outcome(service, account, Series.LOAD_CURVE, day=YESTERDAY)
    page = home_of(service, account)
    assert "Dernier jour reçu : 24 juillet 2024." in page and "Aucune donnée" not in page


def test_a_meter_that_needs_its_household_comes_first_and_says_what_to_do(service: ApiService) -> None:
    fine = add_days(service, 11, date(2024, 7, 1), [8_000] * 24)
    broken = service.add(12)
    state = AccountState.ACTION_NEEDED
    service.parts.stores.registry.accounts.set_state(broken, state, ConsentRevoked.code, now=service.parts.stores.now())
    page = home_of(service, fine, broken)
    assert page.index(broken) < page.index(fine) and page.count('class="to-do"') == 1


def test_a_new_a_paused_and_a_closed_meter_have_their_cards(service: ApiService) -> None:
    registry, now = service.parts.stores.registry, service.parts.stores.now()
    new, paused, closed = (service.add(number) for number in (11, 12, 13))
    registry.accounts.set_state(paused, AccountState.PAUSED, now=now)
    close_account(registry.consents, closed, now)
    page = home_of(service, new, paused, closed)
    assert page.count('<li class="card meter-card') == 3
    assert "Vos données arrivent" in page or "Aucune donnée" in page
    assert "En pause" in page and "Compte fermé" in page


def test_five_meters_have_figures_and_the_others_only_names(service: ApiService) -> None:
    accounts = [service.add(number) for number in range(30, 52)]
    save_name(service.parts.stores.registry, service.parts.stores.registry.accounts.get(accounts[6]), "Chalet")
    page = home_of(service, *accounts)
    assert page.count('<li class="card meter-card') == 5 and page.count('class="card meter"') == 15
    assert "Chalet" in page and 'href="/?page=2"' in page
    second = home_of(service, *accounts, query="?page=2")
    assert second.count('<li class="card meter-card') == 0 and second.count('class="card meter"') == 2


def test_a_name_is_shown_to_its_own_household_alone(service: ApiService) -> None:
    own, other = service.add(11), service.add(12)
    registry = service.parts.stores.registry
    for account, name in ((own, "Maison"), (other, "Moulin")):
        save_name(registry, registry.accounts.get(account), name)
    assert "Maison" in home_of(service, own) and "Moulin" not in home_of(service, own)


def test_what_a_household_agrees_to_is_on_the_page_that_connects_a_meter(service: ApiService) -> None:
    account = service.add(11)
    page, offer = home_of(service, account), home_of(service, account, query="connect")
    assert "Ce que vous acceptez" not in page and 'href="/connect"' in page and 'href="/access"' in page
    assert "Ce que vous acceptez" in offer and "Électricité (Enedis)" in offer and "/sign-in" not in offer
    assert offer.count('href="/invitation"') == 1
