"""Points of the line protocol: what is sent of a change, checked by a parser that knows the specification alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from tests.support.factories import content
from tests.support.fakes import memory_measures
from tests.support.line_parser import Point, parse_lines
from tests.support.output_home import ACCOUNT, FIRST, LAST, change_of, fill_home, put, put_days
from worker.domain.documents import Entry
from worker.domain.series import Doctype, Series
from worker.domain.windows import PARIS, local_midnight
from worker.outputs.line_protocol import MEASUREMENTS, energy_measurement, to_lines
from worker.outputs.output import Change
from worker.stores.measures.measure_store import MeasureStore

CLOCK_CHANGE = date(2024, 10, 27)  # It has 25 hours.


def points_of(change: Change, measures: MeasureStore) -> list[Point]:
    return parse_lines("".join(f"{line}\n" for line in to_lines(change, measures)).encode())


def loads(points: list[Point], measurement: str, field: str = "wh") -> dict[str, float]:
    """Return the field's values by local time."""
    chosen = [point for point in points if point.measurement == measurement]
    return {datetime.fromtimestamp(point.time, PARIS).isoformat(): point.fields[field] for point in chosen}


@pytest.mark.parametrize("series", [series for series in Series if not series.is_state])
def test_all_that_is_stored_is_sent_once_and_adds_up(series: Series) -> None:
    measures = fill_home()
    points, stored = points_of(change_of(series), measures), content(measures)
    assert max(Counter(point.key for point in points).values(), default=1) == 1
    described = {measurement.name: measurement for measurement in MEASUREMENTS}
    for point in points:
        measurement = described[point.measurement]
        assert {"account", *measurement.tags} == set(point.tags) and set(point.fields) <= set(measurement.fields)
    if series.has_steps or series.is_daily_energy or series.has_intervals:
        for doctype in series.doctypes:
            measurement = energy_measurement(doctype)
            sent = sum(point.fields[measurement.fields[0]] for point in points if point.measurement == measurement.name)
            unit = 1 if series.is_gas else 1000
            assert sent == pytest.approx(unit * sum(stored[doctype].values()), abs=1e-6)


def test_a_changed_day_brings_its_month_and_its_year_and_nothing_else() -> None:
    day = date(2024, 3, 31)
    points = points_of(change_of(Series.DAILY, day, day), fill_home())
    assert [(point.measurement, datetime.fromtimestamp(point.time, PARIS).isoformat()) for point in points] == [
        ("releve_day", "2024-03-31T00:00:00+01:00"),
        ("releve_month", "2024-03-01T00:00:00+01:00"),
        ("releve_year", "2024-01-01T00:00:00+01:00"),
    ]
    assert {point.tags["direction"] for point in points} == {"consumption"}


def test_a_changed_step_brings_its_hour_also_in_the_hour_that_comes_twice() -> None:
    second_half = local_midnight(CLOCK_CHANGE).astimezone() + timedelta(hours=3, minutes=30)
    points = points_of(Change(ACCOUNT, Series.LOAD_CURVE, second_half, second_half), fill_home())
    assert loads(points, "releve_step") == {"2024-10-27T02:30:00+01:00": (413 + 7) / 2}
    assert loads(points, "releve_hour") == {"2024-10-27T02:00:00+01:00": (413 + 6 + 413 + 7) / 2}
    assert loads(points, "releve_step", "w") == {"2024-10-27T02:30:00+01:00": 420.0}


def test_the_longest_day_has_fifty_half_hours_that_are_its_sum() -> None:
    points = points_of(change_of(Series.LOAD_CURVE, CLOCK_CHANGE, CLOCK_CHANGE), fill_home())
    steps, hours = loads(points, "releve_step"), loads(points, "releve_hour")
    assert (len(steps), len(hours)) == (50, 25)
    assert sum(steps.values()) == sum(hours.values()) == sum((413 + number) / 2 for number in range(50))


def test_a_long_curve_is_read_in_parts_and_each_step_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stores.measures.stored_range.MOST_DOCUMENTS", 100)
    measures = fill_home()
    sizes: list[int] = []
    read = measures.read

    def counted(account_id: str, ranges: object, limit: int | None = None) -> object:
        found = read(account_id, ranges, limit)  # type: ignore[arg-type]
        sizes.append(sum(map(len, found.values())))
        return found

    measures.read = counted  # type: ignore[assignment,method-assign]
    points = points_of(change_of(Series.LOAD_CURVE, FIRST, LAST), measures)
    assert max(sizes) <= 102 and len(sizes) >= 10
    assert len({point.key for point in points}) == len(points) == 3 * (6 * 24 + 25)


def test_a_month_and_a_year_tell_how_many_of_their_days_are_known() -> None:
    points = points_of(change_of(Series.DAILY, LAST, LAST), fill_home())
    counted = {one.measurement: (one.fields["days"], one.fields["expected_days"]) for one in points[1:]}
    assert counted == {"releve_month": (28.0, 31.0), "releve_year": (302.0, 366.0)}
    of_gas = points_of(change_of(Series.GAS_DAILY, LAST, LAST), fill_home())[1:]
    assert [(one.fields["days"], one.fields["expected_days"]) for one in of_gas] == [(28.0, 31.0), (90.0, 366.0)]
    december = points_of(change_of(Series.DAILY, FIRST, FIRST), fill_home())[1:]
    assert [one.fields["days"] for one in december] == [2.0, 2.0], "of the whole period, not of the change"


