"""Reads and writes of many accounts at once, on every store and in both layouts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest

from worker.domain.measures.documents import Document, Entry, key_range, to_document
from worker.domain.measures.packing import PERIODS
from worker.domain.measures.readings import DateWindow, Period, Series
from worker.stores.measures.at_once import read_each, write_each
from worker.stores.measures.base import AtOnce, ByPeriod, KeyRange, Measures, ReadRequest

NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)
WEEK = DateWindow(date(2024, 7, 18), date(2024, 7, 25))
NEW_YEAR = DateWindow(date(2023, 12, 28), date(2024, 1, 4))
KEYS = {
    Series.DAILY: {
        Period.DAY: ["2023-12-31", "2024-01-01", "2024-07-20", "2024-07-21"],
        Period.MONTH: ["2023-12", "2024-01", "2024-07"],
        Period.YEAR: ["2023", "2024"],
    },
    Series.LOAD_CURVE: {
        Period.MINUTE: ["2024-01-01T00:30Z", "2024-07-20T00:00Z", "2024-07-20T00:30Z", "2024-07-23T21:30Z"],
        Period.HOUR: ["2024-01-01T00:00Z", "2024-07-20T00:00Z", "2024-07-23T21:00Z"],
    },
}


@pytest.fixture
def accounts() -> list[str]:
    """Unused account ids; the second begins with the first."""
    first = uuid.uuid4().hex[:11]
    return [first, f"{first}0", *(uuid.uuid4().hex[:12] for _ in range(3))]


def documents(account: str, series: Series, load: int = 1_000_000) -> dict[Period, list[Document]]:
    return {
        period: [to_document(account, period, Entry(key, load + place), NOW) for place, key in enumerate(keys)]
        for period, keys in KEYS[series].items()
    }


def read_all(measures: Measures, requests: Sequence[ReadRequest]) -> list[ByPeriod]:
    return [result() for result in read_each(measures, requests)]


def ranges(window: DateWindow, series: Series) -> dict[Period, KeyRange]:
    return {period: key_range(window, period) for period in (*series.totals, series.inputs)}


def test_where_packs_or_tables_are_shared_one_question_may_be_asked_for_many(measures: Measures, layout: str) -> None:
    assert isinstance(measures, AtOnce) or layout == "plain"


@pytest.mark.parametrize("series", Series)
def test_what_many_are_asked_at_once_is_what_each_answers_alone(
    measures: Measures, accounts: list[str], series: Series
) -> None:
    write_each(measures, [documents(account, series, 1_000_000 * place) for place, account in enumerate(accounts[:3])])
    everything = dict.fromkeys(PERIODS[series], ("", "~"))
    nothing = dict.fromkeys(PERIODS[series], ("2024-07", "2024-01"))
    all_ranges = [ranges(WEEK, series), ranges(NEW_YEAR, series), everything, nothing]
    requests = [(account, window_ranges) for window_ranges in all_ranges for account in accounts]
    alone = [
        {period: measures[period].read(account, *keys) for period, keys in window_ranges.items()}
        for account, window_ranges in requests
    ]
    assert read_all(measures, requests) == alone
    assert sum(len(rows) for documents_of_one in alone for rows in documents_of_one.values()) > 3 * 9


def test_windows_of_both_series_and_of_one_account_may_stand_in_one_question(
    measures: Measures, accounts: list[str]
) -> None:
    write_each(measures, [documents(account, series) for account in accounts for series in Series])
    requests = [(accounts[0], ranges(window, series)) for series in Series for window in (WEEK, NEW_YEAR, WEEK)]
    results = read_all(measures, requests)
    assert [len(result[series.inputs]) for (_, keys), result in zip(requests, results, strict=True) for series in Series
            if series.inputs in keys] == [2, 2, 2, 3, 1, 3]  # fmt: skip


@pytest.mark.parametrize("series", Series)
def test_nobody_has_anything_before_the_first_document_and_after_the_last_is_erased(
    measures: Measures, accounts: list[str], series: Series
) -> None:
    requests = [(account, ranges(WEEK, series)) for account in accounts]
    nothing: list[ByPeriod] = [{period: [] for period in ranges(WEEK, series)} for _ in accounts]
    assert read_all(measures, requests) == nothing
    write_each(measures, [documents(account, series) for account in accounts])
    for account in accounts[1:]:
        for period in PERIODS[series]:
            measures[period].erase(account)
    results = read_all(measures, requests)
    assert results[1:] == nothing[1:]
    assert all(results[0].values())


@pytest.mark.parametrize("series", Series)
def test_each_is_told_what_of_its_own_was_not_written_and_the_others_are_written(
    measures: Measures, accounts: list[str], series: Series
) -> None:
    loser = accounts[2]
    first = documents(loser, series, 5_000_000)[series.inputs][-1]
    assert measures[series.inputs].write([first]) == []
    lost = write_each(measures, [documents(account, series) for account in accounts])
    assert first["_id"] in {document["_id"] for document in lost[2][series.inputs]}
    for account, losers in zip(accounts, lost, strict=True):
        for period, rows in documents(account, series).items():
            stored = measures[period].read(account, "", "~")
            assert account == loser or not losers[period]
            assert len(stored) == len(rows) - len(losers[period]) + (account == loser and period is series.inputs)


@pytest.mark.parametrize("series", Series)
def test_no_total_is_written_whose_readings_lost_their_race(
    measures: Measures, accounts: list[str], series: Series
) -> None:
    loser, other = accounts[:2]
    last = documents(loser, series, 5_000_000)[series.inputs][-1]
    measures[series.inputs].write([last])
    lost = write_each(measures, [documents(loser, series), documents(other, series)])
    for period in series.totals:
        newest = KEYS[series][period][-1]
        assert newest in {document["_id"].partition(":")[2] for document in lost[0][period]}
        assert measures[period].read(loser, newest, f"{newest} ") == []


def test_more_accounts_than_one_request_takes_are_all_written_and_all_found(measures: Measures) -> None:
    accounts = [uuid.uuid4().hex[:12] for _ in range(501)]
    keys = {Period.DAY: ["2024-07-20"], Period.MONTH: ["2024-07"], Period.YEAR: ["2024"]}
    windows = [
        {period: [to_document(account, period, Entry(key, place), NOW) for key in period_keys]
         for period, period_keys in keys.items()}
        for place, account in enumerate(accounts)
    ]  # fmt: skip
    assert not any(any(losers.values()) for losers in write_each(measures, windows))
    results = read_all(measures, [(account, ranges(WEEK, Series.DAILY)) for account in accounts])
    assert [
        {period: [{**document, "_rev": ""} for document in rows] for period, rows in result.items()}
        for result in results
    ] == [{period: [{**document, "_rev": ""} for document in documents_written[period]] for period in result}
          for result, documents_written in zip(results, windows, strict=True)]  # fmt: skip
