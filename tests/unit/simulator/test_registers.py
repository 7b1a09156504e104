"""Registers and maximum powers of pretend homes agree with the curve, each to its unit."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.electricity_homes import (
    HALF_HOUR,
    Contract,
    Point,
    PretendHome,
    RegisterReading,
    Tariff,
    energy_wh,
    read_off_peak_hours,
    step_ends,
    tempo_colour,
)
from simulator.electricity_meters import Meter
from simulator.switches import ContractChange, MeterSwitches, ScheduledCorrection
from tests.support.enedis_caller import HOME, SimulatorCaller
from tests.support.profiles import examples
from tests.unit.simulator.test_households import METERS
from worker.domain.series import Direction
from worker.domain.windows import ONE_DAY, DateWindow

CHANGES = [date(2024, 3, 31), date(2024, 10, 27)]
# Days on which the meters of all homes count; a sum since the installation of a meter takes less if it is near.
DAYS = st.sampled_from(CHANGES) | st.dates(date(2023, 1, 5), date(2024, 12, 20))
DIRECTIONS = st.sampled_from(Direction)
REPLACED = date(2022, 12, 1)


def _switches(draw: st.DrawFn, day: date) -> MeterSwitches:
    corrections = st.builds(
        ScheduledCorrection,
        day=st.sampled_from([day - ONE_DAY, day, day + ONE_DAY]),
        direction=DIRECTIONS,
        factor=st.floats(0, 4),
    )
    changes = st.builds(
        ContractChange,
        day=st.sampled_from([REPLACED, day, day + ONE_DAY]),
        tariff=st.sampled_from(Tariff),
        subscribed_kva=st.sampled_from([3, 6, 9, 12]),
    )
    return MeterSwitches(
        panels_wp=draw(st.integers(100, 36_000)),
        replaced_on=REPLACED,
        corrections=tuple(draw(st.lists(corrections, max_size=2))),
        contract_changes=tuple(draw(st.lists(changes, max_size=2))),
    )


@st.composite
def _meters(draw: st.DrawFn) -> tuple[Meter, date]:
    """Return a home with panels, corrections and changed contracts around a day, and that day."""
    day = draw(DAYS)
    switches = _switches(draw, day)
    home = PretendHome(draw(METERS), seed=1, panels_wp=switches.panels_wp)
    return Meter(home, switches, day + 3 * ONE_DAY), day


@settings(max_examples=examples(60))
@given(_meters(), DIRECTIONS)
def test_energy_is_conserved_across_curve_day_and_registers(
    pretended: tuple[Meter, date], direction: Direction
) -> None:
    meter, day = pretended
    readings = meter.registers(DateWindow(day - ONE_DAY, day + 4 * ONE_DAY), direction)
    assert list(readings) == [day + rank * ONE_DAY for rank in range(-1, 4)]
    for rank in range(-1, 3):
        today, tomorrow = day + rank * ONE_DAY, day + (rank + 1) * ONE_DAY
        wh = meter.daily(today, direction)
        assert energy_wh(meter.curve(today, direction)) == wh
        assert readings[tomorrow].total - readings[today].total == wh
        _check_registers(readings[today], readings[tomorrow], wh)


def _check_registers(before: RegisterReading, after: RegisterReading, wh: Any) -> None:
    """Check that the registers' differences are the day's energy, where one calendar holds at both midnights."""
    if before.contract is None or after.contract is None:  # Of production, which has a total alone.
        assert before.contract is after.contract
        return
    if before.contract.tariff is after.contract.tariff:
        differences = [new - old for old, new in zip(before.registers, after.registers, strict=True)]
        assert min(differences) >= 0
        assert sum(differences) == wh
    else:
        assert set(after.registers) == {0}


@settings(max_examples=examples(60))
@given(_meters())
def test_the_highest_power_is_inside_the_highest_half_hour(pretended: tuple[Meter, date]) -> None:
    meter, day = pretended
    peak = meter.max_power(day)
    assert peak == meter.max_power(day)
    assert peak is not None
    curve = meter.curve(day)
    (highest, *_) = [point for point in curve if point.end - timedelta(minutes=HALF_HOUR) <= peak.at < point.end]
    assert highest.watts == max(point.watts for point in curve)
    assert highest.end - timedelta(minutes=HALF_HOUR) < peak.at < highest.end
    assert peak.volt_amperes >= highest.watts >= (meter.daily(day) or 0) / 24.5


@settings(max_examples=examples(30))
@given(_meters())
def test_each_half_hour_counts_in_the_period_that_is_in_force(pretended: tuple[Meter, date]) -> None:
    meter, day = pretended
    assume(day not in CHANGES)  # The dial skips and repeats an hour: see the next test.
    contract = meter.contract(day)
    assert contract is not None
    expected = dict.fromkeys(contract.periods, 0)
    for point in meter.curve(day):
        expected[_period(contract.tariff, contract.off_peak_hours, point.label)] += int(point.watts) // 2
    assert contract.split(day, meter.curve(day)) == tuple(expected.values())


def _period(tariff: Tariff, hours: str | None, end_label: str) -> str:
    """Return the period of a half-hour from the label of its end, on the dial of a clock."""
    minute = (int(end_label[11:13]) * 60 + int(end_label[14:16]) - HALF_HOUR) % 1440
    start_day = date.fromisoformat(end_label[:10]) - (ONE_DAY if end_label[11:16] < "00:30" else timedelta())
    if tariff is Tariff.BASE:
        return "BASE"
    off_peak = False
    for start, end in read_off_peak_hours(hours or ""):
        first, last = start.hour * 60 + start.minute, end.hour * 60 + end.minute
        off_peak |= first <= minute < last or (last < first and (minute >= first or minute < last))
    period = "HC" if off_peak else "HP"
    if tariff is Tariff.OFF_PEAK:
        return period
    return tempo_colour(start_day - ONE_DAY if minute < 360 else start_day) + period


@pytest.mark.parametrize(("day", "half_hours"), [(CHANGES[0], 4), (date(2024, 4, 2), 6), (CHANGES[1], 8)])
def test_a_period_is_as_long_as_the_clock_says_on_the_days_of_its_change(day: date, half_hours: int) -> None:
    contract = Contract(date(2020, 1, 1), 6, Tariff.OFF_PEAK, "HC (1H00-4H00)")
    points = [Point(end, label, HALF_HOUR, 2) for end, label in step_ends(day, HALF_HOUR)]
    assert contract.split(day, points) == (half_hours, len(points) - half_hours)


def test_a_correction_moves_the_registers_from_that_day_on(supplier: SimulatorCaller) -> None:
    before = _registers(supplier)
    wh = supplier.truth("2024-11-02", "2024-11-03")["daily"]["2024-11-02"]
    supplier.switch(corrections=[{"day": "2024-11-02", "wh": wh + 1_000}])
    after = _registers(supplier)
    moved = {day: after[day]["total"] - before[day]["total"] for day in before}
    assert moved == {"2024-11-01": 0, "2024-11-02": 0, "2024-11-03": 1_000, "2024-11-04": 1_000}
    assert sum(after["2024-11-03"]["registers"].values()) == after["2024-11-03"]["total"]


def _registers(supplier: SimulatorCaller, series: str = "registers") -> dict[str, Any]:
    registers: dict[str, Any] = supplier.truth("2024-11-01", "2024-11-05", series=series)[series]
    return registers


def test_a_new_meter_counts_from_zero(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=3_000)
    days = supplier.truth("2024-11-02", "2024-11-04", series="daily,production_daily")
    supplier.switch(replaced_on="2024-11-03")
    for series, daily in (("registers", "daily"), ("production_registers", "production_daily")):
        totals = [reading["total"] for reading in _registers(supplier, series).values()]
        assert totals[1] > totals[0] > 0
        assert totals[2:] == [0, days[daily]["2024-11-03"]]


def test_another_tariff_starts_other_registers_and_the_total_counts_on(supplier: SimulatorCaller) -> None:
    supplier.switch(contract_changes=[{"day": "2000-01-01", "tariff": "base"}])
    before = _registers(supplier)
    assert {reading["calendar"] for reading in before.values()} == {"FC000010"}
    supplier.switch(
        contract_changes=[{"day": "2000-01-01", "tariff": "base"}, {"day": "2024-11-03", "tariff": "off_peak"}]
    )
    after = _registers(supplier)
    assert [reading["total"] for reading in after.values()] == [reading["total"] for reading in before.values()]
    assert after["2024-11-02"] == before["2024-11-02"]
    assert after["2024-11-03"]["calendar"] == "FC000040"
    assert after["2024-11-03"]["registers"] == {"HC": 0, "HP": 0}
    assert sum(after["2024-11-04"]["registers"].values()) == after["2024-11-04"]["total"] - after["2024-11-03"]["total"]


def test_two_changes_on_one_day_are_one(supplier: SimulatorCaller) -> None:
    start = {"day": "2000-01-01", "tariff": "base"}
    supplier.switch(contract_changes=[start])
    before = _registers(supplier)
    there_and_back = [{"day": "2024-11-03", "tariff": "tempo"}, {"day": "2024-11-03", "tariff": "base"}]
    supplier.switch(contract_changes=[start, *there_and_back])
    assert _registers(supplier) == before


def test_other_off_peak_hours_let_the_registers_count_on(supplier: SimulatorCaller) -> None:
    start = {"day": "2000-01-01", "tariff": "off_peak", "off_peak_hours": "HC (22H00-6H00)"}
    supplier.switch(contract_changes=[start])
    before = _registers(supplier)
    supplier.switch(contract_changes=[start, {"day": "2024-11-03", "off_peak_hours": "HC (12H00-20H00)"}])
    after = _registers(supplier)
    assert after["2024-11-03"] == before["2024-11-03"]
    assert after["2024-11-04"]["total"] == before["2024-11-04"]["total"]
    assert after["2024-11-04"]["registers"] != before["2024-11-04"]["registers"]


def test_registers_count_through_a_hole(supplier: SimulatorCaller) -> None:
    whole = _registers(supplier)
    supplier.switch(holes=["2024-11-02", "2024-11-03T12:00/2024-11-03T14:00"])
    del whole["2024-11-02"]
    assert _registers(supplier) == whole


@pytest.mark.parametrize(
    "text", ["HC (22H00-6H00)", "HC (2H00-7H00;12h30-14h00)", "HC (23h00-7h30)", "HC (1H28-6H58;13H58-16H28)"]
)
def test_every_form_of_off_peak_hours_that_was_seen_is_read(text: str) -> None:
    assert len(read_off_peak_hours(text)) == 1 + text.count(";")


@pytest.mark.parametrize("text", ["", "22H00-6H00", "HC ()", "HC (soon)", "HC (25H00-6H00)"])
def test_other_off_peak_hours_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"off-peak|hour"):
        read_off_peak_hours(text)


def test_a_home_can_draw_what_it_subscribed() -> None:
    homes = [PretendHome(f"{number:014d}", seed=1) for number in range(40)]
    assert {home.contract.subscribed_kva for home in homes} <= {3, 6, 9, 12}
    assert {home.contract.tariff for home in homes} == set(Tariff)
    for home in homes:
        peak = Meter(home, MeterSwitches(), date(2024, 1, 15)).max_power(date(2024, 1, 15))
        assert peak is not None
        assert peak.volt_amperes <= home.contract.subscribed_kva * 1_000


def test_before_its_meter_was_installed_a_home_has_no_registers() -> None:
    home = PretendHome(HOME, seed=1)
    window = DateWindow(home.meter_installed_on - ONE_DAY, home.meter_installed_on + 2 * ONE_DAY)
    readings = Meter(home, MeterSwitches(), date(2024, 1, 1)).registers(window, Direction.CONSUMPTION)
    first = home.meter_installed_on
    assert [(day, reading.total) for day, reading in readings.items()] == [
        (first, 0),
        (first + ONE_DAY, home.daily(first)),
    ]
