"""The demo's three homes: connected by the pages a person would use, and checked against the simulator's truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from worker.domain.aggregation import total_entries
from worker.domain.documents import Entry, key_of, key_range, to_entry, to_load
from worker.domain.parsing.values import watts_to_milliwatt_hours
from worker.domain.readings import DateWindow, Period, Series
from worker.errors import SupplierUnavailable
from worker.runtime import Runtime

_TIMEOUT_S: Final = 30.0
_MOST_HOPS: Final = 10
_CONNECT: Final = re.compile(r'href="(/connect/[a-z]+)"')
_OWN_PAGE: Final = re.compile(r"/accounts/([a-z0-9]+)$")


@dataclass(frozen=True, slots=True)
class Home:
    name: str
    usage_point_id: str


HOMES: Final = (
    Home("flat", "30001000000014"),
    Home("house", "30001000000027"),
    Home("studio", "30001000000035"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is stored of a home, and whether it is what the simulator measured, to the watt-hour."""

    account: str
    days: int
    half_hours: int
    kwh: float
    expected_kwh: float
    ok: bool

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def connect_home(web: str, home: Home, ways: Mapping[str, str] | None = None) -> str:
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


def check_home(runtime: Runtime, simulator: str, home: Home, account_id: str) -> Verdict:
    """Every day, half-hour and total against the truth."""
    history = {series: runtime.history.wanted(series) for series in Series}
    daily_window, curve_window = history[Series.DAILY], history[Series.LOAD_CURVE]
    if daily_window is None or curve_window is None:
        raise ValueError("the demo needs a history of both series")
    true_days = _true_days(_truth(simulator, home, daily_window))
    true_steps = _true_steps(_truth(simulator, home, curve_window))
    stored = {period: _stored(runtime, account_id, period, daily_window) for period in Period}
    ok = (
        stored[Period.DAY] == true_days
        and stored[Period.MINUTE] == true_steps
        and all(_totals_agree(stored, series, total) for series in Series for total in series.totals)
    )
    energy, expected = sum(stored[Period.DAY].values()), sum(true_days.values())
    return Verdict(
        account_id,
        len(stored[Period.DAY]),
        len(stored[Period.MINUTE]),
        to_load(energy, Period.DAY),
        to_load(expected, Period.DAY),
        ok and energy == expected,
    )


def _stored(runtime: Runtime, account_id: str, period: Period, window: DateWindow) -> dict[str, int]:
    documents = runtime.measures[period].read(account_id, *key_range(window, period))
    return {key_of(document): to_entry(document).milliwatt_hours for document in documents}


def _totals_agree(stored: dict[Period, dict[str, int]], series: Series, total: Period) -> bool:
    sums = total_entries((Entry(key, energy) for key, energy in stored[series.inputs].items()), total)
    return {key: to_load(energy, total) for key, energy in sums.items()} == {
        key: to_load(energy, total) for key, energy in stored[total].items()
    }


def _truth(simulator: str, home: Home, window: DateWindow) -> Any:
    days = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    answer = requests.get(f"{simulator}/__sim__/truth/{home.usage_point_id}", params=days, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer.json()


def _true_days(truth: Any) -> dict[str, int]:
    return {day: watt_hours * 1000 for day, watt_hours in truth["daily"].items()}


def _true_steps(truth: Any) -> dict[str, int]:
    return {
        f"{start[:16]}Z": watts_to_milliwatt_hours(Decimal(watts), minutes)
        for start, minutes, watts in truth["load_curve"]
    }
