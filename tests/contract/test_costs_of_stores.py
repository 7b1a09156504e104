"""Energy by tariff period and its cost as read from each measure store, against a reference that goes by minutes."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.factories import NOW
from tests.support.fakes import ByDoctype
from tests.support.gas_entries import gas_day, gas_period
from tests.support.profiles import examples
from tests.unit.domain.prices import reference
from tests.unit.domain.prices.reference import DAY, Contract, midnight, minutes_of_day
from tests.unit.domain.prices.samples import Case, cases, steps_between, to_entry, to_terms
from worker.accounts.prices import AccountTariff, read_costs, read_hours
from worker.domain.completeness import civil_day
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.prices import PERIODS, Option, Price
from worker.domain.prices.choices import OffPeakHours, TariffChoices
from worker.domain.prices.cost import EURO, ONLY_PERIOD, rows_by_day, rows_by_hour
from worker.domain.prices.energy import EnergySource
from worker.domain.series import Doctype, Period
from worker.domain.windows import DateWindow

MONDAY, AUTUMN = date(2024, 7, 1), date(2024, 10, 27)
NIGHT = Contract("hphc", ((22 * 60, 6 * 60),))
CENTS = {name: Decimal(f"0.{place}7") for place, name in enumerate((n for names in PERIODS.values() for n in names), 1)}
many = settings(
    max_examples=examples(60, desk=4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def account() -> str:
    return uuid.uuid4().hex[:12]


def store(measures: ByDoctype, account: str, doctype: Doctype, entries: Iterable[Entry]) -> None:
    documents = [to_document(account, doctype, entry, NOW) for entry in entries]
    assert measures.write({doctype: documents}) == {doctype: []}


def price(day: date, option: Option, last: date | None = None) -> Price:
    return Price(day, last, {name: CENTS[name] for name in PERIODS[option]}, Decimal(120))


def tariff_of(
    contracts: Mapping[date, Contract], colours: Mapping[date, str] | None = None, **more: Any
) -> AccountTariff:
    choices = TariffChoices()
    for day, contract in contracts.items():
        terms = to_terms(contract)
        choices = choices.put("electricity", price(day, terms.option))
        choices = choices.put("hours", OffPeakHours(day, terms.hours.ranges if terms.hours else ()))
    usual = {
        "supplier": "enedis",
        "today": date(2026, 1, 1),
        "choices": [choices],
        "regulated": {},
        "colours": Case((), {}, colours or {}).known_colours,
        "contracts": (),
    }
    return AccountTariff(**{**usual, **more})


@many
@given(case=cases())
def test_periods_add_up_to_the_day_whatever_the_steps_holes_and_hours(measures: ByDoctype, case: Case) -> None:
    account, days = uuid.uuid4().hex[:12], list(case.contracts)
    store(measures, account, Doctype.MINUTE, case.entries)
    window = DateWindow(days[0], days[-1] + DAY)
    costs, _ = read_costs(measures, account, tariff_of(case.contracts, case.colours), window)
    expected = reference.by_day(case.steps, case.contracts, case.colours)
    assert {day: one.by_period for day, one in costs.items()} == {day: one.by_period for day, one in expected.items()}
    for day, known in expected.items():
        euros, subscription = reference.cost_of(known.by_period, CENTS, Decimal(120), day)
        assert costs[day].total == EURO * (euros + subscription)
        assert bool(costs[day].known) == (known.covered == minutes_of_day(day))
    by_hour = reference.by_hour(case.steps, case.contracts, case.colours)
    rows = rows_by_hour(window, *read_hours(measures, account, tariff_of(case.contracts, case.colours), window))
    minutes = {datetime.fromisoformat(row["start"]).astimezone(UTC): row["minutes"] for row in rows}
    assert {start: number for start, number in minutes.items() if number} == {
        start: known.minutes for start, known in by_hour.items()
    }


def curve(first: date, days: int) -> list[Entry]:
    return [to_entry(step) for step in steps_between(midnight(first), midnight(first + days * DAY), 30)]


def registers(first: date, days: int, lacking: Iterable[date]) -> Iterator[Entry]:
    """Yield the midnights of so many days, each with 4 kWh in peak hours and 2 kWh in off-peak hours."""
    for place in range(days + 1):
        if first + place * DAY not in lacking:
            counted = {"HP": 4000 * place, "HC": 2000 * place}
            yield Entry(str(first + place * DAY), 6_000_000 * place, details={"registers": counted})


def test_the_curve_is_read_only_for_days_without_registers_and_no_step_counts_twice(
    measures: ByDoctype, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = DateWindow(MONDAY, MONDAY + 90 * DAY)
    lacking = {MONDAY + place * DAY for place in (3, 40, 41, 42, 75)}
    store(measures, account, Doctype.INDEX, registers(MONDAY, 90, lacking))
    store(measures, account, Doctype.MINUTE, curve(MONDAY, 90))
    asked: list[tuple[str, str]] = []
    read = measures.read

    def recording(account_id: str, ranges: Mapping[Doctype, tuple[str, str]]) -> Any:
        asked.extend(keys for doctype, keys in ranges.items() if doctype is Doctype.MINUTE)
        return read(account_id, ranges)

    monkeypatch.setattr(measures, "read", recording)
    costs, _ = read_costs(measures, account, tariff_of({MONDAY: NIGHT}), window)
    by_curve = {day for day in window.dates() if day in lacking or day + DAY in lacking}
    assert {day for day, one in costs.items() if one.source is EnergySource.CURVE} == by_curve
    of_steps = Counter[date]()
    for entry in curve(MONDAY, 90):
        of_steps[civil_day(entry.key)] += entry.amount
    assert {day: sum(one.by_period.values()) for day, one in costs.items()} == {
        day: of_steps[day] if day in by_curve else 6_000_000 for day in window.dates()
    }
    assert len(asked) == 3
    assert asked[0][0] == period_key(midnight(MONDAY + 2 * DAY) - timedelta(hours=1), Doctype.MINUTE)
    assert all(before[1] <= after[0] for before, after in pairwise(asked))


def test_a_step_at_the_end_of_what_is_read_at_once_counts_once(measures: ByDoctype, account: str) -> None:
    window = DateWindow(MONDAY, MONDAY + 70 * DAY)
    store(measures, account, Doctype.MINUTE, curve(MONDAY, 70))
    costs, _ = read_costs(measures, account, tariff_of({MONDAY: NIGHT}), window)
    energies = sum(sum(one.by_period.values()) for one in costs.values())
    assert energies == sum(entry.amount for entry in curve(MONDAY, 70))


def test_days_by_daily_values_and_what_panels_feed_in_stand_side_by_side(measures: ByDoctype, account: str) -> None:
    window = DateWindow(date(2024, 6, 29), date(2024, 7, 3))
    store(measures, account, Doctype.DAY, [Entry(f"2024-07-0{day}", day * 1_000_000) for day in (1, 2)])
    fed = [Entry("2024-06-30", 3_000_000), Entry("2024-07-01", 5_000_000)]
    store(measures, account, Doctype.PRODUCTION_DAY, fed)
    paid = Price(date(2024, 7, 1), None, {ONLY_PERIOD: Decimal("0.1")})
    choices = TariffChoices(production=(paid,)).put("electricity", price(date(2024, 7, 1), Option.BASE))
    costs = read_costs(measures, account, tariff_of({}, choices=[choices], has_panels=True), window)
    rows = [*rows_by_day(window, Period.MONTH, *costs)]
    assert [(row["production_kwh"], row["production_eur"]) for row in rows] == [("3.000", None), ("5.000", "0.50")]
    (whole,) = rows_by_day(window, Period.YEAR, *costs)
    assert (whole["production_kwh"], whole["production_eur"]) == ("5.000", "0.50")
    assert [row["total_eur"] for row in rows] == [None, f"{3 * CENTS['base'] + 20 / Decimal(31):.2f}"]
    assert [(row["days"], row["expected_days"], row["source"]) for row in rows] == [(0, 2, None), (2, 2, "daily")]
    without = read_costs(measures, account, tariff_of({}, choices=[choices]), window)
    assert not any("production_kwh" in row for row in rows_by_day(window, Period.MONTH, *without))


def test_gas_is_priced_by_days_and_by_published_periods_where_there_are_none(measures: ByDoctype, account: str) -> None:
    window = DateWindow(date(2024, 1, 1), date(2024, 7, 1))
    periods = [gas_period("2024-01-05", "2024-03-05", "600"), gas_period("2024-04-01", "2024-05-01", "30")]
    store(measures, account, Doctype.GAS_PUBLISHED, periods)
    store(measures, account, Doctype.GAS_DAY, [gas_day(date(2024, 4, 1) + place * DAY, "1") for place in range(40)])
    prices = [
        Price(date(2023, 1, 1), date(2024, 1, 31), {ONLY_PERIOD: Decimal("0.1")}),
        Price(date(2024, 2, 1), None, {ONLY_PERIOD: Decimal("0.2")}),
    ]
    tariff = tariff_of({}, supplier="grdf", choices=[TariffChoices(gas=tuple(prices))])
    costs, _ = read_costs(measures, account, tariff, window)
    assert costs[date(2024, 1, 5)].total == EURO * Fraction(27 * 10 * 1 + 33 * 10 * 2, 10)
    assert sum(one.total for day, one in costs.items() if day > date(2024, 3, 1)) == 8 * EURO
    rows = [*rows_by_day(window, Period.YEAR, costs)]
    assert [(row["total_eur"], row["estimated"], row["source"]) for row in rows] == [("101.00", True, "mixed")]


def test_a_gas_period_with_some_daily_values_counts_its_other_days_whatever_time_is_asked_for(
    measures: ByDoctype, account: str
) -> None:
    """The meter was replaced on 10 February; later a day is lacking."""
    first, end, lacking = date(2026, 2, 10), date(2026, 4, 14), date(2026, 3, 20)
    days = [day for day in DateWindow(first, end).dates() if day != lacking]
    periods = [("2026-01-15", "2026-02-14", "30"), ("2026-02-14", "2026-03-14", "28"), ("2026-03-14", end, "33")]
    store(measures, account, Doctype.GAS_DAY, [gas_day(day, "1") for day in days])
    store(measures, account, Doctype.GAS_PUBLISHED, [gas_period(*one) for one in periods])
    paid = Price(date(2020, 1, 1), None, {ONLY_PERIOD: Decimal("0.1")})
    tariff = tariff_of({}, supplier="grdf", choices=[TariffChoices(gas=(paid,))])

    def read(start: date, until: date) -> dict[date, Any]:
        return read_costs(measures, account, tariff, DateWindow(start, until))[0]

    whole = read(date(2026, 1, 1), date(2026, 5, 1))
    energies = {day: one.by_period[ONLY_PERIOD] for day, one in whole.items()}
    assert sum(energies.values()) == 91_000_000 and {one.expected for one in whole.values()} == {1}
    assert {day for day, one in whole.items() if one.estimated} == {
        *DateWindow(date(2026, 1, 15), first).dates(),
        lacking,
    }
    assert (energies[date(2026, 1, 15)], energies[lacking]) == (1_000_000, 3_000_000)
    for start, until in [(date(2026, 1, 1), date(2026, 2, 1)), (date(2026, 2, 1), date(2026, 3, 1)), (lacking, end)]:
        assert read(start, until) == {day: one for day, one in whole.items() if start <= day < until}
