"""Switches of one meter while the simulator runs."""

from __future__ import annotations

import pytest

from tests.support.enedis_caller import HOME, SimulatorCaller, points
from worker.clients.answer_shapes import find_deviations
from worker.clients.enedis.client import unexpected_refusal
from worker.clients.enedis.presets import ANSWER_SHAPES
from worker.clients.supplier_session import Reply
from worker.domain.series import Series


def test_a_hole_is_an_absent_point_and_fills_when_it_is_taken_away(supplier: SimulatorCaller) -> None:
    whole = points(supplier.request_measures("2024-11-01", "2024-11-03", "curve"))
    supplier.switch(holes=["2024-11-01T12:00/2024-11-01T14:00", "2024-11-02"])
    left = points(supplier.request_measures("2024-11-01", "2024-11-03", "curve"))
    missing = ["12:30:00", "13:00:00", "13:30:00", "14:00:00"]
    assert left == [point for point in whole[:48] if point[0][11:] not in missing]
    assert [day for day, _ in points(supplier.request_measures("2024-11-01", "2024-11-03"))] == ["2024-11-01"]
    supplier.switch(holes=[])
    assert points(supplier.request_measures("2024-11-01", "2024-11-03", "curve")) == whole


@pytest.mark.parametrize("change", [{"factor": 1.37}, {"wh": 9001}])
def test_a_corrected_day_still_adds_up_to_its_curve(supplier: SimulatorCaller, change: dict[str, float]) -> None:
    before = _daily(supplier)
    supplier.switch(corrections=[{"day": "2024-11-02", **change}])
    after = _daily(supplier)
    expected = {"factor": round(before[1] * 1.37), "wh": 9001}
    assert after == [before[0], expected[next(iter(change))], before[2]]
    curve = points(supplier.request_measures("2024-11-02", "2024-11-03", "curve"))
    assert sum(int(watts) for _, watts in curve) == 2 * after[1]
    assert supplier.truth("2024-11-02", "2024-11-03")["daily"] == {"2024-11-02": after[1]}


def _daily(supplier: SimulatorCaller) -> list[int]:
    return [int(wh) for _, wh in points(supplier.request_measures("2024-11-01", "2024-11-04"))]


def test_taking_the_switches_away_brings_the_meter_back(supplier: SimulatorCaller) -> None:
    supplier.switch(delay_days=3, refusal="ADAM-DC-0007")
    supplier.http.delete(f"/__sim__/meters/{HOME}")
    assert len(points(supplier.request_measures("2024-11-01", "2024-11-05"))) == 4


@pytest.mark.parametrize(
    "switches",
    [
        {"no_such": 1},
        {"step": 7},
        {"delay_days": "2"},
        {"curve_enabled": 1},
        {"holes": ["yesterday"]},
        {"corrections": [{"day": "2024-11-01"}]},
        {"refusal": "ADAM-0"},
        [1],
    ],
)
def test_a_switch_that_is_none_is_refused_and_changes_nothing(supplier: SimulatorCaller, switches: object) -> None:
    before = supplier.http.get(f"/__sim__/meters/{HOME}").json()
    answer = supplier.http.post(f"/__sim__/meters/{HOME}", json=switches)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert supplier.http.get(f"/__sim__/meters/{HOME}").json() == before


def test_the_clock_moves_both_ways(supplier: SimulatorCaller) -> None:
    assert supplier.admin("clock", {"now": "2024-07-25T09:00+02:00"})["today"] == "2024-07-25"
    assert supplier.admin("clock", {"advance_s": 86_400})["last_published"] == "2024-07-25"
    assert supplier.admin("clock", {"advance_s": -3_600 * 2})["last_published"] == "2024-07-24"
    assert supplier.http.post("/__sim__/clock", json={"now": "soon"}).status_code == 400


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
@pytest.mark.parametrize("series, kind", [("daily", Series.DAILY), ("curve", Series.LOAD_CURVE)])
def test_what_a_documented_supplier_answers_is_no_surprise(
    supplier: SimulatorCaller, generation: str, series: str, kind: Series
) -> None:
    """Check refusals too: an operator who gets false alarms stops reading them."""
    for step in (10, 30, 60):
        supplier.switch(step=step, holes=["2024-11-01T12:00/2024-11-01T14:00"])
        answer = supplier.request_measures("2024-11-01", "2024-11-03", series, generation)
        assert points(answer)
        assert find_deviations(answer.json(), ANSWER_SHAPES[kind]) == []
    for start, end, meter in (
        ("2024-11-03", "2024-11-01", HOME),
        ("2024-10-01", "2024-11-01", HOME),
        ("2020-11-01", "2020-11-03", HOME),
        ("2024-11-04", "2024-11-09", HOME),
        ("2024-11-01", "2024-11-03", "24880057139941"),
        ("2024-11-01", "2024-11-03", "26584978546985"),
    ):
        refused = supplier.request_measures(start, end, series, generation, meter, supplier.bearer(generation))
        assert unexpected_refusal(Reply(refused.status_code, refused.headers, refused.content)) is None, refused.text
