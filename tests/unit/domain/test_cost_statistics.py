"""The rows of costs and of tariff periods: a day's rows add up to the day, and sums are rounded, not amounts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.cost_statistics import COST_STATISTICS, split_costs, to_cost_rows
from worker.domain.prices.cost import EURO, Cost
from worker.domain.prices.energy import Amount, EnergySource, PeriodEnergies
from worker.domain.statistics import DayAmounts, split_day
from worker.domain.windows import ONE_DAY, day_length, local_midnight

DAY, AUTUMN, SPRING = date(2026, 7, 1), date(2026, 10, 25), date(2026, 3, 29)
HOUR = timedelta(hours=1)
PRICES = {"base": EURO // 5_000_000, "hp": EURO // 4_000_000, "hc": EURO // 8_000_000}  # 0.20, 0.25 and 0.125 a kWh.
BY_NAME = {statistic.name: statistic for statistic in COST_STATISTICS}


def priced(**energies: Amount) -> Cost:
    parts = {period: energy * PRICES[period] for period, energy in energies.items()}
    return PeriodEnergies(dict(energies), EnergySource.REGISTERS, parts=parts)


def hours_of(day: date) -> list[datetime]:
    midnight = local_midnight(day).astimezone(UTC)
    return [midnight + place * HOUR for place in range(day_length(day) // HOUR)]


def curve(day: date, *amounts: dict[str, Amount]) -> dict[str, Cost]:
    return {f"{start:%Y-%m-%dT%H:00Z}": priced(**one) for start, one in zip(hours_of(day), amounts, strict=False)}


amounts = st.integers(0, 10**7) | st.fractions(0, 10**6, max_denominator=60)
halves = st.fixed_dictionaries({}, optional={"hp": amounts, "hc": amounts})


@given(
    day=st.sampled_from([DAY, AUTUMN, SPRING]),
    hours=st.lists(halves, max_size=25),
    whole=st.fixed_dictionaries({}, optional={"hp": st.integers(0, 10**8), "hc": st.integers(0, 10**8)}),
    by_curve=st.booleans(),
)
def test_the_rows_of_a_day_add_up_to_it_exactly(
    day: date, hours: list[dict[str, Amount]], whole: dict[str, Amount], by_curve: bool
) -> None:
    told = curve(day, *hours)
    if by_curve:
        used = hours[: len(told)]
        whole = {name: sum(one.get(name, 0) for one in used) for one in used for name in one}
    cost = priced(**whole)
    rows = list(split_costs({day: cost}, told))
    assert [start for start, _ in rows] == sorted({start for start, _ in rows} & {*hours_of(day)})
    for sums, name in ((cost.by_period, "by_period"), (cost.parts, "parts")):
        for period, amount in sums.items():
            assert sum(getattr(row, name).get(period, 0) for _, row in rows) == amount
    if by_curve:
        curve_alone = {start: one for start, one in zip(hours_of(day), hours, strict=False) if one}
        assert {start: row.by_period for start, row in rows if row.by_period} == curve_alone


@given(
    hours=st.dictionaries(st.integers(0, 22), st.integers(0, 10**6), max_size=23),
    daily=st.integers(0, 10**7),
)
def test_with_one_period_each_row_costs_its_energy(hours: dict[int, int], daily: int) -> None:
    starts = hours_of(DAY)
    told = {starts[place]: energy for place, energy in sorted(hours.items())}
    keys = {f"{start:%Y-%m-%dT%H:00Z}": priced(base=energy) for start, energy in told.items()}
    rows = dict(split_costs({DAY: priced(base=daily)}, keys))
    energy = {start: amount for start, amount in split_day(DayAmounts(DAY, daily, told)) if amount is not None}
    assert {start: row.by_period["base"] for start, row in rows.items()} == energy
    assert {start: row.parts["base"] for start, row in rows.items()} == {
        start: amount * PRICES["base"] for start, amount in energy.items()
    }


def test_registers_are_divided_as_the_curve_tells_of_each_period() -> None:
    told = curve(DAY, {"hc": 100}, {"hc": 300, "hp": 50}, {"hp": 150})
    rows = dict(split_costs({DAY: priced(hc=800, hp=220)}, told))
    assert [row.by_period for row in rows.values()] == [{"hc": 200}, {"hc": 600, "hp": 55}, {"hp": 165}]


@pytest.mark.parametrize(("is_gas", "at"), [(False, "2026-06-30T22:00"), (True, "2026-07-01T04:00")])
def test_what_no_curve_tells_is_in_one_row_where_the_day_begins(is_gas: bool, at: str) -> None:
    ((start, row),) = split_costs({DAY: priced(hc=800, hp=220)}, {}, is_gas=is_gas)
    assert start == datetime.fromisoformat(f"{at}+00:00")
    assert row.by_period == {"hc": 800, "hp": 220}


def test_a_day_without_a_price_has_energy_and_no_cost() -> None:
    unpriced = PeriodEnergies({"hp": 500}, EnergySource.DAILY)
    days = {DAY - ONE_DAY: priced(hp=1000), DAY: unpriced, DAY + ONE_DAY: priced(hp=1000)}
    rows = {name: list(to_cost_rows(split_costs(days, {}), 0, BY_NAME[name])) for name in BY_NAME}
    assert [row.total for row in rows["consumption_hp"]] == [1000, 1500, 2500]
    assert [row.total for row in rows["consumption_hp_cost"]] == [250, 500]
    assert [row.total for row in rows["consumption_cost"]] == [250, 500]
    assert rows["consumption_hc"] == [] == rows["consumption_red_hp"]


@given(parts=st.lists(st.integers(0, EURO // 1000), min_size=1, max_size=40), cut=st.integers(0, 40))
def test_amounts_are_differences_of_rounded_sums_wherever_sending_begins(parts: list[int], cut: int) -> None:
    statistic = BY_NAME["consumption_cost"]
    rows = [
        (datetime(2026, 7, 1, tzinfo=UTC) + place * HOUR, PeriodEnergies({}, None, parts={"base": part}))
        for place, part in enumerate(parts)
    ]
    whole = list(to_cost_rows(rows, 0, statistic))
    assert [*to_cost_rows(rows[cut:], sum(parts[:cut]), statistic)] == whole[cut:]
    assert sum(row.amount or 0 for row in whole) == whole[-1].total
    assert abs(whole[-1].total - Fraction(sum(parts) * 10**6, EURO)) <= Fraction(1, 2)


def test_only_options_with_several_periods_have_statistics_of_them() -> None:
    names = {statistic.period for statistic in COST_STATISTICS}
    assert names == {"", "hp", "hc", *(f"{one}_{two}" for one in ("blue", "white", "red") for two in ("hp", "hc"))}
