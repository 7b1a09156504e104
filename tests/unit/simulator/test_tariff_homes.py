"""Homes whose bills are hard, and the colours that the registers of Tempo follow."""

from __future__ import annotations

from datetime import date

import pytest

from simulator.electricity_homes import HALF_HOUR, Contract, Point, PretendHome, Tariff, step_ends, tempo_calendar
from simulator.electricity_meters import TARIFF_HOMES, Meter
from tests.support.enedis_caller import SimulatorCaller
from worker.domain.prices import PERIODS, REGISTERS, Option
from worker.domain.prices.tempo import read_colours
from worker.domain.series import Direction
from worker.domain.tariffs import parse_off_peak_hours
from worker.domain.windows import ONE_DAY, DateWindow, day_length

OFF_HALF_HOUR, OTHER_HOURS, OTHER_OPTION = TARIFF_HOMES


def meter_of(usage_point: str) -> Meter:
    return Meter(PretendHome(usage_point, seed=1), TARIFF_HOMES[usage_point], date(2026, 12, 1))


@pytest.mark.parametrize(
    ("day", "off_peak"), [(date(2026, 6, 1), 485), (date(2026, 3, 29), 425), (date(2026, 10, 25), 545)]
)
def test_a_half_hour_with_a_change_of_period_is_divided_by_minutes(day: date, off_peak: int) -> None:
    contract = Contract(date(2020, 1, 1), 6, Tariff.OFF_PEAK, "HC (23H04-7H09)")
    points = [Point(end, label, HALF_HOUR, 60) for end, label in step_ends(day, HALF_HOUR)]  # A watt-hour a minute.
    assert contract.split(day, points) == (off_peak, day_length(day).total_seconds() // 60 - off_peak)


def test_one_has_hours_off_the_half_hour_and_its_registers_add_up_to_the_day() -> None:
    meter, day = meter_of(OFF_HALF_HOUR), date(2026, 5, 4)
    contract = meter.contract(day)
    assert contract is not None
    (night,) = parse_off_peak_hours(contract.off_peak_hours)
    assert [f"{moment:%H:%M}" for moment in night] == ["23:04", "07:04"]
    today, tomorrow = meter.registers(DateWindow(day, day + 2 * ONE_DAY), Direction.CONSUMPTION).values()
    differences = [new - old for old, new in zip(today.registers, tomorrow.registers, strict=True)]
    assert sum(differences) == meter.daily(day) and min(differences) > 0


def test_one_has_other_hours_from_a_date_on_and_one_another_option_in_mid_month() -> None:
    def terms(usage_point: str, day: date) -> tuple[Tariff, int]:
        contract = meter_of(usage_point).contract(day)
        assert contract is not None
        return contract.tariff, len(parse_off_peak_hours(contract.off_peak_hours))

    days = date(2025, 11, 14), date(2025, 11, 15)
    assert [terms(OTHER_HOURS, day) for day in days] == [(Tariff.OFF_PEAK, 1), (Tariff.OFF_PEAK, 2)]
    days = date(2026, 6, 16), date(2026, 6, 17)
    assert [terms(OTHER_OPTION, day) for day in days] == [(Tariff.BASE, 0), (Tariff.OFF_PEAK, 2)]


def test_these_homes_are_there_without_a_switch_and_a_switch_can_be_reset(supplier: SimulatorCaller) -> None:
    path = f"/__sim__/meters/{OFF_HALF_HOUR}"
    assert len(supplier.http.get(path).json()["contract_changes"]) == 1
    supplier.http.post(path, json={"contract_changes": []})
    assert supplier.http.get(path).json()["contract_changes"] == []
    supplier.http.delete(path)
    assert len(supplier.http.get(path).json()["contract_changes"]) == 1


def test_the_registers_of_tempo_follow_the_colours_of_the_file(supplier: SimulatorCaller) -> None:
    colours = read_colours(supplier.http.get("/tempo_days.csv").text)
    assert colours.keys() >= {date(2014, 9, 1), date(2023, 12, 1)} and len(set(colours.values())) == 3
    home = next(
        home
        for home in (PretendHome(f"{number:014}", 1) for number in range(50))
        if home.contract.tariff is Tariff.TEMPO
    )
    names = [REGISTERS[Option.TEMPO][name] for name in home.contract.periods]
    assert sorted(names) == sorted(PERIODS[Option.TEMPO])
    for rank in range(60):
        day = date(2023, 12, 1) + rank * ONE_DAY
        energies = home.contract.split(day, home.curve(day))
        counted = {name for name, wh in zip(names, energies, strict=True) if wh}
        today, before = colours[day], colours[day - ONE_DAY]
        assert counted == {f"{today}_hp", f"{today}_hc", f"{before}_hc"}


def test_the_file_goes_to_tomorrow() -> None:
    assert list(tempo_calendar(date(2024, 7, 26)))[-1] == date(2024, 7, 26)
