"""The demo's third home is asked for every series that the API has."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from drill import demo as demo_homes
from drill.demo import HOME_WITH_PANELS, HOMES, EnergyResult, HomeResult, browse, collect_all, give_panels
from drill.expected_documents import Truth
from simulator.switches import SimulatorOptions
from tests.support.simulators import serve_in_background
from worker.clients.enedis.presets import PRESETS
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch, of_supplier
from worker.domain.windows import DateWindow

NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)


class Outcomes:
    """The rows of an account's series, as the registry keeps them."""

    def __init__(self) -> None:
        self.switched: list[tuple[Any, ...]] = []

    def collected(self, account_id: str) -> list[Series]:
        return list(USUAL_SERIES)

    def switch(self, account_id: str, series: Series, switch: SeriesSwitch, now: datetime) -> None:
        self.switched.append((account_id, series, switch, now))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_series_that_the_api_has_is_switched_on(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued: list[str] = []
    monkeypatch.setattr(demo_homes, "enqueue_backfill", lambda account_id, broker_url: enqueued.append(account_id))
    outcomes = Outcomes()
    parts: Any = SimpleNamespace(
        registry=SimpleNamespace(outcomes=outcomes), now=lambda: NOW, broker_url="redis://127.0.0.1"
    )
    collect_all(parts, "home1", PRESETS[preset])
    further = [series for series in Series if PRESETS[preset].offers(series) and series not in USUAL_SERIES]
    assert {one[1] for one in outcomes.switched} == set(further)
    assert {(one[0], *one[2:]) for one in outcomes.switched} <= {("home1", SeriesSwitch.ON, NOW)}
    assert enqueued == ["home1"] * bool(further)


@pytest.mark.sockets
@pytest.mark.parametrize("asks", [True, False])
def test_a_home_consents_whether_the_supplier_asks_or_not(asks: bool) -> None:
    with serve_in_background(SimulatorOptions(pretend_now=NOW, consent_page=asks)) as simulator:
        query = {"client_id": "releve-simulator", "response_type": "code", "state": "s1", "duration": "P1Y"}
        query |= {"redirect_uri": f"{simulator}/__sim__/health", "usage_point_id": HOMES["flat"]}
        with requests.Session() as browser:
            page = browse(browser, f"{simulator}/dataconnect/v1/oauth2/authorize?{urlencode(query)}")
    assert page.ok and page.url.startswith(query["redirect_uri"])
    callback = parse_qs(urlsplit(page.url).query)
    assert (callback["state"], callback["usage_point_id"]) == (["s1"], [HOMES["flat"]])


@pytest.mark.sockets
def test_the_third_home_has_panels() -> None:
    assert list(HOMES)[2] == HOME_WITH_PANELS
    window = DateWindow(NOW.date().replace(day=20), NOW.date())
    with serve_in_background(SimulatorOptions(pretend_now=NOW)) as simulator:
        give_panels(simulator)
        further = dict.fromkeys(of_supplier("enedis")[2:], window)
        truth = Truth.fetch(simulator, HOMES[HOME_WITH_PANELS], window, window, further)
    loads = truth.expected_loads()
    assert all(loads[series.inputs] for series in of_supplier("enedis"))
    for series in of_supplier("enedis"):
        if series.has_daily_limit:
            days = loads[series.inputs]
            assert len(days) == 6
            assert min(days.values()) > 0


def test_the_printed_json_has_the_fields_of_before() -> None:
    energy = EnergyResult(3, 144, 1.5, 1.5)
    printed = HomeResult("home1", energy, None, list(USUAL_SERIES), ok=True).as_json()
    assert list(printed)[:5] == ["account", "days", "half_hours", "kwh", "expected_kwh"]
    assert (printed["production"], printed["ok"]) == (None, True)
