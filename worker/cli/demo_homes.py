"""The demo's three pretend homes: connecting them through the web pages, checking what is stored of them.

The third has panels, and is asked for all series that the supplier's API has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests

from worker.app import enqueue_backfill
from worker.cli.totals_check import (
    Loads,
    count_wrong_details,
    fetch_truth,
    find_differences,
    loads_by_key,
    read_stored,
)
from worker.clients.endpoints import Preset
from worker.domain.measures.amounts import to_kwh
from worker.domain.measures.documents import Document, to_amount
from worker.domain.measures.series import Direction, Doctype, Series, SeriesSwitch, curve_of, daily_of
from worker.errors import PageNotReady
from worker.runtime.process import Runtime

_TIMEOUT_S: Final = 30.0
_MOST_HOPS: Final = 10
_RELOAD_S: Final = 0.3
_ACCEPT: Final = 'name="decision" value="approve"'  # The button of the simulator's consent page.
_OWN_PAGE: Final = re.compile(r"/accounts/([a-z0-9]+)$")


# The number of each home's meter at the simulator.
HOMES: Final = {"flat": "30001000000014", "studio": "30001000000035", "house": "30001000000027"}
HOME_WITH_PANELS: Final = "house"
_PANELS_WP: Final = 4_500


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """What is stored of one direction, and what the simulator measured."""

    days: int
    half_hours: int
    kwh: float  # With all its places.
    expected_kwh: float


@dataclass(frozen=True, slots=True)
class HomeResult:
    """What is stored of a home; ``ok`` where every document equals the simulator's values, to the watt-hour.

    ``production`` is None where it is not collected; ``series`` are all those that are.
    """

    account: str
    consumption: EnergyResult
    production: EnergyResult | None
    series: list[Series]
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """Return the fields as `--json` prints them, those of the consumption beside the account."""
        fields = asdict(self)
        return {"account": fields.pop("account"), **fields.pop("consumption"), **fields}


def connect_home(
    web: str, home: str, origins: Mapping[str, str] | None = None, browser: requests.Session | None = None
) -> str:
    """Connect a home as a browser would and return the account's id: first page, consent page, callback, account page.

    The first page invites to pretend homes, and the consent page takes the meter of the invitation as the holder's
    choice.  ``origins``: for an origin that browsers are sent to, the one at which we reach it.  ``browser`` is signed
    in to the account afterwards.  Raises PageNotReady where the redirections end at another page.
    """
    browser = browser or requests.Session()
    form = {"usage_point_id": HOMES[home]}
    sent = browser.post(f"{web}/invitation/pretend", form, allow_redirects=False, timeout=_TIMEOUT_S)
    if not sent.is_redirect:
        raise PageNotReady(f"the first page invites to no pretend home: status {sent.status_code}")
    return follow_pages(browser, sent.headers["Location"], home, origins)


def follow_pages(
    browser: requests.Session,
    url: str,
    what: str,
    origins: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> str:
    """Follow the pages of a connection, those that load themselves again too, and return the account's id.

    ``meanwhile`` is called before a page is loaded again.  Raises PageNotReady where they end elsewhere.
    """
    page = browse(browser, url, origins)
    give_up_at = time.monotonic() + _TIMEOUT_S
    while "Refresh" in page.headers and time.monotonic() < give_up_at:  # A worker asks the supplier meanwhile.
        meanwhile()
        time.sleep(_RELOAD_S)
        page = browse(browser, page.url, origins)
    own_page = _OWN_PAGE.search(page.url)
    if not page.ok or own_page is None:
        raise PageNotReady(f"connecting {what} ended at a page with status {page.status_code}")
    return own_page[1]


def browse(browser: requests.Session, url: str, origins: Mapping[str, str] | None = None) -> requests.Response:
    """Return the page at which the redirections end, accepting a consent page.  Raises PageNotReady after too many."""
    for _ in range(_MOST_HOPS):
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        own_url = (origins or {}).get(origin, origin) + parts._replace(scheme="", netloc="").geturl()
        answer = browser.get(own_url, allow_redirects=False, timeout=_TIMEOUT_S)
        if _ACCEPT in answer.text:
            url = f"{own_url}&decision=approve"
            continue
        if not answer.is_redirect:
            return answer
        url = urljoin(own_url, answer.headers["Location"])
    raise PageNotReady("connecting a home leads round in a circle")


def give_panels(simulator: str) -> None:
    """Give the third home its panels.  Raises the errors of requests."""
    url = f"{simulator}/__sim__/meters/{HOMES[HOME_WITH_PANELS]}"
    requests.post(url, json={"panels_wp": _PANELS_WP}, timeout=_TIMEOUT_S).raise_for_status()


def collect_all(runtime: Runtime, account_id: str, preset: Preset) -> None:
    """Switch on all series that the supplier's API has, and fetch their history.  Raises StoreUnavailable."""
    collected = runtime.registry.outcomes.collected(account_id)
    further = [series for series in Series if preset.offers(series) and series not in collected]
    for series in further:
        runtime.registry.outcomes.switch(account_id, series, SeriesSwitch.ON, runtime.now())
    if further:
        enqueue_backfill(account_id, broker_url=runtime.broker_url)


def check_home(runtime: Runtime, simulator: str, home: str, account_id: str) -> HomeResult:
    """Compare every stored document of the home, of every series, with what the simulator measured."""
    truth, stored = fetch_truth(runtime, simulator, HOMES[home], account_id), read_stored(runtime, account_id)
    loads, series = truth.expected_loads(), runtime.registry.outcomes.known(account_id)
    has_production = daily_of(Direction.PRODUCTION) in series
    return HomeResult(
        account_id,
        _energy(Direction.CONSUMPTION, loads, stored),
        _energy(Direction.PRODUCTION, loads, stored) if has_production else None,
        series,
        not find_differences(loads, stored) and not count_wrong_details(truth.expected_details(), stored),
    )


def _energy(direction: Direction, expected: Loads, stored: Mapping[Doctype, list[Document]]) -> EnergyResult:
    day, step = daily_of(direction).inputs, curve_of(daily_of(direction)).inputs
    sums = (_kwh(days) for days in (loads_by_key(stored[day]), expected[day]))
    return EnergyResult(len(stored[day]), len(stored[step]), *sums)


def _kwh(days: dict[str, float]) -> float:
    return to_kwh(sum(map(to_amount, days.values())))
