"""Rows of a state that holds until another one is told: a row for each change."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.documents import Entry
from worker.domain.totals import compare_states, state_on

FIRST = date(2024, 1, 1)


def told(day: int, power: int, tariff: str = "BT") -> Entry:
    return Entry((FIRST + timedelta(days=day)).isoformat(), power, details={"tariff": tariff})


def apply(rows: dict[str, Entry], entry: Entry, later: frozenset[str] = frozenset()) -> dict[str, Entry]:
    """Return the rows after an answer, as the store has them."""
    changes = compare_states([entry], rows, later)
    gone = {row.key for row in changes.gone}
    return {key: row for key, row in rows.items() if key not in gone} | {row.key: row for row in changes.changed}


def powers(rows: dict[str, Entry]) -> dict[int, int]:
    return {(date.fromisoformat(key) - FIRST).days: rows[key].amount for key in sorted(rows)}


def in_order(rows: dict[str, Entry]) -> list[Entry]:
    return [rows[key] for key in sorted(rows)]


@pytest.mark.parametrize(("day", "power"), [(-9, 6), (0, 6), (4, 6), (5, 9), (90, 9)])
def test_the_state_of_a_day_is_the_latest_row_not_after_it_and_the_first_before_all(day: int, power: int) -> None:
    row = state_on(FIRST + timedelta(days=day), [told(0, 6), told(5, 9)])
    assert row is not None and row.amount == power
    assert state_on(FIRST, []) is None


def test_only_a_change_makes_a_row() -> None:
    rows: dict[str, Entry] = {}
    for day, power in enumerate([6, 6, 6, 9, 9, 6]):
        rows = apply(rows, told(day, power))
    assert powers(rows) == {0: 6, 3: 9, 5: 6}


def test_a_change_of_a_detail_is_a_change() -> None:
    rows = apply(apply({}, told(0, 6)), told(1, 6, "other"))
    assert powers(rows) == {0: 6, 1: 6}


def test_a_row_that_equals_its_new_predecessor_goes() -> None:
    rows = apply(apply(apply({}, told(0, 6)), told(5, 9)), told(3, 9))
    assert powers(rows) == {0: 6, 3: 9}


def test_a_correction_of_a_day_may_take_its_row_away() -> None:
    rows = apply(apply(apply({}, told(0, 6)), told(3, 9)), told(3, 6))
    assert powers(rows) == {0: 6}


def test_a_day_that_a_later_answer_told_takes_no_earlier_one() -> None:
    rows = apply({}, told(0, 6))
    changes = compare_states([told(3, 9)], rows, {told(3, 9).key})
    assert (changes.changed, changes.gone, changes.late) == ([], [], [told(3, 9)])


answers = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), unique_by=lambda answer: answer[0], max_size=12)


@given(answers)
def test_in_any_order_each_asked_day_reads_right_but_what_no_row_can_tell(order: list[tuple[int, int]]) -> None:
    rows: dict[str, Entry] = {}
    doubtful: set[int] = set()
    known: dict[int, int] = {}
    for day, power in order:
        before = rows
        rows = apply(rows, told(day, power))
        known[day] = power
        doubtful.discard(day)
        # The exception of the docstring: days without a row of their own, up to the next row, when a day before comes.
        next_row = min((other for other in powers(before) if other > day), default=99)
        without = {other for other in known if day < other < next_row and other not in powers(before)}
        doubtful |= without if told(day, power).key in rows else set()
    for day, power in known.items():
        row = state_on(FIRST + timedelta(days=day), in_order(rows))
        assert row is not None
        assert day in doubtful or row.amount == power
    assert all(first != second for first, second in pairwise(powers(rows).values()))


@given(answers)
def test_answers_in_the_order_of_their_days_read_right_without_exception(order: list[tuple[int, int]]) -> None:
    rows: dict[str, Entry] = {}
    for day, power in sorted(order):
        rows = apply(rows, told(day, power))
    for day, power in order:
        row = state_on(FIRST + timedelta(days=day), in_order(rows))
        assert row is not None and row.amount == power


@given(answers, st.data())
def test_an_answer_that_comes_twice_changes_nothing(order: list[tuple[int, int]], data: st.DataObject) -> None:
    rows: dict[str, Entry] = {}
    for day, power in order:
        rows = apply(rows, told(day, power))
    if order:
        day, power = order[-1]
        assert apply(rows, told(day, power)) == rows