def test_an_hour_tells_how_many_of_its_minutes_are_known() -> None:
    measures = fill_home()
    put(measures, Doctype.MINUTE, [Entry("2024-10-29T08:30Z", 1000)])
    put(measures, Doctype.HOUR, [Entry("2024-10-29T08:00Z", 1000)])
    points = points_of(change_of(Series.LOAD_CURVE, CLOCK_CHANGE, date(2024, 10, 29)), measures)
    hours = [(one.fields["minutes"], one.fields["expected_minutes"]) for one in points if "hour" in one.measurement]
    assert hours == [(60.0, 60.0)] * 49 + [(30.0, 60.0)]
    assert {len(one.fields) for one in points if one.measurement == "releve_step"} == {2}


def test_a_step_of_ten_minutes_tells_the_same_power() -> None:
    measures = memory_measures()
    put(measures, Doctype.MINUTE, [Entry("2024-07-01T10:00Z", 70_000, step=10)])
    at = datetime.fromisoformat("2024-07-01T10:00Z")
    (point,) = points_of(Change(ACCOUNT, Series.LOAD_CURVE, at, at), measures)
    assert point.fields == {"wh": 70.0, "w": 420.0}


def test_a_changed_midnight_brings_the_energy_of_both_its_days() -> None:
    points = points_of(change_of(Series.REGISTERS, date(2024, 10, 25), date(2024, 10, 25)), fill_home())
    rows = {
        (one.measurement, one.tags["period"], datetime.fromtimestamp(one.time, PARIS).day): one.fields["wh"]
        for one in points
    }
    assert rows == {
        ("releve_register", "HC", 25): 8_688_347.0,
        ("releve_register", "HP", 25): 13_000_748.0,
        ("releve_register_day", "HC", 24): 3_000.0,
        ("releve_register_day", "HP", 24): 7_500.0,
        ("releve_register_day", "HC", 25): 3_000.0,
        ("releve_register_day", "HP", 25): 7_500.0,
    }


def test_no_energy_is_sent_across_a_replaced_meter_and_a_total_alone_has_one_period() -> None:
    measures = memory_measures()
    shown = {"2024-10-01": 9_000_000, "2024-10-02": 9_010_000, "2024-10-03": 4_000, "2024-10-04": 12_000}
    put(measures, Doctype.INDEX, [Entry(day, 1000 * wh) for day, wh in shown.items()])
    points = points_of(change_of(Series.REGISTERS, date(2024, 10, 1), date(2024, 10, 4)), measures)
    assert {point.tags["period"] for point in points} == {"total"}
    assert loads(points, "releve_register_day") == {
        "2024-10-01T00:00:00+02:00": 10_000.0,
        "2024-10-03T00:00:00+02:00": 8_000.0,
    }


def test_a_name_with_signs_of_the_protocol_is_read_back_as_it_was() -> None:
    measures = memory_measures()
    registers = {"HP, hiver = plein": 5_000, "HC\\\nété": 7_000}
    put(measures, Doctype.INDEX, [Entry("2024-10-01", 12_000_000, details={"registers": registers})])
    account = replace(ACCOUNT, label="two words")
    change = replace(change_of(Series.REGISTERS, date(2024, 10, 1), date(2024, 10, 1)), account=account)
    points = points_of(change, measures)
    assert {point.tags["period"]: point.fields["wh"] for point in points} == {
        "HP, hiver = plein": 5_000.0,
        "HC été": 7_000.0,
    }
    assert {point.tags["account"] for point in points} == {"two words"}


def test_gas_keeps_its_units_and_its_periods() -> None:
    measures = fill_home()
    (day, *totals) = points_of(change_of(Series.GAS_DAILY, LAST, LAST), measures)
    assert (day.measurement, day.fields, day.tags) == (
        "releve_gas_day",
        {"kwh": 30.53, "m3": 2.9},
        {"account": "home1"},
    )
    assert [total.measurement for total in totals] == ["releve_gas_month", "releve_gas_year"]
    (billed,) = points_of(change_of(Series.GAS_PUBLISHED), measures)
    assert (billed.measurement, billed.fields) == ("releve_gas_billed", {"kwh": 790.0, "m3": 70.0, "days": 3.0})
    assert list(to_lines(change_of(Series.GAS_CONTRACT), measures)) == []


def test_the_maximum_power_stands_beside_the_subscribed_one_in_volt_amperes() -> None:
    measures = fill_home()
    (point,) = points_of(change_of(Series.MAX_POWER, LAST, LAST), measures)
    assert point.fields == {"va": 4638.0, "subscribed_va": 6000.0}
    assert point.time == int(local_midnight(LAST).timestamp())
    assert list(to_lines(change_of(Series.CONTRACT), measures)) == []
    without_contract = memory_measures()
    put(without_contract, Doctype.MAX_POWER, [Entry(str(LAST), 4_638_000)])
    (point,) = points_of(change_of(Series.MAX_POWER, LAST, LAST), without_contract)
    assert point.fields == {"va": 4638.0}


def test_a_change_of_which_nothing_is_stored_sends_nothing() -> None:
    measures = memory_measures()
    put_days(measures, Series.DAILY, {LAST: 1})
    assert list(to_lines(change_of(Series.PRODUCTION_DAILY), measures)) == []


def test_every_measurement_is_sent_of_some_series() -> None:
    measures = fill_home()
    sent = {line.partition(",")[0] for series in Series for line in to_lines(change_of(series), measures)}
    assert sent == {measurement.name for measurement in MEASUREMENTS if "cost" not in measurement.name}
