"""RTE in the simulator: its token, its calendar of Tempo with the simulator's colours, its rules and error codes."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from httpx2 import Response

from simulator.electricity_homes import tempo_calendar
from simulator.rte_refusals import RTE_ERRORS
from simulator.switches import CLIENT_ID, CLIENT_SECRET
from tests.support.enedis_caller import NOW, SimulatorCaller
from tests.support.simulators import run_in_background
from worker.clients.rte import RteApplication, fetch_colours
from worker.domain.windows import ONE_DAY, DateWindow

PATH = "/open_api/tempo_like_supply_contract/v1/tempo_like_calendars"
TODAY = NOW.date()


def ask(supplier: SimulatorCaller, **query: str) -> Response:
    answer = supplier.http.post("/token/oauth/", auth=(CLIENT_ID, CLIENT_SECRET))
    assert answer.json()["expires_in"] == 7200
    return supplier.get(PATH, query, answer.json()["access_token"])


def days_of(answer: Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [value["start_date"][:10] for value in answer.json()["tempo_like_calendars"]["values"]]


@pytest.mark.sockets
def test_our_client_reads_the_colours_that_the_registers_follow(supplier: SimulatorCaller) -> None:
    window = DateWindow(TODAY - timedelta(days=365), TODAY + ONE_DAY)
    with run_in_background(supplier.http.app) as url:
        (told,) = fetch_colours(RteApplication(url, CLIENT_ID, CLIENT_SECRET), [window])
    calendar = tempo_calendar(TODAY)
    assert told == {day: calendar[day] for day in window.dates()} and len(set(told.values())) == 3


def test_tomorrow_is_there_from_1040_and_the_newest_day_comes_first(supplier: SimulatorCaller) -> None:
    days = ["2024-11-06", "2024-11-05", "2024-11-04"]
    query = {"start_date": "2024-11-04T00:00:00+01:00", "end_date": "2024-11-07T00:00:00+01:00"}
    for clock, known in (("10:39", days[1:]), ("10:40", days)):
        supplier.admin("clock", {"now": f"2024-11-05T{clock}+01:00"})
        assert days_of(ask(supplier, **query)) == known
        assert days_of(ask(supplier)) == known[:-1]
    assert "fallback" not in ask(supplier).json()["tempo_like_calendars"]["values"][0]
    told = ask(supplier, fallback_status="true", **query).json()["tempo_like_calendars"]["values"][0]
    assert (told["fallback"], told["updated_date"]) == (False, "2024-11-05T10:40:00+01:00")


@pytest.mark.parametrize(
    ("number", "query"),
    [
        (1, {"start_date": "2024-11-04T00:00:00+01:00"}),
        (2, {"start_date": "2024-11-05T00:00:00+01:00", "end_date": "2024-11-04T00:00:00+01:00"}),
        (3, {"start_date": "2023-11-05T00:00:00+01:00", "end_date": "2024-11-06T00:00:00+01:00"}),
        (4, {"start_date": "2024-11-05T00:00:00+01:00", "end_date": "2024-11-08T00:00:00+01:00"}),
        (5, {"start_date": "2024-11-04T00:00:00+01:00", "end_date": "2024-11-04T12:00:00+01:00"}),
        (6, {"start_date": "2024-11-04", "end_date": "2024-11-05T00:00:00+01:00"}),
        (7, {"fallback_status": "maybe"}),
    ],
)
def test_each_rule_has_its_code(supplier: SimulatorCaller, number: int, query: dict[str, str]) -> None:
    answer = ask(supplier, **query)
    assert (answer.status_code, answer.json()["error"]) == (400, f"TMPLIKSUPCON_TMPLIKCAL_F0{number}")
    assert answer.json()["error_details"]["transaction_id"]


def test_strangers_get_neither_token_nor_calendar(supplier: SimulatorCaller) -> None:
    assert supplier.http.post("/token/oauth/").status_code == 401
    assert supplier.http.post("/token/oauth/", auth=(CLIENT_ID, "wrong")).status_code == 401
    assert supplier.get(PATH, {}, supplier.application_token()).status_code == 401
    token: Any = supplier.http.post("/token/oauth/", auth=(CLIENT_ID, CLIENT_SECRET)).json()["access_token"]
    assert supplier.get(PATH, {}, token).status_code == 200
    supplier.http.delete("/__sim__/tokens")
    assert supplier.get(PATH, {}, token).status_code == 401


@pytest.mark.parametrize("kind", RTE_ERRORS)
def test_each_error_can_be_ordered(supplier: SimulatorCaller, kind: str) -> None:
    supplier.admin("faults", {"path": "tempo_like", "kind": kind})
    assert ask(supplier).status_code == (400 if "_F0" in kind else int(kind.removeprefix("rte_")))
    assert days_of(ask(supplier)) == [str(TODAY)] == [str(date(2024, 11, 5))]
