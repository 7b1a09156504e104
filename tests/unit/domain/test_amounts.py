"""Amounts as text: rounded half up, lists that add up to their total, and percents that never say too much."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.documents import (
    count_places,
    format_kwh,
    format_percent,
    round_change,
    round_half_up,
    round_kwh,
    round_share,
    to_kwh,
)
from worker.web.texts import Words

ENGLISH, FRENCH = Words("en"), Words("fr")
whole_wh = st.integers(0, 900_000).map(lambda wh: 1000 * wh)
whole_mwh = st.integers(0, 36_000_000)


@pytest.mark.parametrize(
    ("milliwatt_hours", "places", "text"),
    [
        (62_500, 3, "0.063"),
        (10_125_000, 2, "10.13"),
        (2_500_000, 0, "3"),
        (1_500_000, 0, "2"),
        (499_999, 0, "0"),
        (1, 3, "0.000"),
        (500, 3, "0.001"),
        (-62_500, 3, "-0.063"),
        (-1, 3, "0.000"),
        (1, 6, "0.000001"),
        (12_345_678_901_500, 3, "12345678.902"),
    ],
)
def test_energy_is_rounded_half_up(milliwatt_hours: int, places: int, text: str) -> None:
    assert format_kwh(milliwatt_hours, places) == text
    assert ENGLISH.kwh(milliwatt_hours, places).replace(",", "").replace("−", "-") == text
    assert FRENCH.kwh(milliwatt_hours, places).replace("\u202f", "").replace("−", "-") == text.replace(".", ",")


@pytest.mark.parametrize(
    ("milliwatt_hours", "text"),
    [(0, "0.000"), (10_125_000, "10.125"), (62_500, "0.0625"), (83_333, "0.083333"), (50, "0.00005"), (1, "0.000001")],
)
def test_without_a_number_of_places_energy_has_all_its_places(milliwatt_hours: int, text: str) -> None:
    assert format_kwh(milliwatt_hours) == text


def test_the_places_of_a_list_are_those_that_all_of_it_needs() -> None:
    assert count_places([]) == count_places([0, 1_000, 5_000_000]) == 3
    assert count_places([0, 5_000], least=4) == 4
    assert count_places([1_000, 62_500]) == 4
    assert count_places([125_000, 31_250]) == 5
    assert count_places([83_333]) == 6
    assert count_places([2_500_000, 5_000_000], least=0) == 1


def added_up(texts: list[str]) -> Decimal:
    return sum((Decimal(text.replace(",", "")) for text in texts), Decimal())


@pytest.mark.parametrize(
    ("energies", "total"),
    [
        ([10_125_000] * 30, "303.75"),
        ([62_500] * 48, "3.00"),
        ([83_333] * 288, "24.00"),  # Steps of 5 minutes at 1 kW: 83 and a third Wh, of which whole mWh are stored.
    ],
)
def test_a_list_adds_up_to_its_total(energies: list[int], total: str) -> None:
    texts = [ENGLISH.kwh(energy, count_places(energies)) for energy in energies]
    assert added_up(texts) == round_kwh(sum(energies), count_places(energies))
    assert ENGLISH.kwh(sum(energies), 2) == total
    assert f"{added_up(texts):.2f}" == total


@given(st.one_of(st.lists(whole_wh), st.lists(whole_mwh)), st.integers(0, 6))
def test_any_list_adds_up_and_a_coarser_total_is_the_true_one_rounded(energies: list[int], coarser: int) -> None:
    places, total = count_places(energies), sum(energies)
    assert added_up([ENGLISH.kwh(energy, places) for energy in energies]) == added_up([ENGLISH.kwh(total, places)])
    assert added_up([format_kwh(energy) for energy in energies]) == Decimal(format_kwh(total, places))
    shown, true = Fraction(format_kwh(total, coarser)), Fraction(total, 1_000_000)
    assert abs(shown - true) <= Fraction(1, 2 * 10**coarser)
    assert shown >= true or true - shown < Fraction(1, 2 * 10**coarser)  # A half is rounded up.


@given(
    st.integers(-(10**15), 10**15) | st.fractions(-(10**6), 10**6, max_denominator=60),
    st.sampled_from([10**power for power in range(7)]),
)
def test_half_up_is_the_same_on_both_sides_of_zero(value: int | Fraction, unit: int) -> None:
    assert round_half_up(-value, unit) == -round_half_up(value, unit)
    assert abs(round_half_up(value, unit) - value) * 2 <= unit and round_half_up(value, unit) % unit == 0


def test_a_fraction_is_rounded_once() -> None:
    assert round_kwh(Fraction(999, 2), 3) == Decimal("0.000")  # Not by way of 500 mWh.
    assert round_kwh(500, 3) == Decimal("0.001")


@given(whole_mwh)
def test_the_number_for_json_has_all_the_places(milliwatt_hours: int) -> None:
    assert Decimal(repr(to_kwh(milliwatt_hours))) == Decimal(milliwatt_hours) / 1_000_000


@pytest.mark.parametrize(
    ("part", "whole", "english", "french"),
    [
        (0, 500, "0%", "0 %"),
        (1, 500, "0.2%", "0,2 %"),
        (1, 100_000, "0.1%", "0,1 %"),
        (125, 1000, "12.5%", "12,5 %"),
        (1, 2, "50%", "50 %"),
        (1, 2000, "0.1%", "0,1 %"),
        (2, 3, "66.7%", "66,7 %"),
        (498, 500, "99.6%", "99,6 %"),
        (99_999, 100_000, "99.9%", "99,9 %"),
        (500, 500, "100%", "100 %"),
        (501, 500, "100.2%", "100,2 %"),
        (3_000_001, 3_000_000, "100%", "100 %"),
    ],
)
def test_a_share_is_whole_only_where_nothing_lacks(part: int, whole: int, english: str, french: str) -> None:
    assert ENGLISH.percent(part, whole) == english
    assert FRENCH.percent(part, whole).replace("\u202f", " ").replace("\N{NO-BREAK SPACE}", " ") == french
    assert format_percent(part, whole).replace(".0%", "%") == english


@given(st.integers(0, 10**7), st.integers(1, 10**7), st.sampled_from([7, 100, 1000]))
def test_a_share_is_nothing_or_all_only_where_it_is(part: int, whole: int, steps: int) -> None:
    share = round_share(part, whole, steps)
    assert (share == 0) == (part == 0)
    assert part >= whole or share < steps
    assert abs(Fraction(share) - Fraction(part * steps, whole)) < 1


@pytest.mark.parametrize(
    ("now", "before", "english"),
    [
        (9, 8, "+13%"),
        (7, 8, "−13%"),
        (23, 25, "−8%"),
        (2, 1, "+100%"),
        (1005, 1000, "+1%"),
        (1, 1000, "−99%"),
        (0, 1000, "−100%"),
        (23_345, 1000, "+2,235%"),
    ],
)
def test_a_change_is_rounded_half_up_from_whole_numbers(now: int, before: int, english: str) -> None:
    change = round_change(now, before)
    assert ENGLISH.change(change) == english
    french = FRENCH.change(change).replace("\u202f", "").replace("\N{NO-BREAK SPACE}", " ").replace(" ", "")
    assert french == english.replace(",", "")


def test_a_change_of_less_than_half_a_percent_is_none() -> None:
    assert round_change(1004, 1000) == round_change(996, 1000) == round_change(5, 5) == 0
