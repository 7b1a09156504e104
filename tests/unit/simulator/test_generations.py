"""All generations answer from the same meters and the same clock."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from tests.support.enedis_caller import HOME, PATHS, SimulatorCaller, points
from worker.domain.parsing import parse
from worker.domain.series import Series
from worker.domain.windows import DateWindow

WEEK = DateWindow(date(2024, 10, 25), date(2024, 11, 1))


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
def test_the_readings_that_our_parser_finds_are_the_truth(supplier: SimulatorCaller, generation: str) -> None:
    truth = supplier.truth("2024-10-25", "2024-11-01")
    curve = parse(
        supplier.request_measures("2024-10-25", "2024-11-01", "curve", generation).json(), Series.LOAD_CURVE, WEEK
    )
    assert not curve.dropped
    assert [
        [reading.start.timestamp(), reading.length.seconds // 60, reading.amount] for reading in curve.readings
    ] == [[_timestamp(start), minutes, watts * minutes * 1000 // 60] for start, minutes, watts in truth["load_curve"]]
    answer = supplier.request_measures("2024-10-25", "2024-11-01", "daily", generation)
    daily = parse(answer.json(), Series.DAILY, WEEK)
    assert {str(reading.start.date()): reading.amount // 1000 for reading in daily.readings} == truth["daily"]


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_the_older_bodies_say_what_they_hold(supplier: SimulatorCaller) -> None:
    body = supplier.request_measures("2024-11-03", "2024-11-04", "curve").json()["meter_reading"]
    assert {name: body[name] for name in ("usage_point_id", "start", "end", "quality", "reading_type")} == {
        "usage_point_id": HOME,
        "start": "2024-11-03",
        "end": "2024-11-04",
        "quality": "BRUT",
        "reading_type": {"unit": "W", "measurement_kind": "power", "aggregate": "average"},
    }
    assert set(body["interval_reading"][0]) == {"value", "date", "interval_length", "measure_type"}
    daily = supplier.request_measures("2024-11-03", "2024-11-04").json()["meter_reading"]
    assert daily["reading_type"]["unit"] == "Wh"
    assert set(daily["interval_reading"][0]) == {"value", "date"}


def test_the_newest_bodies_come_as_bytes_and_say_what_they_hold(supplier: SimulatorCaller) -> None:
    answer = supplier.request_measures("2024-11-03", "2024-11-04", "curve", "2026")
    assert answer.headers["content-type"] == "application/octet-stream"
    body = answer.json()
    item = body["grandeur"][0]
    assert (body["idPrm"], body["periode"]) == (HOME, {"dateDebut": "2024-11-03", "dateFin": "2024-11-04"})
    assert (item["grandeurMetier"], item["grandeurPhysique"], item["unite"]) == ("CONS", "PA", "W")
    assert item["points"][0].keys() == {"v", "d", "p", "n", "iv", "ec"}
    daily = supplier.request_measures("2024-11-03", "2024-11-04", "daily", "2026").json()
    assert (daily["pas"], daily["modeCalcul"], daily["grandeur"][0]["grandeurPhysique"]) == ("P1D", "DIFF.INDEX", "EA")


@pytest.mark.parametrize("changes", [{"dateFin": None}, {"extra": "1"}, {"pointId": "12"}, {"dateDebut": "03/11/2024"}])
def test_the_newest_calls_what_its_swagger_does_not_know_a_fault_of_its_own(
    supplier: SimulatorCaller, changes: dict[str, str | None]
) -> None:
    usual: dict[str, str | None] = {"pointId": HOME, "dateDebut": "2024-11-03", "dateFin": "2024-11-04"}
    parameters = {name: value for name, value in (usual | changes).items() if value is not None}
    answer = supplier.get(PATHS["2026", "daily"], parameters, supplier.bearer("2026"))
    assert (answer.status_code, set(answer.json())) == (500, {"code", "message"})


def test_a_path_that_nobody_serves_meets_the_web_firewall(supplier: SimulatorCaller) -> None:
    answer = supplier.http.get("/metering_data_dc/v9/daily_consumption")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (404, "text/html")


def test_a_window_is_not_answered_twice_at_its_edges(supplier: SimulatorCaller) -> None:
    whole = points(supplier.request_measures("2024-11-01", "2024-11-03", "curve"))
    halves = points(supplier.request_measures(series="curve")) + points(
        supplier.request_measures("2024-11-02", "2024-11-03", "curve")
    )
    assert halves == whole
