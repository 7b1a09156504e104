"""The demo's three homes: connected by the pages a person would use, and checked against the simulator's truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from worker.cli.totals_check import Truth, differences, loads
from worker.domain.measures.documents import key_range
from worker.domain.measures.readings import Period, Series
from worker.errors import SupplierUnavailable
from worker.runtime.process import Runtime

_TIMEOUT_S: Final = 30.0
_MOST_HOPS: Final = 10
_CONNECT: Final = re.compile(r'href="(/connect/[a-z]+)"')
_OWN_PAGE: Final = re.compile(r"/accounts/([a-z0-9]+)$")


@dataclass(frozen=True, slots=True)
class DemoHome:
    name: str
    usage_point_id: str


HOMES: Final = (
    DemoHome("flat", "30001000000014"),
    DemoHome("house", "30001000000027"),
    DemoHome("studio", "30001000000035"),
)


@dataclass(frozen=True, slots=True)
class HomeResult:
    """What is stored of a home, and whether it is what the simulator measured, to the watt-hour."""

    account: str
    days: int
    half_hours: int
    kwh: float
    expected_kwh: float
    ok: bool

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def connect_home(web: str, home: DemoHome, ways: Mapping[str, str] | None = None) -> str:
    """The account's id, by the pages that a person goes through: first page, consent page, callback, own page.

    ``ways``: origins that a browser is sent to, and where we reach them.  Raises SupplierUnavailable where the way
    ends elsewhere.
    """
    with requests.Session() as browser:
        first = browser.get(f"{web}/", timeout=_TIMEOUT_S).text
        if (link := _CONNECT.search(first)) is None:
            raise SupplierUnavailable("the first page has no way to connect a meter")
        picked = {"usage_point_id": home.usage_point_id}  # the simulator's consent page takes it for a choice
        answer = _follow(browser, f"{web}{link[1]}?{urlencode(picked)}", ways or {})
    own_page = _OWN_PAGE.search(answer.url)
    if not answer.ok or own_page is None:
        raise SupplierUnavailable(f"connecting {home.name} ended at a page with status {answer.status_code}")
    return own_page[1]


def _follow(browser: requests.Session, url: str, ways: Mapping[str, str]) -> requests.Response:
    """The page where redirections end."""
    for _ in range(_MOST_HOPS):
        answer = browser.get(url, allow_redirects=False, timeout=_TIMEOUT_S)
        if not answer.is_redirect:
            return answer
        parts = urlsplit(urljoin(url, answer.headers["Location"]))
        origin = f"{parts.scheme}://{parts.netloc}"
        url = ways.get(origin, origin) + parts._replace(scheme="", netloc="").geturl()
    raise SupplierUnavailable("connecting a home leads round in a circle")


def check_home(runtime: Runtime, simulator: str, home: DemoHome, account_id: str) -> HomeResult:
    """Every day, half-hour and total against the truth."""
    history = {series: runtime.history.wanted(series) for series in Series}
    daily_window, curve_window = history[Series.DAILY], history[Series.LOAD_CURVE]
    if daily_window is None or curve_window is None:
        raise ValueError("the demo needs a history of both series")
    truth = Truth.of(simulator, home.usage_point_id, daily_window, curve_window).content()
    stored = {period: runtime.measures[period].read(account_id, *key_range(daily_window, period)) for period in Period}
    return HomeResult(
        account_id,
        len(stored[Period.DAY]),
        len(stored[Period.MINUTE]),
        _kwh(loads(stored[Period.DAY])),
        _kwh(truth[Period.DAY]),
        not differences(truth, stored),
    )


def _kwh(days: dict[str, float]) -> float:
    return round(sum(days.values()), 3)
