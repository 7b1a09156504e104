"""The walk of one window: the same store whatever happens on the way, and nothing lost at any instant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    USAGE_POINT,
    PretendAccounts,
    PretendSupplier,
    Reports,
    content,
    curve_of,
    make_walk,
    memory_measures,
    origin,
    serving_curves,
    serving_days,
    v5_answer,
)
from tests.support.strategies import few
from tests.support.window_runs import (
    FIRST_RUN,
    Stores,
    days,
    revisions,
    sync_curve,
    sync_days,
    truth_of_days,
    window_over,
)
from worker.domain.measures.answers import Answer, AnswerKind
from worker.domain.measures.documents import to_timestamp
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.errors import (
    DataError,
    SupplierUnavailable,
    UnknownAccount,
    UnknownUsagePoint,
    WriteRefused,
)
from worker.stores.measures.base import Document

JUNE = DateWindow(date(2024, 6, 1), date(2024, 6, 11))
AUTUMN_WEEK = DateWindow(date(2024, 10, 24), date(2024, 10, 31))


# -- what is stored


@few
@given(
    st.dictionaries(st.dates(date(2023, 11, 20), date(2024, 2, 10)), st.integers(0, 10**6), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 80), st.integers(1, 60)), max_size=4),
    st.randoms(),
)
def test_days_give_the_same_store_in_whatever_windows_and_order_they_come(values, cuts, random) -> None:  # type: ignore[no-untyped-def]
    whole = window_over(values)
    windows = [whole, *(DateWindow(whole.start + first * ONE_DAY, whole.start + (first + length) * ONE_DAY)
                        for first, length in cuts)]  # fmt: skip
    random.shuffle(windows)
    measures = memory_measures()
    for window in windows:
        sync_days(measures, values, window=window)
    assert content(measures) == truth_of_days(values)
    before = revisions(measures)
    for window in windows:
        report = sync_days(measures, values, window=window)
        assert (report["created"], report["updated"]) == (0, 0)
    assert revisions(measures) == before


@few
@given(
    st.permutations(range(7)), st.sampled_from([date(2024, 3, 28), date(2024, 10, 24), date(2024, 7, 1)]), st.randoms()
)
def test_curves_give_the_same_store_in_whatever_order_days_and_readings_come(order, first, random) -> None:  # type: ignore[no-untyped-def]
    every = [first + number * ONE_DAY for number in range(7)]
    rows = {day: curve_of(day, 100 * number, (30, 60, 10)[number % 3]) for number, day in enumerate(every)}
    at_once, piecemeal = memory_measures(), memory_measures()
    sync_curve(at_once, rows)
    for number in order:
        day = every[number]
        shuffled = {day: random.sample(rows[day], len(rows[day])) if number % 3 != 1 else rows[day]}
        if day in (date(2024, 3, 31), date(2024, 10, 27)):  # the order is what tells the two passes apart
            shuffled = {day: rows[day]}
        sync_curve(piecemeal, shuffled)
    assert content(piecemeal) == content(at_once)
    energy = sum(Fraction(int(row[1]) * int(row[2][2:-1]), 60_000) for day in every for row in rows[day])
    for period in (Period.MINUTE, Period.HOUR):
        assert sum(content(at_once)[period].values()) == pytest.approx(float(energy), abs=0.02)
    report = sync_curve(piecemeal, rows)
    assert (report["created"], report["updated"]) == (0, 0)


def test_a_corrected_value_and_a_value_filled_late_both_come_in() -> None:
    measures = memory_measures()
    sync_days(measures, days("2024-05-09", 9000, 8000))
    corrected = days("2024-05-09", 9000, 8640, 7000)
    report = sync_days(measures, corrected)
    assert (report["created"], report["updated"], report["unchanged"]) == (1, 3, 1)
    assert content(measures) == truth_of_days(corrected)


def test_what_is_stored_outlives_an_answer_that_has_lost_it() -> None:
    measures, values = memory_measures(), days("2024-08-01", 4000, 5000)
    sync_days(measures, values)
    before = content(measures)
    for answer in ({}, {date(2024, 8, 1): None}, {date(2024, 8, 2): "-2"}):
        sync_days(measures, answer, window=window_over(values))
        assert content(measures) == before


def test_the_two_series_do_not_disturb_each_other_in_either_order() -> None:
    values, rows = days("2024-01-15", 9000), {date(2024, 1, 15): curve_of(date(2024, 1, 15), 300)}
    one, other = memory_measures(), memory_measures()
    sync_days(one, values)
    sync_curve(one, rows)
    sync_curve(other, rows)
    sync_days(other, values)
    assert content(one) == content(other)


def test_two_accounts_share_nothing_even_where_one_name_begins_like_the_other() -> None:
    measures = memory_measures()
    first, second = days("2024-02-28", 10412, 9876, 12003), days("2023-12-30", 15000, 17250, 16250)
    sync_days(measures, first, "home1")
    sync_days(measures, second, "home10")
    assert content(measures, "home1") == truth_of_days(first)
    assert content(measures, "home10") == truth_of_days(second)
    assert sum(len(store.documents) for store in measures.values()) == 6 + 7
    for home, values in (("home1", first), ("home10", second)):
        report = sync_days(measures, values, home)
        assert (report["created"], report["updated"]) == (0, 0)


def test_a_step_that_grew_over_the_one_before_keeps_the_energy_of_both_documents() -> None:
    """60 minutes, corrected later to two half-hours: the hour is the sum of what is stored."""
    measures, day = memory_measures(), date(2024, 1, 15)
    sync_curve(measures, {day: [["2024-01-15 01:00:00", "1000", "PT60M"]]})
    sync_curve(measures, {day: [["2024-01-15 00:30:00", "800", "PT30M"], ["2024-01-15 01:00:00", "1200", "PT30M"]]})
    assert content(measures)[Period.MINUTE] == {"2024-01-14T23:00Z": 0.4, "2024-01-14T23:30Z": 0.6}
    assert content(measures)[Period.HOUR] == {"2024-01-14T23:00Z": 1.0}


# -- what travels


@pytest.mark.parametrize("series", Series)
def test_each_step_hands_on_json_without_anything_personal(series: Series) -> None:
    supplier = PretendSupplier(
        daily=serving_days(days("2024-10-24", 1, 2, 3)),
        curve=serving_curves({date(2024, 10, 27): curve_of(date(2024, 10, 27), 100)}),
    )
    measures = memory_measures()
    direct = make_walk(supplier, measures).sync_window(origin(AUTUMN_WEEK, series))
    posted = memory_measures()
    walk, message = make_walk(supplier, posted), origin(AUTUMN_WEEK, series)
    for step in (walk.fetch, walk.filter_known, walk.aggregate, walk.store):
        wire = json.dumps(step(message))  # type: ignore[arg-type]
        assert USAGE_POINT not in wire
        message = json.loads(wire)
    assert message == direct
    assert content(posted) == content(measures)


def test_a_report_tells_what_was_taken_and_what_was_kept_out() -> None:
    rows = [
        ["2024-06-01", "5000"],
        ["2024-06-01", "5100"],
        ["2024-06-02", None],
        ["2024-06-03", "6000"],
        ["2024-07-09", 1],
    ]
    report = make_walk(PretendSupplier(daily=v5_answer(rows))).sync_window(origin(JUNE, Series.DAILY))
    assert report["facts"] == {
        "fetched": 2,
        "asked_at": NOW.timestamp(),
        "fetched_at": to_timestamp(NOW),
        "dropped": 2,
        "differing": 1,
        "last_day": "2024-06-03",
        "floor": None,
        "open": [[1, 1, 0], [3, 7, 0]],
    }


# -- what the supplier may say


def test_no_data_is_a_success_without_a_reading() -> None:
    progress, measures = Reports(), memory_measures()
    report = make_walk(PretendSupplier(), measures, progress=progress).sync_window(origin(JUNE, Series.DAILY))
    assert (report["created"], report["facts"]["fetched"], report["facts"]["last_day"]) == (0, 0, None)
    assert progress.finished_with == [report]


def test_a_window_refused_as_too_long_is_asked_again_with_six_days() -> None:
    rows = {
        AUTUMN_WEEK.start + number * ONE_DAY: curve_of(AUTUMN_WEEK.start + number * ONE_DAY, 200) for number in range(7)
    }
    serve = serving_curves(rows)
    supplier = PretendSupplier(curve=lambda asked: serve(asked) if asked.days <= 6 else Answer(AnswerKind.TOO_LONG))
    measures, expected = memory_measures(), memory_measures()
    report = make_walk(supplier, measures).sync_window(origin(AUTUMN_WEEK, Series.LOAD_CURVE))
    assert [asked.days for _, asked in supplier.asked] == [7, 6, 1]
    sync_curve(expected, rows)
    assert content(measures) == content(expected)
    assert (report["facts"]["fetched"], report["end"]) == (338, "2024-10-31")


@pytest.mark.parametrize("known_days", [0, 1, 4, 9])
def test_a_window_that_begins_before_the_history_finds_its_first_day(known_days: int) -> None:
    floor = JUNE.end - known_days * ONE_DAY
    values = {floor + number * ONE_DAY: 1000 + number for number in range(known_days)}
    serve = serving_days(values)
    supplier = PretendSupplier(
        daily=lambda asked: serve(asked) if asked.start >= floor else Answer(AnswerKind.BEFORE_HISTORY)
    )
    measures = memory_measures()
    report = make_walk(supplier, measures).sync_window(origin(JUNE, Series.DAILY))
    assert report["facts"]["floor"] == floor.isoformat()
    assert content(measures) == truth_of_days(values)


def test_an_end_too_late_leaves_its_last_day_undone() -> None:
    values = {JUNE.start + number * ONE_DAY: 1000 for number in range(9)}
    serve = serving_days(values)
    supplier = PretendSupplier(
        daily=lambda asked: serve(asked) if asked.end < JUNE.end else Answer(AnswerKind.END_TOO_LATE)
    )
    progress, measures = Reports(), memory_measures()
    make_walk(supplier, measures, progress=progress).sync_window(origin(JUNE, Series.DAILY))
    assert [(report["start"], report["end"]) for report in progress.finished_with] == [("2024-06-01", "2024-06-10")]
    assert content(measures) == truth_of_days(values)


@pytest.mark.parametrize(
    "refusal, expected", [(SupplierUnavailable("down"), SupplierUnavailable), ("no envelope at all", DataError)]
)
def test_an_answer_that_failed_writes_nothing_and_is_not_called_done(refusal: Any, expected: type[Exception]) -> None:
    progress, measures = Reports(), memory_measures()
    walk = make_walk(PretendSupplier(daily=refusal), measures, progress=progress)
    with pytest.raises(expected):
        walk.sync_window(origin(JUNE, Series.DAILY))
    assert progress.finished_with == []
    assert not any(store.documents for store in measures.values())


# -- order


def watch(measures: Stores, seen: list[str]) -> None:
    for period, store in measures.items():
        store.before_read = lambda *_, word=period.value: seen.append(f"read {word}")
        store.before_write = lambda _, word=period.value: seen.append(f"write {word}")


@pytest.mark.parametrize(
    "series, order",
    [
        (Series.DAILY, ["read month", "read year", "read day", "write day", "write month", "write year"]),
        (Series.LOAD_CURVE, ["read hour", "read minute", "write minute", "write hour"]),
    ],
)
def test_totals_are_read_before_inputs_and_written_after_them_and_the_mark_comes_last(
    series: Series, order: list[str]
) -> None:
    seen: list[str] = []
    progress, measures = Reports(), memory_measures()
    watch(measures, seen)
    progress.finished = lambda report: seen.append("mark")  # type: ignore[method-assign]
    supplier = PretendSupplier(
        daily=serving_days(days("2024-10-24", 1, 2)),
        curve=serving_curves({date(2024, 10, 27): curve_of(date(2024, 10, 27), 100)}),
    )
    make_walk(supplier, measures, progress=progress).sync_window(origin(AUTUMN_WEEK, series))
    assert seen == [*order, "mark"]


def test_a_lost_race_is_decided_anew_in_the_same_order() -> None:
    measures, seen = memory_measures(), []
    values = days("2020-11-01", 25500, 26212, 25000)

    def rival(_: Sequence[Document]) -> None:
        measures[Period.DAY].before_write = None
        sync_days(measures, {date(2020, 11, 2): 1})
        watch(measures, seen)

    measures[Period.DAY].before_write = rival
    sync_days(measures, values)
    decided_anew = ["read month", "read year", "read day", "write day", "write month", "write year"]
    assert seen == decided_anew
    assert content(measures) == truth_of_days(values)


def test_a_refused_write_fails_loudly_before_the_totals_and_the_mark() -> None:
    progress, stores = Reports(), memory_measures()

    def refuse(_: Sequence[Document]) -> None:
        raise WriteRefused("forbidden")

    stores[Period.DAY].before_write = refuse
    walk = make_walk(PretendSupplier(daily=serving_days(FIRST_RUN)), stores, progress=progress)
    with pytest.raises(WriteRefused):
        walk.sync_window(origin(window_over(FIRST_RUN), Series.DAILY))
    assert progress.finished_with == []
    assert not stores[Period.MONTH].documents


# -- accounts


def test_an_account_removed_before_or_amid_the_walk_writes_nothing() -> None:
    supplier = PretendSupplier(daily=serving_days(FIRST_RUN))
    asked = origin(window_over(FIRST_RUN), Series.DAILY)
    for accounts in (PretendAccounts(removed={"home1"}), PretendAccounts(unknown={"home1"})):
        with pytest.raises(UnknownAccount):
            make_walk(supplier, accounts=accounts).sync_window(asked)
    assert supplier.asked == []

    accounts, progress, stores = PretendAccounts(), Reports(), memory_measures()
    walk = make_walk(supplier, stores, accounts, progress)
    message = walk.aggregate(walk.filter_known(walk.fetch(asked)))
    accounts.removed.add("home1")
    with pytest.raises(UnknownAccount):
        walk.store(message)
    assert progress.finished_with == []
    assert not any(store.documents for store in stores.values())


def test_an_account_without_a_meter_waits_for_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.factories.USAGE_POINT", None)
    supplier = PretendSupplier()
    with pytest.raises(UnknownUsagePoint, match="connect the meter"):
        make_walk(supplier).sync_window(origin(JUNE, Series.DAILY))
    assert supplier.asked == []


def test_documents_are_dated_by_the_clock_they_were_given() -> None:
    measures, values = memory_measures(), days("2024-05-09", 9000)
    sync_days(measures, values)
    (document,) = measures[Period.DAY].read("home1", "0", "~")
    assert document["created_at"] == document["updated_at"] == "2024-07-25T07:00:00+00:00"
