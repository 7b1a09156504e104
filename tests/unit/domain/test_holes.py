"""Reasons for an empty curve: not switched on, a gap in the transmission, or only late."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.completeness import (
    MIN_EMPTY_DAYS,
    MIN_EMPTY_DAYS_AFTER_CURVE,
    DayLedger,
    DayState,
    Hole,
    MissingCurve,
    find_all_holes,
    find_holes,
    find_missing_curve,
)
from worker.domain.series import Series

FIRST = date(2024, 7, 1)


def ledger(letters: str) -> DayLedger:
    """Return a ledger with one letter per day, as its text has them; a partial day has ten half-hours."""
    return DayLedger.parse(
        " ".join([FIRST.isoformat(), *(f"1{letter}{'10' if letter == 'p' else ''}" for letter in letters)])
    )


def day(place: int) -> date:
    return FIRST + timedelta(days=place)


def letters_of(daily: str, curve: str) -> str:
    """Return one letter per hole and a dot elsewhere: Not activated, not Yet, Transmission, Late, nothing (0)."""
    signs = {
        Hole.NOT_ACTIVATED: "N",
        Hole.NOT_YET_ACTIVATED: "Y",
        Hole.TRANSMISSION: "T",
        Hole.LATE: "L",
        Hole.NOTHING: "0",
    }
    holes = find_holes(ledger(daily), ledger(curve))
    return "".join(signs[holes[day(place)]] if day(place) in holes else "." for place in range(len(curve)))


@pytest.mark.parametrize(
    "daily, curve, expected",
    [
        ("ccc", "lll", "NNN"),  # There never was a curve: it is switched off.
        ("cc", "ll", "LL"),  # These days are too few to decide.
        ("cclcc", "lllll", "NN0NN"),  # A day without a value is skipped.
        ("ccccl", "lllll", "NNNN0"),
        ("lll", "lll", "000"),
        ("cccccc", "cclccc", "..T..."),
        ("cccccc", "cclpcc", "..T..."),
        ("cccccc", "ccclll", "...LLL"),  # A curve came before, so the supplier may be late for days.
        ("cccccccccc", "ccllllllll", "..NNNNNNNN"),
        ("cccccccccc", "llllllllcc", "YYYYYYYY.."),  # The curve was switched on later.
        ("cccccccccc", "aaaaaaaacc", "YYYYYYYY.."),
        ("cccc", "llcc", "TT.."),
        ("cccc", "bbbb", "...."),
        ("uuuu", "llll", "...."),  # Nothing is known of the daily value.
        ("cccu", "lllu", "NNN."),  # The newest day was not asked for yet.
    ],
)
def test_an_empty_curve_is_told_by_its_neighbours_and_the_daily_values(daily: str, curve: str, expected: str) -> None:
    assert letters_of(daily, curve) == expected


def test_what_is_found_missing_says_since_when_and_what_came_before() -> None:
    assert find_missing_curve(ledger("ccc"), ledger("lll")) == MissingCurve(FIRST, None)
    assert find_missing_curve(ledger("c" * 10), ledger("cc" + "l" * 8)) == MissingCurve(day(2), day(1))
    assert find_missing_curve(DayLedger(), DayLedger()) is None


states = st.text(st.sampled_from("cplabu"), min_size=1, max_size=25)


@many
@given(states, states)
def test_nobody_is_sent_to_switch_on_what_has_come_lately(daily: str, curve: str) -> None:
    missing = find_missing_curve(ledger(daily), ledger(curve))
    holes = find_holes(ledger(daily), ledger(curve))
    assert (missing is not None) == (Hole.NOT_ACTIVATED in holes.values())
    assert all(ledger(curve).mark_of(day).state in (DayState.LATE, DayState.ABSENT) for day in holes)
    if missing is not None:
        inactive_days = [day for day, hole in holes.items() if hole is Hole.NOT_ACTIVATED]
        assert len(inactive_days) >= (MIN_EMPTY_DAYS if missing.last_curve is None else MIN_EMPTY_DAYS_AFTER_CURVE)
        known = curve.rstrip("u")
        assert set(known[(missing.since - FIRST).days :]) <= {"l", "a"}


def test_each_curve_is_compared_with_the_daily_values_of_its_direction() -> None:
    ledgers = {
        Series.DAILY: ledger("ccc"),
        Series.LOAD_CURVE: ledger("clc"),
        Series.PRODUCTION_DAILY: ledger("lll"),
        Series.PRODUCTION_LOAD_CURVE: ledger("clc"),
        Series.REGISTERS: ledger("lll"),
    }
    assert find_all_holes(ledgers) == {
        Series.LOAD_CURVE: {day(1): Hole.TRANSMISSION},
        Series.PRODUCTION_LOAD_CURVE: {day(1): Hole.NOTHING},
    }
    assert find_all_holes({Series.LOAD_CURVE: ledger("clc")}) == {Series.LOAD_CURVE: {}}
