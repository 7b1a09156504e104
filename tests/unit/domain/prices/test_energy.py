"""Energy by tariff period, of days and hours: against a reference that goes minute by minute, and case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.unit.domain.prices import reference
from tests.unit.domain.prices.reference import DAY, PARIS, Contract, midnight, minutes_of_day
from tests.unit.domain.prices.samples import Case, cases, steps_between, to_entry, to_terms
from worker.domain.completeness import civil_day, covered_time_by_day
from worker.domain.consistency import find_differences
from worker.domain.documents import Entry
from worker.domain.prices import PERIODS, Colour, Option
from worker.domain.prices.choices import Terms
from worker.domain.prices.energy import (
    Amount,
    EnergySource,
    PeriodEnergies,
    energies_by_day,
    energies_of_curve,
)
from worker.domain.series import Doctype, Series
from worker.domain.totals import count_inputs, total_entries

NIGHT = Contract("hphc", ((22 * 60, 6 * 60),))
SUNDAY, AUTUMN, SPRING = date(2024, 7, 7), date(2024, 10, 27), date(2024, 3, 31)
KWH = 1_000_000
several = settings(max_examples=examples(200, desk=15), deadline=None)


def curve(day: date, minutes: int = 30, energy: int = 500_000) -> list[Entry]:
    """Return the whole curve of a day; the energies of its steps rise by 1."""
    return [to_entry(step) for step in steps_between(midnight(day), midnight(day + DAY), minutes, energy)]


def index(day: date, **registers: int) -> Entry:
    return Entry(str(day), 1000 * sum(registers.values()), details={"registers": registers})


def between(steps: list[Entry], day: date, start: str, end: str) -> int:
    """Return the energy of the steps that begin between two times of a day's clock."""
    local = {step.key: datetime.fromisoformat(step.key).astimezone(PARIS) for step in steps}
    return sum(
        step.amount for step in steps if local[step.key].date() == day and start <= f"{local[step.key]:%H:%M}" < end
    )


def by_day(
    terms: Mapping[date, Terms],
    daily: Sequence[Entry] = (),
    registers: Sequence[Entry] = (),
    steps: Sequence[Entry] = (),
    colours: Mapping[date, Colour] | None = None,
) -> dict[date, PeriodEnergies]:
    return energies_by_day(terms, daily, registers, lambda _: steps, colours or {})


def energies_on(
    day: date, contract: Contract, steps: list[Entry], colours: Mapping[date, Colour] | None = None
) -> PeriodEnergies:
    return by_day({day: to_terms(contract)}, steps=steps, colours=colours)[day]


@several
@given(cases())
def test_days_of_the_curve_are_those_of_the_reference(case: Case) -> None:
    expected = reference.by_day(case.steps, case.contracts, case.colours)
    found = by_day(case.terms, steps=case.entries, colours=case.known_colours)
    assert {day: one.by_period for day, one in found.items()} == {day: one.by_period for day, one in expected.items()}
    assert {day: bool(one.known) for day, one in found.items()} == {
        day: one.covered == minutes_of_day(day) for day, one in expected.items()
    }
    assert {day: one.estimated for day, one in found.items()} == {day: one.divided for day, one in expected.items()}
    assert {one.source for one in found.values()} <= {EnergySource.CURVE}


@several
@given(cases(st.one_of(st.just(Contract("base")), st.just(Contract("tempo")), st.just(NIGHT))))
def test_hours_of_the_curve_are_those_of_the_reference(case: Case) -> None:
    expected = reference.by_hour(case.steps, case.contracts, case.colours)
    found = energies_of_curve(case.terms, case.entries, case.known_colours, by_hour=True)
    assert {datetime.fromisoformat(key): one.by_period for key, one in found.items()} == {
        hour: one.by_period for hour, one in expected.items()
    }
    assert [(one.known, one.expected, one.estimated) for one in found.values()] == [
        (one.minutes, 60, one.divided) for one in expected.values()
    ]


@several
@given(cases())
def test_periods_add_up_to_the_day_and_hours_to_the_day(case: Case) -> None:
    days = by_day(case.terms, steps=case.entries, colours=case.known_colours)
    for day, energies in days.items():
        of_day = [step for step in case.entries if civil_day(step.key) == day]
        has_all = case.contracts[day].hours is not None or {day - DAY, day} <= case.colours.keys()
        if has_all:
            assert sum(energies.by_period.values()) == sum(step.amount for step in of_day)
        assert energies.by_period.keys() <= set(PERIODS[case.terms[day].option])
    sums: dict[date, dict[str, Amount]] = {}
    for key, one in energies_of_curve(case.terms, case.entries, case.known_colours, by_hour=True).items():
        by_period = sums.setdefault(civil_day(key), {})
        for period, energy in one.by_period.items():
            by_period[period] = by_period.get(period, 0) + energy
    assert sums == {day: one.by_period for day, one in days.items()}


