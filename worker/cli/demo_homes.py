"""The demo's three homes: through the real consent dance over HTTP, and checked against the simulator's truth."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from worker.clients.consent import authorize_url, read_callback
from worker.connecting import connect_accounts
from worker.domain.accounts import Account
from worker.domain.aggregation import total_entries
from worker.domain.documents import Entry, key_of, key_range, to_entry, to_load
from worker.domain.parsing.values import watts_to_milliwatt_hours
from worker.domain.readings import DateWindow, Period, Series
from worker.errors import SupplierUnavailable
from worker.runtime import Runtime

_TIMEOUT_S: Final = 30.0
_START_S: Final = 30.0


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


def wait_for_simulator(address: str) -> None:
    """Raises SupplierUnavailable where it doesn't come up."""
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        try:
            if requests.get(f"{address}/__sim__/health", timeout=_TIMEOUT_S).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise SupplierUnavailable("the simulator did not start")


def connect_home(runtime: Runtime, home: Home) -> Account:
    """To the consent page as a browser goes, and back with what it sends to our callback address."""
    state = secrets.token_urlsafe(24)
    page = authorize_url(runtime.endpoints, runtime.settings.enedis_client_id, state)
    hints = {"redirect_uri": "http://127.0.0.1/callback", "usage_point_id": home.usage_point_id}
    answer = requests.get(page, params=hints, allow_redirects=False, timeout=_TIMEOUT_S)
    callback = read_callback(parse_qsl(urlsplit(answer.headers.get("location", "")).query))
    if callback.state != state:
        raise SupplierUnavailable("the consent page sent back another state than it was given")
    return connect_accounts(runtime, callback)[0]


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
