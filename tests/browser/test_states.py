"""Every page that only shows a state, in both languages, on the narrowest phone and on a small desktop.

Documents are written straight into the store of one installation; nobody asks a supplier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from urllib.parse import urlencode

import pytest
from selenium import webdriver

from tests.support.api_service import TODAY, ApiService, sign_in
from tests.support.browsed_pages import Site, open_site
from tests.support.browser import find_all_faults, open_profile
from tests.support.cast import OPERATOR, Cast
from tests.support.connect_service import ConnectServers
from tests.support.factories import NOW
from tests.support.gas_homes import CONTRACT, GAS_SETTINGS, OTHER_PCE, PUBLISHED, GasHome, add_gas
from tests.support.household_pages import csrf_of, record_outcome
from tests.support.panel_homes import TEMPO, PanelHome, store_home
from tests.support.proxy_stack import ProxyStack
from tests.support.registries import close_account
from worker.accounts.meter_names import save_name
from worker.accounts.prices import set_prices
from worker.domain.account import LONGEST_METER_NAME, AccountState
from worker.domain.campaign import Campaign, Recipient
from worker.domain.completeness import DayLedger
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.domain.sessions import KeyKind
from worker.domain.windows import ONE_DAY
from worker.stores.database import new_id
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import OPERATOR_COOKIE, SESSION_COOKIE, load_session

YESTERDAY = TODAY - ONE_DAY
FIRST = date(2023, 5, 29)
PANELS = PanelHome(YESTERDAY, days=120, fed_days_late=5, periods=TEMPO)
FEEDING = PanelHome(YESTERDAY, days=200)
GAS = GasHome(TODAY - timedelta(days=2), gaps=(6,), zeros=(9, 10), excess=40)
CODES = ("VENDOR_DOWN.ANSWER_BROKEN_OFF", "RATE_LIMITED.BY_SUPPLIER", "ANSWER_MALFORMED.UNIT", "UNKNOWN_ERROR")
SETTINGS = {
    **GAS_SETTINGS,
    "contact": "operator@example.org",
    "notify_url": "mailto://127.0.0.1:9?from=releve@example.org&to=operator@example.org",
}


@pytest.fixture(scope="module")
def site(servers: ConnectServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(servers, tmp_path_factory.mktemp("states"), **SETTINGS) as site:
        yield site


def add_late_home(api: ApiService) -> str:
    """Add a year of days with a gap, without yesterday, which Enedis has not published yet."""
    account = api.add(31)
    api.store_days(account, FIRST, [5000] * (date(2024, 7, 10) - FIRST).days)
    api.store_days(account, date(2024, 7, 12), [6000] * 12)
    record_outcome(api, account, Series.DAILY, day=YESTERDAY - ONE_DAY)
    ledger = DayLedger.parse("2024-07-10 1l@8 1a 12c 1l@1")
    table = api.parts.stores.registry.completeness
    assert table.replace_if_unchanged(account, Series.DAILY, table.load_ledger(account, Series.DAILY), ledger)
    return account


def add_in_state(api: ApiService, number: int, state: AccountState, reason: str = "") -> str:
    account = api.add(number)
    api.store_days(account, date(2024, 7, 1), [5000] * 24)
    record_outcome(api, account, Series.DAILY)
    if state is AccountState.CLOSED:
        close_account(api.parts.stores.registry.consents, account, NOW)
    else:
        api.parts.stores.registry.accounts.set_state(account, state, reason, now=NOW)
    return account


def add_panels(api: ApiService) -> str:
    account = api.add(33)
    store_home(api.parts, account, PANELS)
    return account


def add_judged(api: ApiService) -> str:
    """Add a home of which enough is known for each answer of the page "Is this much?"."""
    account, series = api.add(38), [Series.DAILY, Series.LOAD_CURVE, Series.MAX_POWER, Series.CONTRACT]
    store_home(api.parts, account, PanelHome(YESTERDAY, days=800, curve_days=31), series)
    registry, prices = api.parts.stores.registry, "[[electricity]]\nfrom = 2024-01-01\nsubscription = 0\nbase = 0.25\n"
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(prices))
    return account


def add_feeding(api: ApiService) -> str:
    account = api.add(34)
    store_home(api.parts, account, FEEDING, [Series.DAILY, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE])
    return account


def add_both(api: ApiService) -> tuple[str, str]:
    """Add accounts of electricity and gas that their household has joined."""
    power, gas = api.add(40), add_gas(api.parts, GAS)
    store_home(api.parts, power, PanelHome(YESTERDAY, days=120), [Series.DAILY, Series.LOAD_CURVE, Series.CONTRACT])
    household = api.browser(power, gas)
    csrf = csrf_of(household.get(f"/accounts/{power}/stop").text)
    household.post(f"/accounts/{power}/home", data={"csrf": csrf, "other": gas})
    assert len({api.parts.stores.registry.accounts.get(account).home for account in (power, gas)}) == 1
    save_name(api.parts.stores.registry, api.parts.stores.registry.accounts.get(power), "M" * LONGEST_METER_NAME)
    return power, gas


def pages_of_households(api: ApiService) -> dict[str, str]:
    late, first_day, panels, feeding = add_late_home(api), api.add(32), add_panels(api), add_feeding(api)
    power, gas = add_both(api)
    half_yearly = add_gas(api.parts, GasHome(TODAY, frequency="6M"), OTHER_PCE, only=(PUBLISHED, CONTRACT))
    action = add_in_state(api, 36, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED")
    failed = [api.add(number) for number in range(11, 11 + len(CODES))]
    for account, code in zip(failed, CODES, strict=True):
        record_outcome(api, account, Series.DAILY, code=code)
    return {
        "late-month": late,
        "late-day": f"{late}?by=day&at={YESTERDAY}",
        "late-week": f"{late}?by=week&compare=year",
        "late-year": f"{late}?by=year",
        "beyond": f"{late}?by=day&at=1999-01-01",
        "first-day": first_day,
        "feeding-week": f"{feeding}?by=week",
        "feeding-day": f"{feeding}?by=day",
        "feeding-year": f"{feeding}?by=year",  # Its sums are long.
        "paused": add_in_state(api, 35, AccountState.PAUSED),
        "action": action,
        "action-connection": f"{action}/connection",
        "closed": add_in_state(api, 37, AccountState.CLOSED),
        "error": failed[0],
        "panels-month": panels,
        "panels-power": f"{panels}/power",
        "panels-power-year": f"{panels}/power?by=year",
        "panels-contract": f"{panels}/contract",
        "panels-connection": f"{panels}/connection",
        "panels-day": f"{panels}?by=day&at=2024-07-18",
        "panels-year": f"{panels}?by=year",
        "download": f"{panels}/download",
        "series": f"{panels}/series",
        "series-saved": f"{panels}/series?saved=1",
        "alerts": f"{panels}/alerts",
        "prices": f"{panels}/prices",
        "prices-compared": f"{late}/prices/compare?power=6",
        "spans": f"{panels}/spans",
        "spans-one": f"{late}/spans?from=2023-07-01&to=2024-06-30",
        "usage": f"{add_judged(api)}/usage",
        "usage-lacks": f"{late}/usage",
        "import": f"{panels}/import",
        "stop": f"{panels}/stop",
        "renew": f"{panels}/renew",
        "remove": f"{panels}/remove",
        "right-form": f"{panels}/gas",
        "gas-joined": power,
        "gas-month": gas,
        "gas-day": f"{gas}?by=day&at=2024-07-10",
        "gas-week": f"{gas}?by=week&at=2024-07-10",
        "gas-year": f"{gas}?by=year",
        "gas-sum": f"{gas}?sum=1",
        "gas-contract": f"{gas}/contract?by=year",
        "gas-connection": f"{gas}/connection",
        "gas-download": f"{gas}/download",
        "gas-half-yearly": half_yearly,
    }


def pages_of_strangers(site: Site) -> dict[str, str]:
    stack = ProxyStack.register(site.service, f"{site.address}/")
    proxy, unknown = (
        f"proxy/enedis/auth?{urlencode(stack.parameters(client_id=client))}" for client in (stack.client_id, "x")
    )
    return {
        "home": "",
        "nowhere": "nowhere",
        "invitation": "invitation",
        "invitation-read": "invitation#invite_secret",
        "api-docs": "api/docs",
        "sign-in": "sign-in",
        "sign-in-link": "sign-in/link",
        "access-confirm": "access/confirm#address_link_secret",
        "proxy": proxy,
        "proxy-read": f"{proxy}#invite_secret",
        "proxy-unknown": unknown,
        "operator-sign-in": "operator",
        "operator-link": "operator/link#operator_link_secret",
    }


def leave_a_trail(api: ApiService, cast: Cast) -> str:
    """Let a program and a household do what the audit trail keeps; return the text of an operator's cookie."""
    household = api.browser(cast.other_home.id)
    api.client().post(f"/api/accounts/{cast.home.id}/pause")
    household.post(f"/accounts/{cast.other_home.id}/stop", data={"csrf": household.headers[CSRF_HEADER]})
    return cast.client(OPERATOR).cookies[OPERATOR_COOKIE]


