"""The windows still to fetch: known by Redis, and where that was emptied, from what is stored."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from tests.support.factories import content, curve_of, memory_measures, serving_curves, serving_days
from tests.support.strategies import few
from tests.support.window_runs import days, sync_curve, sync_days
from tests.unit.conftest import Household
from worker.domain.answers import Answer, AnswerKind
from worker.domain.documents import ALL_KEYS
from worker.domain.series import USUAL_SERIES, Doctype, Series, intervals_of
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry.tables import ACCOUNTS
from worker.sync.history import covered_days

TODAY = date(2024, 7, 25)
DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE


def three_years() -> dict[date, int]:
    first = TODAY - 1095 * ONE_DAY
    return {first + number * ONE_DAY: 5000 + number for number in range(1095)}


def four_weeks() -> dict[date, object]:
    first = TODAY - 28 * ONE_DAY
    return {first + number * ONE_DAY: curve_of(first + number * ONE_DAY, 100) for number in range(28)}


@pytest.fixture
def filled(household: Household) -> tuple[Household, str]:
    """Return an account whose whole history was fetched in seven calls."""
    household.supplier.daily = serving_days(three_years())
    household.supplier.curve = serving_curves(four_weeks())  # type: ignore[arg-type]
    account = household.add()
    assert len(household.backfill(account)) == 7
    household.supplier.asked.clear()
    return household, account


def test_a_new_account_lacks_everything_and_its_store_is_not_looked_at(household: Household) -> None:
    account = household.add()
    assert [window.days for window in household.history.missing_windows(account, DAILY)] == [365, 365, 365]
    assert [window.days for window in household.history.missing_windows(account, CURVE)] == [7, 7, 7, 7]
    assert household.history.count_days(account, DAILY) == (0, 1095)
    assert sum(store.requests for store in household.measures.values()) == 0


def test_a_history_of_periods_reaches_into_what_is_there_as_far_as_one_call_does(household: Household) -> None:
    account, published = household.add(), intervals_of("grdf")
    look_back = DateWindow(TODAY - 400 * ONE_DAY, TODAY)
    household.history.mark_done(account, published, look_back, None)
    # A period may begin before the look-back and end in it.
    assert household.history.missing_windows(account, published) == [DateWindow(TODAY - 1825 * ONE_DAY, TODAY)]
    household.history.mark_done(account, published, DateWindow(TODAY - 1825 * ONE_DAY, TODAY), None)
    assert household.history.missing_windows(account, published) == []


def test_a_history_of_no_day_is_never_missing(household: Household) -> None:
    without = household.with_settings(curve_days=0)
    account = without.add()
    assert without.history.missing_windows(account, CURVE) == []
    assert without.history.count_days(account, CURVE) == (0, 0)


def test_the_flag_is_set_when_the_last_window_is_done_and_not_before(household: Household) -> None:
    household.supplier.daily = serving_days(three_years())
    account = household.add()
    for number, window in enumerate(household.history.missing_windows(account, DAILY)):
        assert household.history.count_days(account, DAILY) == (365 * number, 1095)
        household.history.mark_done(account, DAILY, window, None)
    assert household.history.missing_windows(account, DAILY) == []


def test_a_full_history_lacks_nothing_and_grows_with_each_night(filled: tuple[Household, str]) -> None:
    household, account = filled
    assert household.backfill(account) == []
    household.at += timedelta(days=1)
    assert household.history.missing_windows(account, CURVE) == [DateWindow(TODAY, TODAY + ONE_DAY)]
    household.run(household.claim_look_back(account, CURVE))
    assert household.history.missing_windows(account, CURVE) == []


def test_a_night_that_ends_after_redis_was_emptied_does_not_hide_what_was_forgotten(
    filled: tuple[Household, str],
) -> None:
    household, account = filled
    household.lose_redis()
    for series in USUAL_SERIES:
        household.run(household.claim_look_back(account, series))
    household.supplier.asked.clear()
    assert household.backfill(account) == []
    assert household.supplier.asked == []


def test_a_look_after_redis_was_emptied_shows_what_is_stored_and_hides_no_loss(
    filled: tuple[Household, str],
) -> None:
    """D: right after a restore `releve home` showed a whole history as missing."""
    household, account = filled
    before = [household.history.count_days(account, series) for series in USUAL_SERIES]
    household.lose_redis()
    assert [household.history.count_days(account, series) for series in USUAL_SERIES] == before
    assert [household.history.undone_windows(account, series) for series in USUAL_SERIES] == [[], []]
    assert household.progress.is_empty(), "the histories are still to be made due"


def test_days_before_the_first_one_are_done_after_redis_was_emptied_too(household: Household) -> None:
    account = household.add()
    household.registry.database.change(update(ACCOUNTS).values(activated_on=TODAY - 10 * ONE_DAY))
    assert household.history.undone_windows(account, DAILY) == [DateWindow(TODAY - 10 * ONE_DAY, TODAY)]


@pytest.mark.parametrize(
    "lost_period, series, key",
    [
        (Doctype.MONTH, DAILY, "2023-11"),
        (Doctype.YEAR, DAILY, "2022"),
        (Doctype.HOUR, CURVE, "2024-07-10T10:00Z"),
        (Doctype.DAY, DAILY, "2023-02-05"),
        (Doctype.MINUTE, CURVE, "2024-07-10T10:30Z"),
    ],
)
def test_what_a_crash_left_half_done_is_fetched_again_after_redis_was_emptied(
    filled: tuple[Household, str], lost_period: Doctype, series: Series, key: str
) -> None:
    household, account = filled
    whole = content(household.measures, account)
    del household.measures[lost_period].documents[f"{account}:{key}"]
    household.lose_redis()
    jobs = household.backfill(account)
    assert {job["series"] for job in jobs} == {series.value}
    assert content(household.measures, account) == whole


def test_a_total_that_is_wrong_is_as_good_as_missing(filled: tuple[Household, str]) -> None:
    household, account = filled
    whole = content(household.measures, account)
    household.measures[Doctype.MONTH].documents[f"{account}:2023-11"]["load"] += 1
    household.lose_redis()
    assert household.backfill(account)
    assert content(household.measures, account) == whole


def test_days_that_the_supplier_never_had_are_asked_again_after_a_loss_and_done_again(household: Household) -> None:
    holed = {day: rows for day, rows in four_weeks().items() if day.day != 10}
    household.supplier.curve = serving_curves(holed)  # type: ignore[arg-type]
    account = household.add()
    household.backfill(account)
    household.lose_redis()
    jobs = [job for job in household.backfill(account) if job["series"] == CURVE.value]
    assert [(job["start"], job["end"]) for job in jobs] == [("2024-07-10", "2024-07-11")]
    assert household.backfill(account) == []


def test_what_lies_before_the_floor_is_done_with(household: Household) -> None:
    floor = date(2024, 5, 1)
    values = {day: energy for day, energy in three_years().items() if day >= floor}
    serve = serving_days(values)
    household.supplier.daily = lambda window: (
        serve(window) if window.start >= floor else Answer(AnswerKind.BEFORE_HISTORY)
    )
    account = household.add()
    jobs = [job for job in household.backfill(account) if job["series"] == DAILY.value]
    assert len(jobs) == 1  # The two older years would only be refused again.
    assert len(content(household.measures, account)[Doctype.DAY]) == len(values)
    assert household.history.count_days(account, DAILY) == (1095, 1095)


def test_a_meter_activated_today_has_no_history_and_no_endless_backfill(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = Answer(AnswerKind.BEFORE_HISTORY)
    account = household.add()
    assert len(household.backfill(account)) == 2
    assert household.history.count_days(account, DAILY) == (1095, 1095)


def test_an_end_too_late_leaves_yesterday_to_the_next_try_without_going_round_in_circles(household: Household) -> None:
    serve = serving_days(three_years())
    household.supplier.daily = lambda window: serve(window) if window.end < TODAY else Answer(AnswerKind.END_TOO_LATE)
    account = household.add()
    household.backfill(account)
    assert len(content(household.measures, account)[Doctype.DAY]) == 1094
    household.at += timedelta(days=1)
    household.supplier.daily = serve
    household.run(household.claim_look_back(account, DAILY))
    assert len(content(household.measures, account)[Doctype.DAY]) == 1095


def stored(measures: MeasureStore, series: Series) -> dict[Doctype, list[dict[str, object]]]:
    return measures.read("home1", dict.fromkeys((series.inputs, *series.totals), ALL_KEYS))


@few
@given(st.sets(st.integers(0, 40), min_size=1, max_size=15))
def test_the_days_that_are_covered_are_those_that_were_synced(offsets: set[int]) -> None:
    values = {date(2023, 12, 10) + number * ONE_DAY: 1000 + number for number in offsets}
    measures = memory_measures()
    sync_days(measures, values)
    assert sorted(covered_days(DAILY, stored(measures, DAILY))) == sorted(values)


@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 6, 1), date(2024, 10, 27)])
@pytest.mark.parametrize("minutes", [10, 30, 60])
def test_a_day_of_curve_is_covered_when_its_last_step_is_there(day: date, minutes: int) -> None:
    rows, measures = curve_of(day, 100, minutes), memory_measures()
    sync_curve(measures, {day: rows[:-1]})
    assert covered_days(CURVE, stored(measures, CURVE)) == []
    sync_curve(measures, {day: rows})
    assert covered_days(CURVE, stored(measures, CURVE)) == [day]


def test_no_documents_cover_no_days() -> None:
    assert covered_days(DAILY, stored(memory_measures(), DAILY)) == []
    measures = memory_measures()
    sync_days(measures, days("2024-01-01", 1))
    measures[Doctype.YEAR].documents.clear()
    assert covered_days(DAILY, stored(measures, DAILY)) == []
