"""The demo's three pretend homes: connecting them through the web pages, checking what is stored of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from worker.cli.totals_check import find_differences, loads_by_key, read_account
from worker.domain.measures.amounts import to_kwh
from worker.domain.measures.documents import to_milliwatt_hours
from worker.domain.measures.readings import Period
from worker.errors import SupplierUnavailable
from worker.runtime.process import Runtime

_TIMEOUT_S: Final = 30.0
_MOST_HOPS: Final = 10
_CONNECT: Final = re.compile(r'href="(/connect/[a-z]+)"')
_OWN_PAGE: Final = re.compile(r"/accounts/([a-z0-9]+)$")


# The number of each home's meter at the simulator.
HOMES: Final = {"flat": "30001000000014", "house": "30001000000027", "studio": "30001000000035"}


@dataclass(frozen=True, slots=True)
class HomeResult:
    """What is stored of a home; ``ok`` where every document equals the simulator's values, to the watt-hour."""

    account: str
    days: int
    half_hours: int
    kwh: float  # With all its places.
    expected_kwh: float
    ok: bool


def connect_home(web: str, home: str, origins: Mapping[str, str] | None = None) -> str:
    """Connect a home as a browser would and return the account's id: home page, consent page, callback, account page.

    ``origins``: for an origin that browsers are sent to, the one at which we reach it.  Raises SupplierUnavailable
    where the redirections end at another page.
    """
    with requests.Session() as browser:
        first = browser.get(f"{web}/", timeout=_TIMEOUT_S).text
        if (link := _CONNECT.search(first)) is None:
            raise SupplierUnavailable("the first page has no way to connect a meter")
        # The simulator's consent page takes this as the holder's choice.
        choice = {"usage_point_id": HOMES[home]}
        answer = _follow_redirects(browser, f"{web}{link[1]}?{urlencode(choice)}", origins or {})
    own_page = _OWN_PAGE.search(answer.url)
    if not answer.ok or own_page is None:
        raise SupplierUnavailable(f"connecting {home} ended at a page with status {answer.status_code}")
    return own_page[1]


def _follow_redirects(browser: requests.Session, url: str, origins: Mapping[str, str]) -> requests.Response:
    """Return the page at which the redirections end.  Raises SupplierUnavailable after too many."""
    for _ in range(_MOST_HOPS):
        answer = browser.get(url, allow_redirects=False, timeout=_TIMEOUT_S)
        if not answer.is_redirect:
            return answer
        parts = urlsplit(urljoin(url, answer.headers["Location"]))
        origin = f"{parts.scheme}://{parts.netloc}"
        url = origins.get(origin, origin) + parts._replace(scheme="", netloc="").geturl()
    raise SupplierUnavailable("connecting a home leads round in a circle")


def check_home(runtime: Runtime, simulator: str, home: str, account_id: str) -> HomeResult:
    """Compare every stored day, half-hour and total of the home with what the simulator measured."""
    truth, stored = read_account(runtime, simulator, HOMES[home], account_id)
    return HomeResult(
        account_id,
        len(stored[Period.DAY]),
        len(stored[Period.MINUTE]),
        _kwh(loads_by_key(stored[Period.DAY])),
        _kwh(truth[Period.DAY]),
        not find_differences(truth, stored),
    )


def _kwh(days: dict[str, float]) -> float:
    return to_kwh(sum(map(to_milliwatt_hours, days.values())))
