"""The demo's three pretend homes: connecting them through the web pages, checking what is stored of them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

from worker.cli.totals_check import find_differences, loads_by_key, read_account
from worker.domain.measures.amounts import to_kwh
from worker.domain.measures.documents import to_amount
from worker.domain.measures.series import Doctype
from worker.errors import SupplierUnavailable
from worker.runtime.process import Runtime

_TIMEOUT_S: Final = 30.0
_MOST_HOPS: Final = 10
_RELOAD_S: Final = 0.3
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
    """Connect a home as a browser would and return the account's id: first page, consent page, callback, account page.

    The first page invites to pretend homes, and the consent page takes the meter of the invitation as the holder's
    choice.  ``origins``: for an origin that browsers are sent to, the one at which we reach it.  Raises
    SupplierUnavailable where the redirections end at another page.
    """
    with requests.Session() as browser:
        form = {"usage_point_id": HOMES[home]}
        sent = browser.post(f"{web}/invitation/pretend", form, allow_redirects=False, timeout=_TIMEOUT_S)
        if not sent.is_redirect:
            raise SupplierUnavailable(f"the first page invites to no pretend home: status {sent.status_code}")
        page = _follow_redirects(browser, sent.headers["Location"], origins or {})
        give_up_at = time.monotonic() + _TIMEOUT_S
        while "Refresh" in page.headers and time.monotonic() < give_up_at:  # A worker asks the supplier meanwhile.
            time.sleep(_RELOAD_S)
            page = _follow_redirects(browser, page.url, origins or {})
    own_page = _OWN_PAGE.search(page.url)
    if not page.ok or own_page is None:
        raise SupplierUnavailable(f"connecting {home} ended at a page with status {page.status_code}")
    return own_page[1]


def _follow_redirects(browser: requests.Session, url: str, origins: Mapping[str, str]) -> requests.Response:
    """Return the page at which the redirections end.  Raises SupplierUnavailable after too many."""
    for _ in range(_MOST_HOPS):
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        own_url = origins.get(origin, origin) + parts._replace(scheme="", netloc="").geturl()
        answer = browser.get(own_url, allow_redirects=False, timeout=_TIMEOUT_S)
        if not answer.is_redirect:
            return answer
        url = urljoin(own_url, answer.headers["Location"])
    raise SupplierUnavailable("connecting a home leads round in a circle")


def check_home(runtime: Runtime, simulator: str, home: str, account_id: str) -> HomeResult:
    """Compare every stored day, half-hour and total of the home with what the simulator measured."""
    truth, stored = read_account(runtime, simulator, HOMES[home], account_id)
    return HomeResult(
        account_id,
        len(stored[Doctype.DAY]),
        len(stored[Doctype.MINUTE]),
        _kwh(loads_by_key(stored[Doctype.DAY])),
        _kwh(truth[Doctype.DAY]),
        not find_differences(truth, stored),
    )


def _kwh(days: dict[str, float]) -> float:
    return to_kwh(sum(map(to_amount, days.values())))
