"""What energy costs: exact sums, whatever way time is split, and rows that add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.unit.domain.prices import reference
from tests.unit.domain.prices.reference import DAY, Contract, midnight
from tests.unit.domain.prices.samples import Case, cases, steps_between, to_entry, to_terms
from worker.domain.completeness import civil_day
from worker.domain.documents import Entry
from worker.domain.prices import PERIODS, Colour, Option, Price, find_price
from worker.domain.prices.choices import OffPeakHours, RegulatedChoice, TariffChoices, read_hours, terms_by_day
from worker.domain.prices.cost import (
    EURO,
    price_energies,
    price_intervals,
    round_together,
    rows_by_day,
    rows_by_hour,
    total_cost,
)
from worker.domain.prices.energy import (
    Amount,
    EnergySource,
    PeriodEnergies,
    add_energies,
    energies_by_day,
    energies_of_curve,
    energies_of_days,
)
from worker.domain.prices.regulated import RegulatedTariff
from worker.domain.series import Period
from worker.domain.windows import DateWindow

FIRST = date(2024, 7, 1)
YEAR = DateWindow(date(2024, 1, 1), date(2025, 1, 1))
several = settings(max_examples=examples(200, desk=15), deadline=None)
decimals = st.decimals("0.0001", "5", places=4)
ALL_PERIODS = [period for periods in PERIODS.values() for period in periods]


def price(first: date, last: date | None = None, yearly: str = "120", **energy: str) -> Price:
    return Price(first, last, {period: Decimal(euros) for period, euros in energy.items()}, Decimal(yearly))


def base(first: date, number: int, energy: int = 1_000_000) -> dict[date, PeriodEnergies]:
    """Return days of so much energy (mWh) in option base."""
    return energies_of_days([Entry(str(first + place * DAY), energy) for place in range(number)], "base")


def without_cost(one: PeriodEnergies) -> PeriodEnergies:
    return replace(one, parts={}, subscription=0)


def days_of(case: Case) -> dict[date, PeriodEnergies]:
    return energies_by_day(case.terms, [], [], lambda _: case.entries, case.known_colours)


@st.composite
def price_lists(draw: st.DrawFn) -> list[Price]:
    """Return prices of all periods that change on one of the days of the samples, and may end."""
    changes = sorted(
        draw(st.sets(st.sampled_from([date(2023, 1, 1), date(2024, 3, 31), date(2024, 10, 27), date(2024, 9, 1)])))
    )
    last = draw(st.sampled_from([None, date(2024, 10, 28)]))
    return [
        Price(first, last, {period: draw(decimals) for period in ALL_PERIODS}, draw(st.decimals("0", "500", places=2)))
        for first in changes
    ]


@several
@given(cases(), price_lists())
def test_a_day_costs_its_energy_times_the_price_of_that_day_and_its_part_of_a_month(
    case: Case, prices: list[Price]
) -> None:
    known = reference.by_day(case.steps, case.contracts, case.colours)
    costs = price_energies(days_of(case), lambda day: find_price(prices, day))
    priced = {day: found for day in known if (found := find_price(prices, day))}
    assert costs.keys() == priced.keys()
    for day, found in priced.items():
        energy, subscription = reference.cost_of(known[day].by_period, found.energy, found.subscription, day)
        assert (sum(costs[day].parts.values()), costs[day].subscription) == (EURO * energy, EURO * subscription)
        assert costs[day].total == EURO * (energy + subscription)


@several
@given(cases(), price_lists(), st.integers(0, 3))
def test_splitting_a_time_never_changes_its_exact_cost(case: Case, prices: list[Price], at: int) -> None:
    costs = price_energies(days_of(case), lambda day: find_price(prices, day))
    first = min(case.contracts)
    whole = total_cost(DateWindow(first - DAY, first + 4 * DAY), costs)
    parts = [DateWindow(first - DAY, first + at * DAY), DateWindow(first + at * DAY, first + 4 * DAY)]
    assert add_energies([total_cost(part, costs) for part in parts], 5) == whole
    assert whole.expected == 5


@several
@given(cases(), price_lists())
def test_hours_cost_what_their_day_costs(case: Case, prices: list[Price]) -> None:
    days = price_energies(days_of(case), lambda day: find_price(prices, day))
    hours = price_energies(
        energies_of_curve(case.terms, case.entries, case.known_colours, by_hour=True),
        lambda day: find_price(prices, day),
    )
    sums: dict[date, list[PeriodEnergies]] = {}
    for key, cost in hours.items():
        sums.setdefault(civil_day(key), []).append(cost)
    assert sums.keys() == days.keys()
    for day, costs in sums.items():
        total = add_energies(costs, 1)
        assert (total.by_period, total.parts) == (days[day].by_period, days[day].parts)
        if len(costs) * 60 == reference.minutes_of_day(day):
            assert total.total == days[day].total


@several
@given(cases(), price_lists(), st.integers(0, 9))
def test_cost_is_linear_in_energy(case: Case, prices: list[Price], factor: int) -> None:
    def energy_costs(scale: int) -> dict[date, Amount]:
        steps = [step._replace(energy=scale * step.energy) for step in case.steps]
        costs = price_energies(days_of(case._replace(steps=steps)), lambda day: find_price(prices, day))
        return {day: cost.total - cost.subscription for day, cost in costs.items()}

    assert energy_costs(factor) == {day: factor * amount for day, amount in energy_costs(1).items()}


def test_a_months_subscription_is_a_twelfth_of_the_years_and_a_years_is_whole() -> None:
    prices = [price(date(2020, 1, 1), yearly="185.94", base="0.2")]
    costs = price_energies(base(YEAR.start, 366), lambda day: find_price(prices, day))
    months = [total_cost(DateWindow(date(2024, month, 1), date(2024, month + 1, 1)), costs) for month in range(1, 12)]
    assert {month.subscription for month in months} == {EURO * Fraction("185.94") / 12}
    assert total_cost(YEAR, costs).subscription == EURO * Fraction("185.94")


def test_a_price_change_inside_a_month_goes_by_days() -> None:
    prices = [
        price(date(2024, 1, 1), date(2024, 7, 10), "120", base="0.20"),
        price(date(2024, 7, 11), None, "240", base="0.30"),
    ]
    costs = price_energies(base(FIRST, 31), lambda day: find_price(prices, day))
    july = total_cost(DateWindow(FIRST, date(2024, 8, 1)), costs)
    assert july.parts == {"base": EURO * (10 * Fraction("0.20") + 21 * Fraction("0.30"))}
    assert july.subscription == EURO * Fraction(10 * 10 + 21 * 20, 31)


def test_option_and_hours_that_change_inside_a_month_go_by_days() -> None:
    choices = TariffChoices().put(
        "electricity", RegulatedChoice(FIRST, Option.BASE, 6), RegulatedChoice(FIRST + DAY, Option.HPHC, 6)
    )
    hours = [OffPeakHours(FIRST, read_hours("22:00-06:00")), OffPeakHours(FIRST + 2 * DAY, read_hours("00:00-12:00"))]
    tariffs = {
        option: RegulatedTariff(1, {6: [price(FIRST, None, **dict.fromkeys(PERIODS[option], "0.1"))]})
        for option in (Option.BASE, Option.HPHC)
    }
    terms = terms_by_day(DateWindow(FIRST, FIRST + 3 * DAY), [choices.put("hours", *hours)], tariffs)
    steps = [to_entry(step) for step in steps_between(midnight(FIRST), midnight(FIRST + 3 * DAY), 60, 1_000_000)]
    steps = [step._replace(amount=1_000_000) for step in steps]
    energies = energies_by_day(terms, [Entry(str(FIRST), 24_000_000)], [], lambda _: steps, {})
    total = total_cost(DateWindow(FIRST, FIRST + 3 * DAY), price_energies(energies, lambda day: terms[day].price))
    assert without_cost(total) == PeriodEnergies(
        {"base": 24_000_000, "hp": 28_000_000, "hc": 20_000_000}, EnergySource.MIXED, 3, 3
    )
    assert sum(total.parts.values()) == EURO * Fraction("7.2")


def test_a_day_without_a_price_costs_nothing_and_is_not_known() -> None:
    prices = [price(date(2024, 7, 11), date(2024, 7, 20), base="0.20")]
    costs = price_energies(base(FIRST, 25), lambda day: find_price(prices, day))
    july = total_cost(DateWindow(FIRST, date(2024, 8, 1)), costs)
    assert (july.known, july.expected) == (10, 31)
    assert july.total == EURO * (2 + Fraction(10 * 10, 31))


def test_a_price_that_lacks_a_period_is_none() -> None:
    tempo = {FIRST: PeriodEnergies({"blue_hp": 1, "red_hp": 1}, EnergySource.CURVE)}
    assert price_energies(tempo, lambda _: price(FIRST, blue_hp="0.1", blue_hc="0.1")) == {}


def test_a_day_with_a_hole_counts_what_is_known_of_it_and_is_no_known_day() -> None:
    night = to_terms(Contract("hphc", ((22 * 60, 6 * 60),)))
    steps = [to_entry(step) for step in steps_between(midnight(FIRST), midnight(FIRST + DAY), 30)][:-1]
    energies = energies_by_day({FIRST: night}, [], [], lambda _: steps, {})
    (row,) = rows_by_day(
        DateWindow(FIRST, FIRST + DAY), Period.DAY, price_energies(energies, lambda _: price(FIRST, hp="0.2", hc="0.1"))
    )
    assert (row["days"], row["expected_days"], row["source"]) == (0, 1, "curve")
    assert [(part["name"], part["kwh"], part["eur"]) for part in row["periods"]] == [
        ("hp", "16.001", "3.20"),
        ("hc", "7.500", "0.75"),
    ]


gas_prices = [price(date(2024, 1, 1), date(2024, 7, 10), price="0.10"), price(date(2024, 7, 11), price="0.20")]


def published(first: str, end: str, energy: int) -> Entry:
    return Entry(first, energy, details={"ends_on": end})


def test_a_published_period_of_gas_costs_its_price_and_goes_by_days_where_that_changes() -> None:
    rows = [published("2024-05-17", "2024-06-17", 31_000_000), published("2024-06-17", "2024-07-17", 30_000_000)]
    costs = price_intervals(rows, lambda day: find_price(gas_prices, day), {})
    may, june = costs[date(2024, 5, 17)], costs[date(2024, 6, 17)]
    assert may.parts == {"price": EURO * Fraction("3.1")} and not may.estimated
    assert june.parts == {"price": EURO * (24 * Fraction("0.1") + 6 * Fraction("0.2"))} and june.estimated
    assert without_cost(june) == PeriodEnergies({"price": 30_000_000}, EnergySource.REGISTERS, 30, 30, True)
    assert june.subscription == EURO * (Fraction(10, 30) * 14 + Fraction(10, 31) * 16)


def test_a_month_has_the_published_periods_that_begin_in_it_with_all_their_days() -> None:
    rows = [published("2024-03-17", "2024-05-17", 60_000_000), published("2024-05-17", "2024-05-27", 1_000_000)]
    costs = price_intervals(rows, lambda day: find_price(gas_prices, day), {})
    window = DateWindow(date(2024, 3, 1), date(2024, 6, 1))
    found = [(row["days"], row["expected_days"], row["energy_eur"]) for row in rows_by_day(window, Period.MONTH, costs)]
    assert found == [(61, 61, "6.00"), (0, 30, None), (10, 31, "0.10")]


@given(st.integers(0, 10**9), st.integers(1, 400), st.dates(date(2024, 1, 1), date(2024, 12, 31)))
def test_a_published_period_costs_the_same_however_long_it_is_where_its_price_stays(
    energy: int, number: int, first: date
) -> None:
    entry = published(str(first), str(first + number * DAY), energy)
    (cost,) = price_intervals([entry], lambda _: price(date(2020, 1, 1), price="0.1128"), {}).values()
    assert sum(cost.parts.values()) == EURO * energy * Fraction("0.1128") / 10**6
    assert cost.by_period == {"price": energy} and not cost.estimated


@pytest.mark.parametrize(("energy", "each"), [(10_000_000, 3_500_000), (2_000_000, 0)])
def test_days_of_a_published_period_without_a_daily_value_have_its_rest_and_never_less_than_nothing(
    energy: int, each: int
) -> None:
    daily = energies_of_days([Entry("2024-07-02", 3_000_000)], "price")
    rows = [published("2024-07-01", "2024-07-04", energy), published("2024-07-02", "2024-07-03", energy)]
    costs = price_intervals(rows, lambda day: find_price(gas_prices, day), daily)
    assert {day: one.by_period["price"] for day, one in costs.items()} == {FIRST: each, date(2024, 7, 3): each}
    assert all(one.estimated for one in costs.values())


def test_daily_gas_is_priced_by_energy() -> None:
    days = energies_of_days(
        [Entry("2024-07-10", 5_000_000, details={"volume": 0.4}), Entry("2024-07-11", 5_000_000)], "price"
    )
    total = total_cost(
        DateWindow(FIRST, date(2024, 8, 1)), price_energies(days, lambda day: find_price(gas_prices, day))
    )
    assert total.parts == {"price": EURO * Fraction("1.5")}


def test_a_row_has_what_was_used_by_period_and_what_it_cost() -> None:
    energies = {
        FIRST: PeriodEnergies({"hc": 2_345_678, "hp": Fraction(8_000_001, 2)}, EnergySource.CURVE, estimated=True)
    }
    costs = price_energies(energies, lambda _: price(FIRST, yearly="186", hp="0.2065", hc="0.1579"))
    assert list(rows_by_day(DateWindow(FIRST, FIRST + 2 * DAY), Period.DAY, costs)) == [
        {
            "start": "2024-07-01",
            "end": "2024-07-02",
            "periods": [
                {"name": "hp", "kwh": "4.000", "eur": "0.83"},
                {"name": "hc", "kwh": "2.346", "eur": "0.37"},
            ],
            "energy_eur": "1.20",
            "subscription_eur": "0.50",
            "total_eur": "1.70",
            "days": 1,
            "expected_days": 1,
            "estimated": True,
            "source": "curve",
        },
        {
            "start": "2024-07-02",
            "end": "2024-07-03",
            "periods": [],
            "energy_eur": None,
            "subscription_eur": None,
            "total_eur": None,
            "days": 0,
            "expected_days": 1,
            "estimated": False,
            "source": None,
        },
    ]


def test_a_period_in_which_nothing_was_used_is_no_line() -> None:
    energies = {FIRST: PeriodEnergies({"blue_hp": 1_000_000, "blue_hc": 0, "red_hp": 0}, EnergySource.REGISTERS)}
    costs = price_energies(energies, lambda _: price(FIRST, None, "0", **dict.fromkeys(PERIODS[Option.TEMPO], "0.1")))
    (row,) = rows_by_day(DateWindow(FIRST, FIRST + DAY), Period.DAY, costs)
    assert row["periods"] == [{"name": "blue_hp", "kwh": "1.000", "eur": "0.10"}]


def test_rows_are_months_and_years_and_begin_and_end_with_the_window() -> None:
    costs = price_energies(base(date(2023, 12, 1), 62), lambda _: price(date(2020, 1, 1), base="0.2"))
    window = DateWindow(date(2023, 12, 15), date(2024, 2, 3))

    def counted(period: Period) -> list[tuple[Any, ...]]:
        rows = rows_by_day(window, period, costs)
        return [(row["start"], row["end"], row["days"], row["expected_days"], row["source"]) for row in rows]

    assert counted(Period.MONTH) == [
        ("2023-12-15", "2024-01-01", 17, 17, "daily"),
        ("2024-01-01", "2024-02-01", 31, 31, "daily"),
        ("2024-02-01", "2024-02-03", 0, 2, None),
    ]
    assert counted(Period.YEAR) == [
        ("2023-12-15", "2024-01-01", 17, 17, "daily"),
        ("2024-01-01", "2024-02-03", 31, 33, "daily"),
    ]


def test_production_stands_beside_and_is_not_subtracted() -> None:
    window = DateWindow(FIRST, FIRST + 3 * DAY)
    costs = price_energies(base(FIRST, 3), lambda _: price(FIRST, yearly="0", base="0.2"))
    sold = energies_of_days([Entry(str(FIRST), 3_000_000), Entry(str(FIRST + DAY), 0)], "price")
    paid = price_energies(sold, lambda _: price(FIRST, yearly="0", price="0.1269"))
    rows = list(rows_by_day(window, Period.DAY, costs, paid))
    assert [(row["production_kwh"], row["production_eur"]) for row in rows] == [
        ("3.000", "0.38"),
        ("0.000", "0.00"),
        (None, None),
    ]
    assert {row["total_eur"] for row in rows} == {"0.20"}
    assert "production_kwh" not in next(rows_by_day(window, Period.DAY, costs))


def test_production_stands_beside_the_hours_too() -> None:
    hours = {
        key: PeriodEnergies({"price": energy}, EnergySource.CURVE)
        for key, energy in (("2024-07-01T10:00Z", 1_500_000), ("2024-07-01T11:00Z", 0))
    }
    paid = price_energies(hours, lambda _: price(FIRST, yearly="0", price="0.1269"))
    window = DateWindow(FIRST, FIRST + DAY)
    rows = list(rows_by_hour(window, {}, paid))
    assert [(row["production_kwh"], row["production_eur"]) for row in rows[12:15]] == [
        ("1.500", "0.19"),
        ("0.000", "0.00"),
        (None, None),
    ]
    assert "production_kwh" not in next(rows_by_hour(window, {}))


def test_an_hour_has_the_minutes_of_the_steps_that_begin_in_it() -> None:
    base_terms = {FIRST: to_terms(Contract("base"))}
    steps = [Entry("2024-07-01T05:00Z", 100_000), Entry("2024-07-01T05:30Z", 200_000, 60)]
    costs = price_energies(energies_of_curve(base_terms, steps, {}, by_hour=True), lambda _: price(FIRST, base="0.2"))
    row = list(rows_by_hour(DateWindow(FIRST, FIRST + DAY), costs))[7]
    assert (row["minutes"], row["expected_minutes"], row["energy_eur"]) == (90, 60, "0.06")


def test_rows_of_hours_know_the_repeated_hour_and_count_minutes() -> None:
    day = date(2024, 10, 27)
    steps = [to_entry(step) for step in steps_between(midnight(day), midnight(day + DAY), 30, 1_000_000)][:-1]
    colours = {day - DAY: Colour.RED, day: Colour.BLUE}
    hours = energies_of_curve({day: to_terms(Contract("tempo"))}, steps, colours, by_hour=True)
    energy = dict.fromkeys(PERIODS[Option.TEMPO], "0.1")
    rows = list(
        rows_by_hour(DateWindow(day, day + DAY), price_energies(hours, lambda _: price(day, None, "120", **energy)))
    )
    assert len(rows) == 25
    assert [(row["start"], row["end"]) for row in rows[2:4]] == [
        ("2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"),
        ("2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"),
    ]
    assert rows[6]["periods"] == [{"name": "red_hc", "kwh": "2.000", "eur": "0.20"}]
    assert [(row["minutes"], row["expected_minutes"]) for row in rows[-2:]] == [(60, 60), (30, 60)]
    assert "days" not in rows[0]
    nothing = list(rows_by_hour(DateWindow(FIRST, FIRST + DAY), {}))
    assert {(row["minutes"], row["expected_minutes"], row["total_eur"]) for row in nothing} == {(0, 60, None)}


amounts = st.lists(st.fractions(0, 300, max_denominator=10**6), min_size=1, max_size=8)


def half_up(amount: Fraction) -> Decimal:
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


@several
@given(amounts)
def test_shown_lines_always_add_up_to_the_rounded_exact_total(euros: list[Fraction]) -> None:
    shown = round_together([EURO * amount for amount in euros])
    assert Decimal(sum(shown)) / 100 == half_up(sum(euros, Fraction(0)))
    assert all(cents >= 0 and abs(cents - 100 * amount) < 1 for cents, amount in zip(shown, euros, strict=True))


@several
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 50_000))
@example(19_370, 25_332, 167)  # The subscription has the largest error.
def test_the_energy_shown_is_the_rounded_exact_one_as_receivers_show_it(hp: int, hc: int, yearly: int) -> None:
    energies = {FIRST: PeriodEnergies({"hp": hp, "hc": hc}, EnergySource.REGISTERS)}
    paid = price(FIRST, yearly=str(Decimal(yearly) / 100), hp="0.2065", hc="0.1579")
    (row,) = rows_by_day(DateWindow(FIRST, FIRST + DAY), Period.DAY, price_energies(energies, lambda _: paid))
    exact = (hp * Fraction("0.2065") + hc * Fraction("0.1579")) / 10**6
    assert Decimal(row["energy_eur"]) == half_up(exact)
    assert Decimal(row["total_eur"]) == half_up(exact + Fraction(yearly, 100 * 12 * 31))
    assert sum(Decimal(one["eur"]) for one in row["periods"]) == Decimal(row["energy_eur"])
    assert Decimal(row["energy_eur"]) + Decimal(row["subscription_eur"]) == Decimal(row["total_eur"])


@pytest.mark.parametrize(
    ("thousandths", "shown"),
    [
        ([4, 4, 4], [1, 0, 0]),
        ([1, 4, 3, 4], [0, 1, 0, 0]),
        ([5, 6, 8], [0, 1, 1]),
        ([5], [1]),
        ([14, 14, 14, 14, 14], [2, 2, 1, 1, 1]),
        ([0, 0], [0, 0]),
        ([15, 25], [1, 3]),
    ],
)
def test_the_line_with_the_largest_error_takes_the_cent(thousandths: list[int], shown: list[int]) -> None:
    assert round_together([EURO * amount // 1000 for amount in thousandths]) == shown


@several
@given(cases(), price_lists(), st.sampled_from([Period.DAY, Period.MONTH, Period.YEAR]))
def test_the_lines_of_each_row_add_up(case: Case, prices: list[Price], period: Period) -> None:
    costs = price_energies(days_of(case), lambda day: find_price(prices, day))
    first = min(case.contracts)
    for row in rows_by_day(DateWindow(first, first + 4 * DAY), period, costs):
        if row["source"] is None:
            assert row["periods"] == []
            continue
        energy = sum(Decimal(part["eur"]) for part in row["periods"])
        assert energy == Decimal(row["energy_eur"])
        assert energy + Decimal(row["subscription_eur"]) == Decimal(row["total_eur"])
        window = DateWindow(date.fromisoformat(row["start"]), date.fromisoformat(row["end"]))
        assert Decimal(row["total_eur"]) == half_up(Fraction(total_cost(window, costs).total) / EURO)


def test_a_correction_changes_the_cost_by_itself() -> None:
    def total(energies: Mapping[date, PeriodEnergies]) -> Amount:
        return total_cost(YEAR, price_energies(energies, lambda _: price(FIRST, yearly="0", base="0.2"))).total

    assert total(base(FIRST, 3) | base(FIRST + timedelta(1), 1, 6_000_000)) - total(base(FIRST, 3)) == EURO