@several
@given(cases(st.just(NIGHT)))
def test_days_and_minutes_are_known_as_all_totals_count_them(case: Case) -> None:
    days = by_day(case.terms, steps=case.entries)
    covered = covered_time_by_day(Series.LOAD_CURVE, case.entries)
    assert {day: bool(one.known) for day, one in days.items()} == {
        day: covered[day] == timedelta(minutes=minutes_of_day(day)) for day in case.contracts if day in covered
    }
    hours = energies_of_curve(case.terms, case.entries, {}, by_hour=True)
    steps = [step for step in case.entries if civil_day(step.key) in case.terms]
    counts = count_inputs(total_entries(steps, Doctype.HOUR), steps, Doctype.HOUR)
    assert {key: {"minutes": one.known, "expected_minutes": one.expected} for key, one in hours.items()} == counts


def test_whole_steps_stay_whole_numbers() -> None:
    energies = energies_on(SUNDAY, NIGHT, curve(SUNDAY))
    assert {type(energy) for energy in energies.by_period.values()} == {int}
    assert energies == PeriodEnergies({"hc": 16 * 500_000 + 66 + 182, "hp": 32 * 500_000 + 880}, EnergySource.CURVE)


def test_a_step_in_which_a_period_ends_is_divided_by_minutes_and_estimated() -> None:
    contract = Contract("hphc", ((7 * 60 + 4, 23 * 60 + 4),))
    energies = energies_on(SUNDAY, contract, curve(SUNDAY, 60, 600_000))
    before, after = Fraction(4 * 600_007, 60), Fraction(56 * 600_023, 60)
    assert energies.by_period["hp"] == before + after + sum(range(600_000, 600_007))
    assert energies.estimated and energies.known
    exact = energies_on(SUNDAY, Contract("hphc", ((7 * 60, 23 * 60),)), curve(SUNDAY, 60, 600_000))
    assert not exact.estimated


def test_off_peak_hours_from_1_to_3_last_three_hours_on_the_day_of_25_and_one_on_that_of_23() -> None:
    contract = Contract("hphc", ((60, 180),))
    for day, hours in ((AUTUMN, 3), (SPRING, 1), (SUNDAY, 2)):
        steps = curve(day)
        energies = energies_on(day, contract, steps)
        assert energies.by_period["hc"] == sum(step.amount for step in steps[2 : 2 + 2 * hours]), day
        assert energies.known and not energies.estimated


@pytest.mark.parametrize("day", [AUTUMN, SPRING, SUNDAY])
def test_a_night_of_tempo_passes_six_oclock_at_both_clock_changes(day: date) -> None:
    steps = curve(day)
    colours = {day - DAY: Colour.RED, day: Colour.BLUE}
    assert energies_on(day, Contract("tempo"), steps, colours).by_period == {
        "red_hc": between(steps, day, "00:00", "06:00"),
        "blue_hp": between(steps, day, "06:00", "22:00"),
        "blue_hc": between(steps, day, "22:00", "24:00"),
    }


@pytest.mark.parametrize("day", [AUTUMN, SPRING])
def test_a_step_over_the_clock_change_within_one_period_is_not_divided(day: date) -> None:
    steps = [to_entry(step) for step in steps_between(midnight(day) + timedelta(minutes=30), midnight(day + DAY), 60)]
    energies = energies_on(day, NIGHT, steps[:4])
    assert energies.by_period == {"hc": sum(step.amount for step in steps[:4])} and not energies.estimated


def test_a_season_ends_at_six_oclock_of_the_first_of_september() -> None:
    day = date(2024, 9, 1)
    colours = {date(2024, 8, 31): Colour.BLUE, day: Colour.WHITE}
    night = energies_on(day, Contract("tempo"), curve(day), colours).by_period
    assert set(night) == {"blue_hc", "white_hp", "white_hc"}


