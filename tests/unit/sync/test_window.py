"""The sync of one window: the same documents whatever happens on the way, and nothing lost at any moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    USAGE_POINT,
    MemoryRecorder,
    PretendAccounts,
    PretendSupplier,
    content,
    curve_of,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    v5_answer,
    window_job,
)
from tests.support.profiles import examples
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
from worker.domain.answers import RawAnswer
from worker.domain.documents import REMOVED, to_timestamp
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import DataError, SupplierUnavailable, UnknownAccount, UnknownUsagePoint, WriteRefused
from worker.stores.measures.measure_store import Document

JUNE = DateWindow(date(2024, 6, 1), date(2024, 6, 11))
AUTUMN_WEEK = DateWindow(date(2024, 10, 24), date(2024, 10, 31))


# -- What is stored


@few
@given(
    st.dictionaries(st.dates(date(2023, 11, 20), date(2024, 2, 10)), st.integers(0, 900_000), min_size=1, max_size=20),
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
        result = sync_days(measures, values, window=window)
        assert (result["created"], result["updated"]) == (0, 0)
    assert revisions(measures) == before


@settings(max_examples=examples(25, desk=8))
@given(
    st.permutations(range(7)), st.sampled_from([date(2024, 3, 28), date(2024, 10, 24), date(2024, 7, 1)]), st.randoms()
)
def test_curves_give_the_same_store_in_whatever_order_days_and_readings_come(order, first, random) -> None:  # type: ignore[no-untyped-def]
    all_days = [first + number * ONE_DAY for number in range(7)]
    rows = {day: curve_of(day, 100 * number, (30, 60, 10)[number % 3]) for number, day in enumerate(all_days)}
    at_once, piecemeal = memory_measures(), memory_measures()
    sync_curve(at_once, rows)
    for number in order:
        day = all_days[number]
        shuffled = {day: random.sample(rows[day], len(rows[day])) if number % 3 != 1 else rows[day]}
        if day in (date(2024, 3, 31), date(2024, 10, 27)):  # Only the order distinguishes the two passes of an hour.
            shuffled = {day: rows[day]}
        sync_curve(piecemeal, shuffled)
    assert content(piecemeal) == content(at_once)
    energy = sum(Fraction(int(row[1]) * int(row[2][2:-1]), 60_000) for day in all_days for row in rows[day])
    for period in (Doctype.MINUTE, Doctype.HOUR):
        assert sum(content(at_once)[period].values()) == pytest.approx(float(energy), abs=0.02)
    result = sync_curve(piecemeal, rows)
    assert (result["created"], result["updated"]) == (0, 0)


def test_a_corrected_value_and_a_value_filled_late_both_come_in() -> None:
    measures = memory_measures()
    sync_days(measures, days("2024-05-09", 9000, 8000))
    corrected = days("2024-05-09", 9000, 8640, 7000)
    result = sync_days(measures, corrected)
    assert (result["created"], result["updated"], result["unchanged"]) == (1, 3, 1)
    assert content(measures) == truth_of_days(corrected)


def test_what_is_stored_outlives_an_answer_that_has_lost_it() -> None:
    measures, values = memory_measures(), days("2024-08-01", 4000, 5000)
    sync_days(measures, values)
    before = content(measures)
    for answer in ({}, {date(2024, 8, 1): None}, {date(2024, 8, 2): "-2"}):
        sync_days(measures, answer, window=window_over(values))
        assert content(measures) == before


def test_a_step_that_grew_over_the_one_before_keeps_the_energy_of_both_documents() -> None:
    """A step of 60 minutes is corrected to two half-hours: the hour is the sum of what is stored."""
    measures, day = memory_measures(), date(2024, 1, 15)
    sync_curve(measures, {day: [["2024-01-15 01:00:00", "1000", "PT60M"]]})
    sync_curve(measures, {day: [["2024-01-15 00:30:00", "800", "PT30M"], ["2024-01-15 01:00:00", "1200", "PT30M"]]})
    assert content(measures)[Doctype.MINUTE] == {"2024-01-14T23:00Z": 0.4, "2024-01-14T23:30Z": 0.6}
    assert content(measures)[Doctype.HOUR] == {"2024-01-14T23:00Z": 1.0}


# -- Messages


@pytest.mark.parametrize("series", USUAL_SERIES)
def test_each_step_hands_on_json_without_anything_personal(series: Series) -> None:
    supplier = PretendSupplier(
        daily=serving_days(days("2024-10-24", 1, 2, 3)),
        curve=serving_curves({date(2024, 10, 27): curve_of(date(2024, 10, 27), 100)}),
    )
    measures = memory_measures()
    direct = make_window_sync(supplier, measures).sync_window(window_job(AUTUMN_WEEK, series))
    posted = memory_measures()
    window_sync, message = make_window_sync(supplier, posted), window_job(AUTUMN_WEEK, series)
    for step in (window_sync.fetch, window_sync.filter_known, window_sync.aggregate, window_sync.store):
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
    result = make_window_sync(PretendSupplier(daily=v5_answer(rows))).sync_window(window_job(JUNE, Series.DAILY))
    assert result["facts"] == {
        "fetched": 2,
        "asked_at": NOW.timestamp(),
        "fetched_at": to_timestamp(NOW),
        "dropped": 2,
        "differing": 1,
        "left_out": 0,
        "set_aside": {},
        "last_day": "2024-06-03",
        "floor": None,
        "activated_on": None,
        "lacks": [],
        "open": {"2024-06-02": 0, **{f"2024-06-{day:02}": 0 for day in range(4, 11)}},
    }


# -- Answers of the supplier


@pytest.mark.parametrize(
    "refusal, expected", [(SupplierUnavailable("down"), SupplierUnavailable), ("no envelope at all", DataError)]
)
def test_an_answer_that_failed_writes_nothing_and_is_not_called_done(refusal: Any, expected: type[Exception]) -> None:
    recorder, measures = MemoryRecorder(), memory_measures()
    window_sync = make_window_sync(PretendSupplier(daily=refusal), measures, recorder=recorder)
    with pytest.raises(expected):
        window_sync.sync_window(window_job(JUNE, Series.DAILY))
    assert recorder.results == []
    assert not any(store.documents for store in measures.values())


# -- Order


def watch(measures: Stores, calls: list[str]) -> None:
    for period, store in measures.items():
        store.before_read = lambda *_, name=period.value: calls.append(f"read {name}")
        store.before_write = lambda _, name=period.value: calls.append(f"write {name}")


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
    calls: list[str] = []
    recorder, measures = MemoryRecorder(), memory_measures()
    watch(measures, calls)
    recorder.record_result = lambda result: calls.append("mark")  # type: ignore[method-assign]
    supplier = PretendSupplier(
        daily=serving_days(days("2024-10-24", 1, 2)),
        curve=serving_curves({date(2024, 10, 27): curve_of(date(2024, 10, 27), 100)}),
    )
    make_window_sync(supplier, measures, recorder=recorder).sync_window(window_job(AUTUMN_WEEK, series))
    assert calls == [*order, "mark"]


def test_a_lost_race_is_decided_anew_in_the_same_order() -> None:
    measures, calls = memory_measures(), []
    values = days("2020-11-01", 25500, 26212, 25000)

    def rival(_: Sequence[Document]) -> None:
        measures[Doctype.DAY].before_write = None
        sync_days(measures, {date(2020, 11, 2): 1})
        watch(measures, calls)

    measures[Doctype.DAY].before_write = rival
    sync_days(measures, values)
    decided_anew = ["read month", "read year", "read day", "write day", "write month", "write year"]
    assert calls == decided_anew
    assert content(measures) == truth_of_days(values)


def test_a_refused_write_fails_loudly_before_the_totals_and_the_mark() -> None:
    recorder, stores = MemoryRecorder(), memory_measures()

    def refuse(_: Sequence[Document]) -> None:
        raise WriteRefused("forbidden")

    stores[Doctype.DAY].before_write = refuse
    window_sync = make_window_sync(PretendSupplier(daily=serving_days(FIRST_RUN)), stores, recorder=recorder)
    with pytest.raises(WriteRefused):
        window_sync.sync_window(window_job(window_over(FIRST_RUN), Series.DAILY))
    assert recorder.results == []
    assert not stores[Doctype.MONTH].documents


# -- Accounts


def test_an_account_removed_before_the_walk_is_not_asked_for() -> None:
    supplier = PretendSupplier(daily=serving_days(FIRST_RUN))
    asked = window_job(window_over(FIRST_RUN), Series.DAILY)
    for accounts in (PretendAccounts(removed={"home1"}), PretendAccounts(unknown={"home1"})):
        with pytest.raises(UnknownAccount):
            make_window_sync(supplier, accounts=accounts).sync_window(asked)
    assert supplier.asked == []


def test_an_account_without_a_meter_waits_for_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.factories.USAGE_POINT", None)
    supplier = PretendSupplier()
    with pytest.raises(UnknownUsagePoint, match="must connect one"):
        make_window_sync(supplier).sync_window(window_job(JUNE, Series.DAILY))
    assert supplier.asked == []


def test_documents_are_dated_by_the_clock_they_were_given() -> None:
    measures, values = memory_measures(), days("2024-05-09", 9000)
    sync_days(measures, values)
    (document,) = measures[Doctype.DAY].read("home1", "0", "~")
    assert document["created_at"] == document["updated_at"] == "2024-07-25T07:00:00+00:00"


def test_a_step_that_reaches_into_the_next_piece_of_an_answer_counts_once() -> None:
    first, second = date(2024, 6, 1), date(2024, 6, 2)
    bodies = {
        first: v5_answer([["2024-06-02 00:30:00", "1000", "PT60M"]], "W"),
        second: v5_answer([["2024-06-02 00:30:00", "800"], ["2024-06-02 01:00:00", "600"]], "W"),
    }
    pieces = [(DateWindow(day, day + ONE_DAY), body) for day, body in bodies.items()]
    measures = memory_measures()
    window = DateWindow(first, second + ONE_DAY)
    result = make_window_sync(PretendSupplier(), measures).replay(
        window_job(window, Series.LOAD_CURVE), RawAnswer(Series.LOAD_CURVE, NOW, window, pieces)
    )
    assert content(measures)[Doctype.MINUTE] == {"2024-06-01T21:30Z": 1.0, "2024-06-01T22:30Z": 0.3}
    assert result["facts"]["left_out"] == 1


def test_an_unchanged_day_counts_its_own_documents_alone() -> None:
    curves = {date(2024, 6, day): curve_of(date(2024, 6, day), 100) for day in (1, 2, 3)}
    measures = memory_measures()
    window_sync = make_window_sync(PretendSupplier(curve=serving_curves(curves)), measures)
    window_sync.sync_window(window_job(DateWindow(date(2024, 6, 1), date(2024, 6, 4)), Series.LOAD_CURVE))
    result = window_sync.sync_window(window_job(DateWindow(date(2024, 6, 2), date(2024, 6, 3)), Series.LOAD_CURVE))
    assert (result["created"], result["updated"], result["unchanged"]) == (0, 0, 48 + 24)


def test_a_day_in_other_steps_is_no_correction_of_its_values() -> None:
    day, recorder, measures = date(2024, 6, 1), MemoryRecorder(), memory_measures()
    for hour, rows in enumerate((curve_of(day, 800), curve_of(day, 800, 60))):
        at = NOW + timedelta(hours=hour)
        make_window_sync(
            PretendSupplier(curve=serving_curves({day: rows})), measures, recorder=recorder, now=lambda at=at: at
        ).sync_window(window_job(DateWindow(day, day + ONE_DAY), Series.LOAD_CURVE))
    assert len(recorder.corrections) == 48
    assert {correction.amount for correction in recorder.corrections} == {REMOVED}
