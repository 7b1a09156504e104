"""The gas of the demo's second home: its holder declares the right on the home's own page and joins the two meters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import requests

from worker.cli.demo_homes import browse, follow_pages
from worker.cli.totals_check import count_wrong_details, fetch_truth, find_differences, loads_by_key, read_stored
from worker.clients.suppliers import GRDF
from worker.domain.measures.amounts import to_kwh
from worker.domain.measures.documents import to_amount
from worker.domain.measures.series import Series, daily_of, intervals_of
from worker.errors import PageNotReady
from worker.runtime.process import Runtime

HOME_WITH_GAS: Final = "studio"
_METER: Final = "21546874100017"
_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class GasResult:
    """What is stored of the home's gas; ``ok`` where every document equals the simulator's values, to the last digit.

    ``periods``: billed periods. ``kwh`` and ``expected_kwh``: of all days.
    """

    account: str
    home: str
    days: int
    periods: int
    kwh: float
    expected_kwh: float
    series: list[Series]
    ok: bool


def connect_gas(
    web: str, simulator: str, browser: requests.Session, account_id: str, check_rights: Callable[[], None]
) -> tuple[str, str]:
    """Declare the right for a home's gas as its household does, join both meters; return the gas' account and postcode.

    ``browser`` is signed in to the home's account. The simulated holder accepts at once, and ``check_rights`` has a
    worker look, which beat does each quarter of an hour. Raises PageNotReady where the pages lead elsewhere, and
    the errors of requests.
    """
    _tell(simulator, "gas/switches", holder="accepts_at_once")
    meter = _tell(simulator, f"gas/meters/{_METER}", frequency="1M")
    address = f"{web}/accounts/{account_id}/gas"
    typed = {"pce": _METER, "name": "Martin", "postcode": meter["postcode"], "email": "martin@example.org"}
    form = {**typed, "consent": "yes", "csrf": _find_csrf(browse(browser, address).text)}
    sent = browser.post(address, form, allow_redirects=False, timeout=_TIMEOUT_S)
    if not sent.is_redirect:
        raise PageNotReady(f"the declaration for gas was not taken: status {sent.status_code}")
    gas_account = follow_pages(browser, f"{web}{sent.headers['Location']}", "the gas", meanwhile=check_rights)
    page = browse(browser, f"{web}/accounts/{gas_account}").text
    joined = {"csrf": _find_csrf(page), "other": account_id}
    browser.post(f"{web}/accounts/{gas_account}/home", joined, timeout=_TIMEOUT_S).raise_for_status()
    return gas_account, meter["postcode"]


def check_gas(runtime: Runtime, simulator: str, account_id: str) -> GasResult:
    """Compare every stored document of the gas, of every series, with what the simulator measured."""
    truth, stored = fetch_truth(runtime, simulator, _METER, account_id), read_stored(runtime, account_id)
    loads, days, periods = truth.expected_loads(), daily_of(supplier=GRDF.name).inputs, intervals_of(GRDF.name).inputs
    kwh, expected = (to_kwh(sum(map(to_amount, of.values()))) for of in (loads_by_key(stored[days]), loads[days]))
    return GasResult(
        account_id,
        HOME_WITH_GAS,
        len(stored[days]),
        len(stored[periods]),
        kwh,
        expected,
        runtime.registry.outcomes.known(account_id),
        not find_differences(loads, stored) and not count_wrong_details(truth.expected_details(), stored),
    )


def _tell(simulator: str, path: str, **switches: str) -> dict[str, str]:
    answer = requests.post(f"{simulator}/__sim__/{path}", json=switches, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    told: dict[str, str] = answer.json()
    return told


def _find_csrf(page: str) -> str:
    found = _CSRF.search(page)
    if found is None:
        raise PageNotReady("the page has no form")
    return found[1]
