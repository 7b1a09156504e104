"""Which days of a history were asked for, by the ledger of days, and the windows that are still missing."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import few, several
from tests.unit.domain.test_completeness import TODAY, days, ledger_of, notes
from worker.domain.completeness import (
    BEFORE,
    COMPLETE,
    UNKNOWN,
    DayLedger,
    DayMark,
    DayState,
    mark_days,
    next_ask,
)
from worker.domain.schedule import Turn, next_request
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow, HistoryDays, plan_history, subtract_windows

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
WANTED = DateWindow(TODAY - 60 * ONE_DAY, TODAY)


def history_of(ledger: DayLedger, series: Series = CURVE) -> HistoryDays:
    return HistoryDays(series, WANTED, ledger.asked_windows())


@pytest.mark.parametrize(
    ("mark", "asked"),
    [
        (COMPLETE, True),
        (DayMark(DayState.FILE), True),
        (DayMark(DayState.AGAIN), True),
        (DayMark(DayState.ABSENT), True),
        (BEFORE, True),
        (DayMark(DayState.LATE, 0, 3), True),
        (DayMark(DayState.PARTIAL, 46, 0), True),
        (DayMark(DayState.SET_ASIDE, 0, 8), True),
        (UNKNOWN, False),
        (DayMark(DayState.LATE), False),
        (DayMark(DayState.PARTIAL, 46), False),
    ],
)
def test_a_day_was_asked_for_if_it_has_an_end_or_an_age(mark: DayMark, asked: bool) -> None:
    assert mark.asked is asked


@several
@given(notes, st.just(date.min) | days)
def test_the_windows_asked_for_are_the_days_one_by_one(updates: list[dict[date, DayMark]], first_day: date) -> None:
    ledger = ledger_of(updates)
    floors = [day + ONE_DAY for day, mark in ledger.days() if mark == BEFORE]
    floor = max([first_day, *floors])
    windows = ledger.asked_windows(first_day)
    missing = {day for window in subtract_windows(WANTED, windows) for day in window.dates()}
    assert missing == {day for day in WANTED.dates() if day >= floor and not ledger.mark_of(day).asked}


@few
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=8), st.randoms())
def test_windows_stored_in_any_order_leave_the_same_days_missing(spans: list[tuple[int, int]], random: object) -> None:
    starts = [(WANTED.start + first * ONE_DAY, days) for first, days in spans]
    asked = [DateWindow(start, start + days * ONE_DAY) for start, days in starts]
    shuffled = list(asked)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (
        history_of(ledger_of([mark_days(window, {}, TODAY) for window in order])) for order in (asked, shuffled)
    )
    assert one.undone_windows() == other.undone_windows() == subtract_windows(WANTED, asked)
    done, total = one.count()
    assert (total - done, total) == (sum(window.days for window in one.undone_windows()), 60)
    assert bool(one.missing_windows()) == bool(one.undone_windows())


@few
@given(notes, st.sampled_from([DAILY, CURVE]))
def test_a_history_comes_to_rest_when_its_missing_windows_were_asked_for(
    updates: list[dict[date, DayMark]], series: Series
) -> None:
    ledger = ledger_of(updates)
    for window in history_of(ledger, series=series).missing_windows():
        empty = {str(day): 0 for day in window.dates()}
        ledger = ledger.with_marks(mark_days(window, empty, TODAY))
    history = history_of(ledger, series=series)
    assert (history.missing_windows(), history.loaded) == ([], True)


def test_a_floor_is_marked_below_the_days_that_are_stored() -> None:
    ledger = DayLedger.parse("2024-07-01 2l@30 3c 1p46@2 5c")
    assert str(ledger.with_floor(date(2024, 7, 4))) == "2024-07-01 1l@30 1b 3c 1p46@2 5c"
    assert str(ledger.with_floor(date(2024, 7, 10))) == str(ledger.with_floor(date(2024, 7, 4)))
    assert str(DayLedger().with_floor(date(2024, 7, 4))) == "2024-07-03 1b"


def test_a_floor_hides_no_later_day() -> None:
    ledger = DayLedger.parse("2024-07-03 1b 1u 5c")
    assert history_of(ledger).undone_windows()[0] == DateWindow(date(2024, 7, 4), date(2024, 7, 5))


def test_a_history_is_loaded_when_the_look_back_has_the_rest() -> None:
    reach = TODAY - CURVE.description.look_back_days * ONE_DAY
    until = {end: HistoryDays(CURVE, WANTED, [DateWindow(WANTED.start, end)]) for end in (reach - ONE_DAY, reach)}
    assert [one.loaded for one in until.values()] == [False, True]
    short = DateWindow(TODAY - ONE_DAY, TODAY)
    assert not HistoryDays(CURVE, short, []).loaded, "a look-back alone has loaded nothing"
    assert HistoryDays(CURVE, None, []).loaded and HistoryDays(CURVE, None, []).count() == (0, 0)


def test_a_series_that_not_every_night_asks_for_lacks_nothing_since_its_last_turn() -> None:
    series = Series.CONTRACT if not Series.CONTRACT.is_nightly else Series.MAX_POWER
    wanted = plan_history(TODAY, series, 28)
    assert wanted is not None
    last_turn = wanted.end - (series.description.cadence_nights - 1) * ONE_DAY
    history = HistoryDays(series, wanted, [DateWindow(date.min, last_turn)] if last_turn > wanted.start else [wanted])
    assert history.missing_windows() == []


def test_a_day_that_nobody_was_asked_for_belongs_to_the_history_and_not_to_the_repair() -> None:
    day, mark = TODAY - 400 * ONE_DAY, DayMark(DayState.PARTIAL, 20)
    assert next_ask(day, mark, CURVE) is None
    assert DayLedger(day, [mark]).due_days(TODAY, CURVE) == []
    now = datetime.fromisoformat("2024-07-25T09:00:00+02:00")
    turn = Turn(nightly_at=now.time(), history_at=now + timedelta(hours=2))
    assert next_request(CURVE, day, mark, now, turn) == now + timedelta(hours=2)
    assert next_request(CURVE, day, DayMark(DayState.PARTIAL, 20, 400), now, turn) is None


@pytest.mark.parametrize("from_file", [0, 1, 5], ids=["no day before it", "the day before it", "some days before it"])
def test_a_file_from_before_the_suppliers_floor_leaves_the_floor_known(from_file: int) -> None:
    floor = TODAY - 30 * ONE_DAY
    asked = {floor + number * ONE_DAY: COMPLETE for number in range(30)}
    known = DayLedger().with_marks(asked).with_floor(floor)
    assert history_of(known).missing_windows() == []
    imported = known.with_file({floor - number * ONE_DAY: DayMark(DayState.FILE) for number in range(1, from_file + 1)})
    assert history_of(imported).missing_windows() == []