def answer_a_campaign(api: ApiService, cast: Cast) -> str:
    """Let the first account of another campaign answer, and return the campaign."""
    table, new = api.parts.stores.registry.campaigns, new_id()
    now = api.parts.stores.now()
    recipients = [
        Recipient(id=new_id(), campaign_id=new, account_id=id_, mail_id=id_, created_at=now, next_attempt_at=now)
        for id_ in (cast.other_home.id, cast.neighbours_home.id)
    ]
    table.create(Campaign(new, "the cast", now, "--expiring 30d", 200), recipients)
    assert table.note_refused(recipient_id=recipients[0].id)
    return new


def sign_in_twice(api: ApiService, accounts: set[str]) -> str:
    """Sign a household in on two devices, and return the text of the first one's cookie."""
    text, _ = sign_in(api.parts, *accounts)
    household = load_session(api.parts.access, text).household
    assert household is not None
    api.parts.access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device="Safari, iPhone")
    return text


@pytest.fixture(scope="module")
def visits(site: Site) -> list[tuple[dict[str, str], dict[str, str]]]:
    """The cookies and pages of a stranger, of a household with all accounts, and of an operator."""
    of_households = pages_of_households(site.api)
    accounts = {re.split("[?/]", page)[0] for page in of_households.values()}
    of_households = {name: f"accounts/{page}" for name, page in of_households.items()}
    account, cast = of_households["late-month"], Cast(site.api, 51)
    of_operators = {
        "operator": "operator",
        "operator-codes": "operator/accounts?code=VENDOR_DOWN.ANSWER_BROKEN_OFF",
        "operator-accounts": "operator/accounts",
        "operator-account": f"operator/{account}",
        "operator-campaigns": "operator/campaigns",
        "operator-campaign-new": f"operator/campaigns/{cast.campaign_id}",
        "operator-campaign": f"operator/campaigns/{answer_a_campaign(site.api, cast)}",
        "operator-audit": "operator/audit",
        "operator-audit-none": "operator/audit?until=2026-01-01",
    }
    return [
        ({}, pages_of_strangers(site) | {"account-unknown": account}),
        (
            {SESSION_COOKIE: sign_in_twice(site.api, accounts)},
            of_households | {"home-connected": "", "access": "access", "sessions": "access/sessions"},
        ),
        ({OPERATOR_COOKIE: leave_a_trail(site.api, cast)}, of_operators),
    ]


@pytest.mark.parametrize("language", ["fr", "en"])
def test_no_page_keeps_anybody_out(
    browser: webdriver.Chrome, site: Site, visits: list[tuple[dict[str, str], dict[str, str]]], language: str
) -> None:
    faults = []
    for cookies, pages in visits:
        with open_profile(browser, language=language):
            for cookie, text in cookies.items():
                site.set_cookie(browser, cookie, text)
            for name, page in pages.items():
                browser.get(f"{site.address}/{page}")
                browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
                faults += find_all_faults(browser, name, by_axe=language == "fr")
    assert faults == []