def test_a_colour_that_comes_a_day_late_is_unknown_until_then_and_never_guessed() -> None:
    steps, colours = [*curve(SUNDAY), *curve(SUNDAY + DAY)], {SUNDAY - DAY: Colour.WHITE}
    terms = {SUNDAY + place * DAY: Terms(Option.TEMPO) for place in range(2)}
    before = by_day(terms, steps=steps, colours=colours)
    assert before == {
        SUNDAY: PeriodEnergies({"white_hc": between(steps, SUNDAY, "00:00", "06:00")}, EnergySource.CURVE, 0)
    }
    assert sum(one.known for one in energies_of_curve(terms, steps, colours, by_hour=True).values()) == 360
    late = by_day(terms, steps=steps, colours=colours | {SUNDAY: Colour.BLUE})
    assert [(bool(one.known), set(one.by_period)) for one in late.values()] == [
        (True, {"white_hc", "blue_hp", "blue_hc"}),
        (False, {"blue_hc"}),
    ]


def test_a_step_of_an_hour_over_the_end_of_a_known_colour_counts_by_its_known_minutes() -> None:
    step = Entry("2024-07-07T03:30Z", 600_000, 60)  # 05:30 to 06:30 in Paris.
    terms = {SUNDAY: Terms(Option.TEMPO)}
    expected = {"2024-07-07T03:00Z": PeriodEnergies({"white_hc": 300_000}, EnergySource.CURVE, 30, 60, True)}
    assert energies_of_curve(terms, [step], {SUNDAY - DAY: Colour.WHITE}, by_hour=True) == expected


def test_hours_that_are_unknown_or_estimated_say_so() -> None:
    unknown, estimated = Terms(Option.HPHC), to_terms(NIGHT, estimated=True)
    found = by_day({SUNDAY: unknown, SUNDAY + DAY: estimated}, steps=[*curve(SUNDAY), *curve(SUNDAY + DAY)])
    assert list(found) == [SUNDAY + DAY]
    assert found[SUNDAY + DAY].estimated and found[SUNDAY + DAY].known


def test_each_day_has_the_option_and_the_hours_in_force_on_it() -> None:
    days = [SUNDAY + place * DAY for place in range(3)]
    contracts = [NIGHT, Contract("hphc", ((12 * 60, 14 * 60),)), Contract("tempo")]
    steps = [step for day in days for step in curve(day)]
    colours = dict.fromkeys([SUNDAY - DAY, *days], Colour.BLUE)
    found = by_day({day: to_terms(one) for day, one in zip(days, contracts, strict=True)}, steps=steps, colours=colours)
    assert [set(one.by_period) for one in found.values()] == [{"hp", "hc"}, {"hp", "hc"}, {"blue_hp", "blue_hc"}]
    assert found[days[1]].by_period["hc"] == between(steps, days[1], "12:00", "14:00")


def test_a_step_over_midnight_is_counted_with_the_day_it_starts_in_by_that_days_hours() -> None:
    step = Entry("2024-07-07T21:30Z", 600_000, 60)  # 23:30 to 00:30 in Paris.
    hours = Contract("hphc", ((0, 10), (22 * 60, 0)))
    found = by_day({SUNDAY: to_terms(hours), SUNDAY + DAY: to_terms(NIGHT)}, steps=[step])
    assert found == {SUNDAY: PeriodEnergies({"hc": 400_000, "hp": 200_000}, EnergySource.CURVE, 0, 1, True)}


def test_base_is_the_daily_value_else_the_curve_as_a_day_computed_from_it_says_too() -> None:
    base, days = Terms(Option.BASE), [SUNDAY + place * DAY for place in range(3)]
    daily = [Entry(str(days[0]), 9 * KWH), Entry(str(days[1]), 8 * KWH, 1440)]
    found = by_day(dict.fromkeys(days, base), daily, steps=curve(days[2]))
    assert found == {
        days[0]: PeriodEnergies({"base": 9 * KWH}, EnergySource.DAILY),
        days[1]: PeriodEnergies({"base": 8 * KWH}, EnergySource.CURVE),
        days[2]: PeriodEnergies({"base": sum(step.amount for step in curve(days[2]))}, EnergySource.CURVE),
    }
    hours = energies_of_curve({days[2]: base}, curve(days[2]), {}, by_hour=True).values()
    assert sum(one.by_period["base"] for one in hours) == found[days[2]].by_period["base"]


