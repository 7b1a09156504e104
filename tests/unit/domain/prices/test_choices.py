"""What an account is on by day: options and prices from a day on, and off-peak hours, given or told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.accounts.prices import CHOICES_JSON
from worker.domain.documents import Entry
from worker.domain.prices import PERIODS, Option, Price, PricesRefused
from worker.domain.prices.choices import (
    OffPeakHours,
    RegulatedChoice,
    TariffChoices,
    Terms,
    format_hours,
    hours_of_contracts,
    read_hours,
    terms_by_day,
)
from worker.domain.prices.regulated import RegulatedTariff
from worker.domain.tariffs import TimeRange
from worker.domain.windows import ONE_DAY, DateWindow

NIGHT, NOON = read_hours("22:00-06:00"), read_hours("12:30-14:30,23:00-05:00")
OPTIONS = st.sampled_from(Option)


def own(first: date, option: Option = Option.BASE, last: date | None = None) -> Price:
    return Price(first, last, {period: Decimal("0.25") for period in PERIODS[option]}, Decimal(120))


def own_file(supplier: str, *prices: Price) -> TariffChoices:
    return TariffChoices(tuple(replace(price, supplier=supplier) for price in prices))


def tariff(option: Option, *powers: int) -> RegulatedTariff:
    price = Price(date(2024, 2, 1), date(2024, 7, 31), {period: Decimal("0.2") for period in PERIODS[option]})
    return RegulatedTariff(1, {power: [price] for power in powers})


def contract(day: str, hours: str | None, activated_on: str | None = None) -> Entry:
    details = {"off_peak_hours": hours, "activated_on": activated_on}
    return Entry(day, 6_000_000, details={name: value for name, value in details.items() if value})


def terms(day: date, choices: TariffChoices, *contracts: Entry) -> Terms | None:
    tariffs = {option: tariff(option, 6) for option in Option}
    return terms_by_day(DateWindow(day, day + ONE_DAY), [choices], tariffs, contracts).get(day)


def ranges(found: Terms | None) -> tuple[TimeRange, ...] | None:
    return (found.hours.ranges or None) if found and found.hours else None


def on_peak_hours(*hours: OffPeakHours) -> TariffChoices:
    return TariffChoices((RegulatedChoice(date(2020, 1, 1), Option.HPHC, 6),), hours=hours)


def test_nothing_is_known_of_the_days_before_the_first_choice() -> None:
    choices = TariffChoices().put("electricity", RegulatedChoice(date(2024, 3, 15), Option.TEMPO, 6))
    window, tariffs = DateWindow(date(2024, 3, 14), date(2024, 3, 17)), {Option.TEMPO: tariff(Option.TEMPO, 6)}
    found = terms_by_day(window, [choices], tariffs)
    assert list(found) == [date(2024, 3, 15), date(2024, 3, 16)]
    assert {one.option for one in found.values()} == {Option.TEMPO}
    assert terms_by_day(window, [], tariffs) == {}


@pytest.mark.parametrize("power", [3, 9])
def test_a_power_without_a_row_has_no_price_and_never_the_nearest(power: int) -> None:
    choices = TariffChoices((RegulatedChoice(date(2024, 3, 1), Option.BASE, power),))
    assert terms(date(2024, 3, 1), choices) == Terms(Option.BASE, None)
    priced = terms(date(2024, 3, 1), choices.put("electricity", RegulatedChoice(date(2024, 3, 1), Option.BASE, 6)))
    assert priced and priced.price


def test_an_option_without_its_file_and_a_day_after_the_files_last_have_no_price() -> None:
    choices = TariffChoices((RegulatedChoice(date(2024, 3, 1), Option.BASE, 6),))
    window = DateWindow(date(2024, 7, 31), date(2024, 8, 2))
    found = terms_by_day(window, [choices], {Option.BASE: tariff(Option.BASE, 6)})
    assert [one.price is None for one in found.values()] == [False, True]
    assert [one.price for one in terms_by_day(window, [choices], {}).values()] == [None, None]


def test_a_choice_replaces_that_of_the_same_day_and_later_ones_stay() -> None:
    first, later = RegulatedChoice(date(2024, 1, 1), Option.BASE, 6), RegulatedChoice(date(2024, 6, 1), Option.TEMPO, 9)
    other = RegulatedChoice(date(2024, 1, 1), Option.HPHC, 12)
    choices = TariffChoices().put("electricity", later).put("electricity", first).put("electricity", other)
    assert choices.electricity == (other, later)
    options = [
        found and found.option for found in (terms(date(2024, 5, 31), choices), terms(date(2024, 6, 1), choices))
    ]
    assert options == [Option.HPHC, Option.TEMPO]
    hours = TariffChoices().put("hours", OffPeakHours(date(2024, 2, 1), NIGHT))
    hours = hours.put("hours", OffPeakHours(date(2024, 1, 1), NIGHT)).put("hours", OffPeakHours(date(2024, 1, 1), NOON))
    assert [one.ranges for one in hours.hours] == [NOON, NIGHT]


def test_own_prices_and_regulated_choices_replace_each_other_by_day() -> None:
    day, later = date(2024, 1, 1), date(2024, 6, 1)
    regulated = RegulatedChoice(day, Option.HPHC, 6)
    choices = TariffChoices().put("electricity", regulated, own(later))
    assert choices.put("electricity", own(day)).electricity == (own(day), own(later))
    assert choices.put("electricity", own(day)).put("electricity", regulated) == choices
    assert [one and one.option for one in (terms(later - ONE_DAY, choices), terms(later, choices))] == ["hphc", "base"]


def test_an_own_price_says_the_option_and_ends_with_its_last_day() -> None:
    price = own(date(2024, 1, 1), Option.HPHC, last=date(2024, 1, 31))
    choices = TariffChoices().put("electricity", price).put("hours", OffPeakHours(date(2024, 1, 1), NIGHT))
    assert terms(date(2024, 1, 31), choices) == Terms(Option.HPHC, price, choices.hours[0])
    assert terms(date(2024, 2, 1), choices) == Terms(Option.HPHC, None, choices.hours[0])


def test_a_file_replaces_the_kinds_that_it_has_and_no_other() -> None:
    paid = Price(date(2024, 1, 1), None, {"price": Decimal("0.1269")}, supplier="Panels")
    choices = TariffChoices().with_own(own_file("Before", own(date(2023, 1, 1)), own(date(2023, 7, 1))))
    choices = choices.with_own(TariffChoices(production=(paid,)))
    assert choices.production == (paid,) and len(choices.electricity) == 2
    after = own_file("After", own(date(2023, 2, 1)))
    choices = choices.with_own(after)
    assert choices == replace(after, production=(paid,))
    regulated, later = RegulatedChoice(date(2022, 1, 1), Option.TEMPO, 6), own_file("Later", own(date(2024, 2, 1)))
    choices = choices.put("electricity", regulated).with_own(later)
    assert choices.electricity == (regulated, *later.electricity)


def test_a_file_replaces_the_regulated_tariff_on_its_days_alone() -> None:
    first, last = date(2024, 2, 1), date(2024, 5, 31)
    file = TariffChoices((own(first, last=last),))
    before, within, after = (
        RegulatedChoice(day, Option.TEMPO, power)
        for power, day in enumerate((date(2023, 1, 1), date(2024, 3, 1), date(2024, 8, 1)), 6)
    )
    choices = TariffChoices((before, within, after))
    again = replace(within, first=last + ONE_DAY)
    for _ in range(2):  # The same file may be sent again.
        choices = choices.with_own(file)
        assert choices.electricity == (before, *file.electricity, again, after)
    assert TariffChoices((after,)).with_own(file).electricity == (*file.electricity, after)
    assert TariffChoices((before,)).with_own(TariffChoices((own(first),))).electricity == (before, own(first))


def test_a_file_replaces_regulated_choices_that_begin_on_its_days_and_no_others() -> None:
    days = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 6, 30), date(2024, 7, 1)]
    before, *_, after = (RegulatedChoice(day, Option.BASE, 6) for day in days)
    regulated = TariffChoices(tuple(RegulatedChoice(day, Option.BASE, 6) for day in days))
    price = own(date(2024, 1, 1), last=date(2024, 6, 30))
    assert regulated.with_own(own_file("", price)).electricity == (before, price, after)
    assert regulated.with_own(own_file("", own(date(2024, 1, 1)))).electricity == (before, own(date(2024, 1, 1)))


def test_a_households_choice_outranks_the_operators_from_its_first_day_on() -> None:
    household = TariffChoices().put("electricity", own(date(2024, 3, 10), last=date(2024, 3, 10)))
    operator = on_peak_hours(OffPeakHours(date(2020, 1, 1), NOON))
    window, tariffs = DateWindow(date(2024, 3, 9), date(2024, 3, 12)), {Option.HPHC: tariff(Option.HPHC, 6)}
    found = list(
        terms_by_day(window, [household, operator], tariffs, [contract("2024-01-01", "HC (22H00-6H00)")]).values()
    )
    assert [one.option for one in found] == [Option.HPHC, Option.BASE, Option.BASE]
    assert [one.price is None for one in found] == [False, False, True]
    assert ranges(found[0]) == NIGHT, "hours are the meter's, never an operator's for all"


def test_given_hours_come_before_those_of_the_contract_from_their_day_on() -> None:
    choices = on_peak_hours(OffPeakHours(date(2024, 5, 1), NOON))
    row = contract("2024-03-01", "HC (22H00-6H00)", "2024-03-01")
    assert ranges(terms(date(2024, 4, 30), choices, row)) == NIGHT
    assert ranges(terms(date(2024, 5, 1), choices, row)) == NOON


def price() -> Price:
    return tariff(Option.HPHC, 6).by_power[6][0]


@pytest.mark.parametrize(
    ("day", "hours", "estimated"),
    [
        (date(2024, 1, 31), None, False),  # Before the contract's activation.
        (date(2024, 2, 1), NIGHT, True),  # Since its activation, and told later.
        (date(2024, 2, 29), NIGHT, True),
        (date(2024, 3, 1), NIGHT, False),  # Since it was told.
        (date(2024, 4, 30), NIGHT, False),  # Others hold once they are told: on the day of their activation these were.
        (date(2024, 5, 1), NOON, False),
        (date(2024, 6, 9), NOON, False),
        (date(2024, 6, 10), None, True),  # A new contract without hours, told later.
        (date(2024, 7, 1), None, False),
    ],
)
def test_hours_of_a_contract_hold_since_they_were_told_and_as_an_estimate_since_it_began(
    day: date, hours: tuple[TimeRange, ...] | None, estimated: bool
) -> None:
    rows = [
        contract("2024-03-01", "HC (22H00-6H00)", "2024-02-01"),
        contract("2024-05-01", "HC (12H30-14H30;23H00-5H00)", "2024-03-01"),
        contract("2024-07-01", None, "2024-06-10"),
    ]
    found = terms(day, on_peak_hours(), *rows)
    is_estimated = bool(found and found.hours and found.hours.estimated)
    assert (ranges(found), is_estimated) == (hours, estimated)


def test_a_contract_that_tells_no_activation_says_nothing_of_the_days_before() -> None:
    assert list(hours_of_contracts([contract("2024-03-01", "HC (22H00-6H00)")])) == [
        OffPeakHours(date(2024, 3, 1), NIGHT)
    ]
    assert terms(date(2024, 2, 29), on_peak_hours(), contract("2024-03-01", "HC (22H00-6H00)")) == Terms(
        Option.HPHC, price()
    )


@pytest.mark.parametrize("text", ["HC (whenever)", "HC ()", "22:00"])
def test_hours_of_a_contract_that_can_not_be_read_are_unknown(text: str) -> None:
    assert [one.ranges for one in hours_of_contracts([contract("2024-03-01", text, "2024-03-01")])] == [()]


@pytest.mark.parametrize("option", [Option.BASE, Option.TEMPO])
def test_only_peak_and_off_peak_hours_need_hours(option: Option) -> None:
    choices = TariffChoices(
        (RegulatedChoice(date(2020, 1, 1), option, 6),), hours=(OffPeakHours(date(2020, 1, 1), NOON),)
    )
    found = terms(date(2024, 3, 1), choices)
    assert found and found.hours is None


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("22:00-06:00", [(22, 0, 6, 0)]),
        (" 12:30-14:30 , 22:00 - 6:00", [(12, 30, 14, 30), (22, 0, 6, 0)]),
        ("22h-6h;12h30-14h30", [(12, 30, 14, 30), (22, 0, 6, 0)]),
        ("22:00-00:00,00:00-06:00", [(0, 0, 6, 0), (22, 0, 0, 0)]),
        ("07:04-23:04", [(7, 4, 23, 4)]),
        ("00:00-12:00,12:00-00:00", [(0, 0, 12, 0), (12, 0, 0, 0)]),
    ],
)
def test_hours_are_read_as_people_write_them(text: str, hours: list[tuple[int, int, int, int]]) -> None:
    assert read_hours(text) == tuple((time(a, b), time(c, d)) for a, b, c, d in hours)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "off-peak hours, range 1: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("22:00-06:00,", "off-peak hours, range 2: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("22:00", "off-peak hours, range 1: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("٢٢:00-06:00", "off-peak hours, range 1: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("12:00-14:00,25:00-06:00", "off-peak hours, range 2: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("12:00-13:60", "off-peak hours, range 1: write it as 22:00-06:00, with times from 00:00 to 23:59"),
        ("22:00-24:00", "off-peak hours, range 1: write 00:00 for 24:00"),
        ("12:00-14:00, 24h-6h", "off-peak hours, range 2: write 00:00 for 24:00"),
        ("22:00 - 22:00", "off-peak hours, range 1: it must end at another time than it begins"),
        ("22:00-06:00,05:00-07:00", "off-peak hours: 22:00-06:00 and 05:00-07:00 overlap"),
        ("12:00-14:00,12:00-14:00", "off-peak hours: 12:00-14:00 and 12:00-14:00 overlap"),
        ("12:00-14:00,20:00-02:00,01:59-02:30", "off-peak hours: 20:00-02:00 and 01:59-02:30 overlap"),
        ("00:00-23:00,12:00-14:00", "off-peak hours: together the ranges are longer than 24 hours"),
    ],
)
def test_hours_that_can_not_be_are_refused_in_one_clear_line(text: str, reason: str) -> None:
    with pytest.raises(PricesRefused) as refusal:
        read_hours(text)
    assert str(refusal.value) == reason


@st.composite
def some_hours(draw: st.DrawFn) -> tuple[TimeRange, ...]:
    """Return one to four ranges that don't overlap, of which one may pass midnight."""
    bounds = sorted(
        draw(st.sets(st.times().map(lambda at: at.replace(second=0, microsecond=0)), min_size=8, max_size=8))
    )
    number, shift = draw(st.integers(1, 4)), draw(st.integers(0, 1))
    bounds = [*bounds[shift:], *bounds[:shift]]
    return tuple(sorted((bounds[2 * place], bounds[2 * place + 1]) for place in range(number)))


@given(some_hours())
def test_hours_that_are_written_are_read_as_the_same(hours: tuple[TimeRange, ...]) -> None:
    assert read_hours(format_hours(hours)) == hours


@given(
    st.lists(st.builds(RegulatedChoice, st.dates(), OPTIONS, st.integers(3, 36)), max_size=4),
    st.lists(st.builds(own, st.dates(), OPTIONS), max_size=4),
    st.lists(st.builds(OffPeakHours, st.dates(), some_hours()), max_size=3),
)
def test_choices_are_the_same_after_they_were_stored(
    regulated: list[RegulatedChoice], prices: list[Price], hours: list[OffPeakHours]
) -> None:
    choices = TariffChoices()
    for one in regulated:
        choices = choices.put("electricity", one)
    for price in prices:
        choices = choices.put("electricity", price)
    for given_hours in hours:
        choices = choices.put("hours", given_hours)
    assert CHOICES_JSON.validate_json(CHOICES_JSON.dump_json(choices)) == choices
    days = [one.first for one in choices.electricity]
    assert days == sorted(set(days))
