"""Parsers of one raw value to energy: a bad value is None, never zero."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import bad_values, json_values, many, watts
from worker.domain.parsing.timestamps import parse_step_minutes
from worker.domain.parsing.values import parse_number, to_energy


@many
@given(bad_values)
def test_a_bad_value_is_no_number(raw: Any) -> None:
    assert parse_number(raw) is None


@pytest.mark.parametrize(
    "raw",
    [-1e-7, -5e-324, "-0.000000000001", "-1e-7", 1e12, 10**5000, -(10**5000), "9" * 5000, "1_000", "0b1", "1 2", b"1"],
    ids=lambda raw: type(raw).__name__,
)
def test_what_is_below_zero_or_beyond_reason_is_no_number_however_it_is_written(raw: Any) -> None:
    assert parse_number(raw) is None


@pytest.mark.parametrize(
    "raw, number",
    [(0, 0), ("0", 0), (0.0, 0), (-0.0, 0), ("-0", 0), (" 3000 ", 3000), ("12.5", "12.5"), (1200.0, 1200), ("007", 7)],
)
def test_zero_and_plain_numbers_are_good_in_every_spelling(raw: Any, number: Any) -> None:
    parsed = parse_number(raw)
    assert parsed == Decimal(number)
    assert parsed is not None and not parsed.is_signed()


@many
@given(json_values)
def test_any_value_is_read_or_kept_out(raw: Any) -> None:
    number = parse_number(raw)
    assert number is None or 0 <= number < 10**9


@many
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_float_gives_a_number_only_if_it_is_one_of_zero_or_more(raw: float) -> None:
    number = parse_number(raw)
    if 0 <= raw < 10**9 - 1:
        assert number is not None and abs(float(number) - raw) <= 1e-6
    elif not 0 <= raw < 10**9:
        assert number is None


@many
@given(watts, st.sampled_from([5, 10, 15, 30, 60]))
def test_the_divisor_follows_the_step(number: int, minutes: int) -> None:
    energy = to_energy(str(number), minutes)
    assert energy is not None and abs(energy - number * minutes * 1000 / 60) <= 0.5
    assert to_energy(number, 60) == number * 1000


@pytest.mark.parametrize(
    "raw, minutes",
    [
        (None, 30),
        ("", 30),
        ("PT5M", 5),
        ("PT10M", 10),
        ("PT15M", 15),
        ("PT30M", 30),
        ("PT60M", 60),
        ("PT1H", 60),
        ("1800", 30),
        (3600, 60),
        (" PT30M ", 30),
    ],
)
def test_a_step_is_read_in_every_spelling(raw: Any, minutes: int) -> None:
    assert parse_step_minutes(raw) == minutes


@pytest.mark.parametrize(
    "raw", ["PT0M", "PT7M", "PT2H", "P1D", "PT", "30", "PT30S", "1801", -1800, True, 1800.0, [], {}]
)
def test_a_length_that_is_no_step_is_kept_out(raw: Any) -> None:
    assert parse_step_minutes(raw) is None


@many
@given(json_values)
def test_any_length_is_a_part_of_the_day_or_nothing(raw: Any) -> None:
    minutes = parse_step_minutes(raw)
    assert minutes is None or (0 < minutes <= 60 and 1440 % minutes == 0)


@pytest.mark.parametrize("odd", ["١٢٣", "²", "", "-5", "1e3", "0x1", "1_0"])
def test_what_only_looks_like_digits_is_no_energy(odd: str) -> None:
    assert to_energy(odd, 30) is None
