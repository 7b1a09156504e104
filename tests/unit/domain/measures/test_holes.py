"""Curve empty, daily value present: not switched on, a gap of the transmission, or just late."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.measures.completeness import DayState, Ledger
from worker.domain.measures.holes import IN_A_ROW, IN_A_ROW_AFTER_A_CURVE, Hole, MissingCurve, find_holes, missing_curve

FIRST = date(2024, 7, 1)


def ledger(letters: str) -> Ledger:
    """A letter a day, as a ledger writes them; a partial day has ten half-hours."""
    return Ledger.parse(" ".join([FIRST.isoformat(), *(f"1{each}{'10' if each == 'p' else ''}" for each in letters)]))


def day(place: int) -> date:
    return FIRST + timedelta(days=place)


def letters_of(daily: str, curve: str) -> str:
    """The holes' first letters, a dot elsewhere: Not activated, not Yet, Transmission, Late, nothing (0)."""
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
    "daily, curve, found",
    [
        ("ccc", "lll", "NNN"),  # never a curve: switched off
        ("cc", "ll", "LL"),  # too few to tell
        ("cclcc", "lllll", "NN0NN"),  # a day without its value breaks no row
        ("ccccl", "lllll", "NNNN0"),
        ("lll", "lll", "000"),
        ("cccccc", "cclccc", "..T..."),
        ("cccccc", "cclpcc", "..T..."),
        ("cccccc", "ccclll", "...LLL"),  # it came before: the supplier may be late for days
        ("cccccccccc", "ccllllllll", "..NNNNNNNN"),
        ("cccccccccc", "llllllllcc", "YYYYYYYY.."),  # switched on later
        ("cccccccccc", "aaaaaaaacc", "YYYYYYYY.."),
        ("cccc", "llcc", "TT.."),
        ("cccc", "bbbb", "...."),
        ("uuuu", "llll", "...."),  # nothing is known of the value
        ("cccu", "lllu", "NNN."),  # the newest day was not asked for yet
    ],
)
def test_an_empty_curve_is_told_by_its_neighbours_and_the_daily_values(daily: str, curve: str, found: str) -> None:
    assert letters_of(daily, curve) == found


def test_what_is_found_missing_says_since_when_and_what_came_before() -> None:
    assert missing_curve(ledger("ccc"), ledger("lll")) == MissingCurve(FIRST, None)
    assert missing_curve(ledger("c" * 10), ledger("cc" + "l" * 8)) == MissingCurve(day(2), day(1))
    assert missing_curve(Ledger(), Ledger()) is None


states = st.text(st.sampled_from("cplabu"), min_size=1, max_size=25)


@many
@given(states, states)
def test_nobody_is_sent_to_switch_on_what_has_come_lately(daily: str, curve: str) -> None:
    missing = missing_curve(ledger(daily), ledger(curve))
    holes = find_holes(ledger(daily), ledger(curve))
    assert (missing is not None) == (Hole.NOT_ACTIVATED in holes.values())
    assert all(ledger(curve).of(each).state in (DayState.LATE, DayState.ABSENT) for each in holes)
    if missing is not None:
        found = [each for each, hole in holes.items() if hole is Hole.NOT_ACTIVATED]
        assert len(found) >= (IN_A_ROW if missing.last_curve is None else IN_A_ROW_AFTER_A_CURVE)
        known = curve.rstrip("u")
        assert set(known[(missing.since - FIRST).days :]) <= {"l", "a"}
