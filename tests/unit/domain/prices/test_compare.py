"""The last twelve months under each option: the same days for all, and what the others lack."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.unit.domain.prices import reference
from tests.unit.domain.prices.reference import DAY, Contract, minutes_of_day
from tests.unit.domain.prices.samples import Case, cases, hours, to_terms
from worker.domain.prices import PERIODS, Colour, Option, Price
from worker.domain.prices.choices import Terms
from worker.domain.prices.compare import ComparedOption, Lack, compare, last_year
from worker.domain.prices.cost import EURO, Cost, price_energies
from worker.domain.prices.energy import EnergySource, PeriodEnergies, energies_by_day
from worker.domain.windows import DateWindow

several = settings(max_examples=examples(200, desk=15), deadline=None)
YEAR = DateWindow(date(2023, 7, 25), date(2024, 7, 25))
ALL_COLOURS = dict.fromkeys([YEAR.start - DAY, *YEAR.dates()], Colour.BLUE)
NIGHT = ((22 * 60, 6 * 60),)
CENTS = {name: Decimal(f"0.{place}7") for place, name in enumerate((n for names in PERIODS.values() for n in names), 1)}
YEARLY = {Option.BASE: Decimal("185.94"), Option.HPHC: Decimal("194.4"), Option.TEMPO: Decimal("184.01")}


def price(option: Option) -> Price:
    return Price(date(2020, 1, 1), None, {name: CENTS[name] for name in PERIODS[option]}, YEARLY[option])


def terms_of(contract: Contract, days: Mapping[date, Contract] | DateWindow, priced: bool = True) -> dict[date, Terms]:
    terms = to_terms(contract)._replace(price=price(Option(contract.option)) if priced else None)
    return dict.fromkeys(days if isinstance(days, Mapping) else days.dates(), terms)


def costs_of(option: Option, days: set[int], part: set[int] = frozenset()) -> dict[date, Cost]:  # type: ignore[assignment]
    """Return the cost of these days of the year, by their numbers; those of ``part`` are known in part."""
    energies = {
        day: PeriodEnergies(dict.fromkeys(PERIODS[option], 1_000_000), EnergySource.CURVE, int(number not in part))
        for number, day in enumerate(YEAR.dates())
        if number in days
    }
    return price_energies(energies, lambda _: price(option))


def compare_year(
    days: Mapping[Option, set[int]],
    part: set[int] = frozenset(),  # type: ignore[assignment]
) -> dict[Option, ComparedOption]:
    terms = {option: terms_of(Contract(option, NIGHT), YEAR) for option in days}
    costs = {option: costs_of(option, known, part) for option, known in days.items()}
    return {one.option: one for one in compare(YEAR, costs, terms, ALL_COLOURS)}


@several
@given(cases(st.just(Contract("base"))), hours(), st.sets(st.sampled_from(list(Option))), st.integers(1, 3))
def test_options_cost_what_the_reference_says_of_the_days_that_all_of_them_have(
    case: Case, off_peak: tuple[tuple[int, int], ...], unpriced: set[Option], least: int
) -> None:
    days = list(case.contracts)
    window, known, terms, costs = DateWindow(days[0], days[-1] + DAY), {}, {}, {}
    for option in Option:
        contract = Contract(option, off_peak)
        terms[option] = terms_of(contract, case.contracts, option not in unpriced)
        if option is Option.BASE:  # A plain sum of the curve; here it stands for daily values.
            hphc = terms_of(Contract("hphc", off_peak), case.contracts)
            found = energies_by_day(hphc, [], [], lambda _: case.entries, {})
            for one in found.values():
                one.by_period, one.estimated = {"base": sum(one.by_period.values())}, False
        else:
            found = energies_by_day(terms[option], [], [], lambda _: case.entries, case.known_colours)
        costs[option] = price_energies(found, lambda day, of=terms[option]: of[day].price)
        told = reference.by_day(case.steps, dict.fromkeys(days, contract), case.colours)
        whole = {day: one for day, one in told.items() if one.covered == minutes_of_day(day)}
        known[option] = {} if option in unpriced else whole
    compared = {one.option: one for one in compare(window, costs, terms, case.known_colours, least)}
    shown = {option for option, one in compared.items() if one.costs}
    common = set(days).intersection(*(known[option] for option in shown))
    for option, one in compared.items():
        if option in shown:
            assert one.costs.keys() == common and len(common) == one.known >= least and not one.lacks
            parts = [
                reference.cost_of(known[option][day].by_period, CENTS, YEARLY[option], day) for day in sorted(common)
            ]
            assert sum(cost.total for cost in one.costs.values()) == EURO * sum(map(sum, parts), Fraction(0))
        else:
            assert one.known == len(common & known[option].keys()) < least
            assert sum(one.lacks.values()) == len(days) - len(known[option])


def test_an_option_counts_from_330_days_on_and_leaves_the_others_as_many() -> None:
    every, most = set(range(366)), set(range(330))
    compared = compare_year({Option.BASE: set(range(360)), Option.HPHC: most, Option.TEMPO: set(range(20, 366))})
    assert [len(one.costs) for one in compared.values()] == [340, 0, 340]
    assert (compared[Option.HPHC].known, compared[Option.HPHC].lacks) == (310, {Lack.CURVE: 36})
    compared = compare_year({Option.BASE: every, Option.HPHC: most, Option.TEMPO: most - {7}})
    assert [len(one.costs) for one in compared.values()] == [330, 330, 0]
    compared = compare_year({Option.BASE: every, Option.TEMPO: every}, part=set(range(40)))
    assert [(one.costs, one.known) for one in compared.values()] == 2 * [({}, 326)]
    assert [one.lacks for one in compared.values()] == [{Lack.DAILY: 40}, {Lack.CURVE: 40}]


@pytest.mark.parametrize(
    ("contract", "priced", "colours", "lacks"),
    [
        (Contract("tempo"), False, {}, {Lack.PRICE: 366}),
        (Contract("hphc"), True, {}, {Lack.HOURS: 366}),
        (Contract("hphc", ()), True, {}, {Lack.HOURS: 366}),
        (Contract("hphc", NIGHT), True, {}, {Lack.CURVE: 366}),
        (Contract("tempo"), True, ALL_COLOURS, {Lack.CURVE: 366}),
        # The night before a day has the colour of the day before.
        (Contract("tempo"), True, {YEAR.start + DAY: Colour.RED, YEAR.start + 2 * DAY: Colour.RED},
         {Lack.COLOURS: 365, Lack.CURVE: 1}),
        (Contract("base"), True, {}, {Lack.DAILY: 366}),
    ],
)  # fmt: skip
def test_what_an_option_lacks_is_told_by_days(
    contract: Contract, priced: bool, colours: Mapping[date, Colour], lacks: Mapping[Lack, int]
) -> None:
    option = Option(contract.option)
    (one,) = compare(YEAR, {option: {}}, {option: terms_of(contract, YEAR, priced)}, colours)
    assert (one.known, one.lacks) == (0, lacks)
    row = one.to_row(YEAR)
    assert (row["total_eur"], row["days"], row["expected_days"], row["estimated_days"]) == (None, 0, 366, 0)


def test_the_estimated_days_are_counted() -> None:
    costs = costs_of(Option.HPHC, set(range(340)))
    for day in list(costs)[:12]:
        costs[day].estimated = True
    terms = {Option.HPHC: terms_of(Contract("hphc", NIGHT), YEAR)}
    (one,) = compare(YEAR, {Option.HPHC: costs}, terms, {})
    row = one.to_row(YEAR)
    assert (row["option"], row["days"], row["expected_days"], row["estimated_days"]) == ("hphc", 340, 366, 12)


@pytest.mark.parametrize(
    ("today", "first"),
    [
        (date(2024, 7, 25), date(2023, 7, 25)),
        (date(2024, 2, 29), date(2023, 3, 1)),
        (date(2024, 3, 1), date(2023, 3, 1)),
        (date(2025, 1, 1), date(2024, 1, 1)),
    ],
)
def test_the_last_twelve_months_end_with_yesterday(today: date, first: date) -> None:
    assert last_year(today) == DateWindow(first, today)