def test_a_day_is_wholly_by_registers_or_wholly_by_the_curve() -> None:
    days = [SUNDAY + place * DAY for place in range(4)]
    registers = [
        index(days[0], HP=100_000, HC=50_000),
        index(days[1], HP=107_000, HC=52_001),
        index(days[2], HP=3, HC=1),  # Another meter: no difference is taken across.
        index(days[3], HP=5_003, HC=2_001),
    ]
    terms = {day: to_terms(NIGHT) for day in days}
    found = by_day(terms, registers=registers, steps=[step for day in days for step in curve(day)])
    assert [one.source for one in found.values()] == ["registers", "curve", "registers", "curve"]
    assert by_day(terms, [Entry(str(day), 9 * KWH) for day in days]) == {}, "a daily value has no periods"
    assert found[days[0]] == PeriodEnergies({"hp": 7 * KWH, "hc": 2_001_000}, EnergySource.REGISTERS)
    asked: list[date] = []
    assert energies_by_day(terms, (), registers, lambda needed: asked.extend(needed) or (), {}) == {  # type: ignore[func-returns-value]
        day: found[day] for day in (days[0], days[2])
    }
    assert asked == [days[1], days[3]], "only these days need the curve"


@pytest.mark.parametrize(
    "names", [("HPH", "HCH", "HPB", "HCB"), ("D1", "D2"), ("HP",), ("HP", "HC", "HSC"), ("BASE",), ("BUHP", "BUHC")]
)
def test_registers_of_another_option_or_of_a_distributor_are_never_taken(names: tuple[str, ...]) -> None:
    registers = [index(SUNDAY + place * DAY, **dict.fromkeys(names, 1000 * place)) for place in range(2)]
    for contract in (NIGHT, Contract("tempo"), Contract("base")):
        assert by_day({SUNDAY: to_terms(contract)}, registers=registers) == {}


def test_registers_of_tempo_need_no_colour() -> None:
    names = {
        "BUHP": "blue_hp",
        "BUHC": "blue_hc",
        "BCHP": "white_hp",
        "BCHC": "white_hc",
        "RHP": "red_hp",
        "RHC": "red_hc",
    }
    first = dict.fromkeys(names, 10000)
    second = first | {"BUHP": 11_500, "RHC": 10_700}
    found = by_day({SUNDAY: Terms(Option.TEMPO)}, registers=[index(SUNDAY, **first), index(SUNDAY + DAY, **second)])
    expected = dict.fromkeys(names.values(), 0) | {"blue_hp": 1_500_000, "red_hc": 700_000}
    assert found == {SUNDAY: PeriodEnergies(dict(expected), EnergySource.REGISTERS)}


@pytest.mark.parametrize(
    ("large", "held"),
    [
        ({}, 2_000),
        ({11: 5_000, 44: 7_000}, 12_000),  # The steps before 06:00 and after 22:00.
        ({12: 5_000, 43: 7_000}, 12_000),
        ({11: 5_000, 12: 7_000}, 8_000),  # Both at 06:00: the larger one, and that of another change.
        ({10: 5_000, 13: 5_000, 30: 9_000}, 2_000),  # None is at a change.
        ({11: 3_000, 24: 4_000, 28: 6_000}, 10_000),  # Of four changes the two largest.
    ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_registers_and_curve_differ_when_it_is_more_than_the_steps_at_two_changes_hold(
    large: dict[int, int], held: int, sign: int
) -> None:
    energies = [1000 * large.get(place, 1000) for place in range(48)]
    steps = [step._replace(amount=energy) for step, energy in zip(curve(SUNDAY), energies, strict=True)]
    contract = Contract("hphc", ((22 * 60, 6 * 60), (12 * 60, 14 * 60)))
    by_period = {period: int(energy) for period, energy in energies_on(SUNDAY, contract, steps).by_period.items()}
    for beyond in (1, 2):  # Registers show whole Wh: one more than the steps hold is no difference.
        hc = by_period["hc"] // 1000 + sign * (held + beyond)
        registers = [index(SUNDAY, HP=0, HC=10**6), index(SUNDAY + DAY, HP=by_period["hp"] // 1000, HC=10**6 + hc)]
        found = list(find_differences({SUNDAY: to_terms(contract)}, registers, steps, {}))
        assert found == ([SUNDAY] if beyond == 2 and hc >= 0 else [])


def test_wrong_hours_make_a_difference_and_a_day_with_a_hole_makes_none() -> None:
    steps = curve(SUNDAY)
    by_period = energies_on(SUNDAY, NIGHT, steps).by_period
    registers = [
        index(SUNDAY, HP=0, HC=0),
        index(SUNDAY + DAY, HP=int(by_period["hp"]) // 1000, HC=int(by_period["hc"]) // 1000),
    ]
    wrong = {SUNDAY: to_terms(Contract("hphc", ((10 * 60, 16 * 60),)))}
    assert list(find_differences(wrong, registers, steps, {})) == [SUNDAY]
    assert list(find_differences(wrong, registers, steps[:-1], {})) == []
    assert list(find_differences({SUNDAY: to_terms(NIGHT)}, registers, steps, {})) == []
