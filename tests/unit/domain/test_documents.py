"""Conversion of readings to documents and back: keys, fields, kWh and rounding."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import NOW
from tests.support.plain_readings import to_entries
from tests.support.strategies import days, many, several, windows
from worker.domain.documents import (
    Entry,
    key_of,
    key_range,
    period_key,
    round_as_stored,
    to_amount,
    to_document,
    to_entry,
    to_load,
    to_reading,
    touched_window,
)
from worker.domain.series import SERIES_DESCRIPTIONS, Doctype, Period, Series
from worker.domain.windows import PARIS, DateWindow, IntervalReading, day_length, local_midnight

_MINUTE = timedelta(minutes=1)


def _moments(start: str, end: str) -> st.SearchStrategy[datetime]:
    first, last = (datetime.fromisoformat(f"{text}:00+00:00") for text in (start, end))
    return st.integers(0, (last - first) // _MINUTE).map(lambda number: first + number * _MINUTE)


instants = st.one_of(  # Keys could go wrong at both clock changes and at the end of a year.
    _moments("2020-01-01T00", "2030-12-31T00"),
    _moments("2024-10-26T20", "2024-10-27T04"),
    _moments("2024-03-30T20", "2024-03-31T04"),
    _moments("2023-12-31T20", "2024-01-01T02"),
)


def keys_of(window: DateWindow, period: Doctype) -> set[str]:
    return {period_key(local_midnight(window.start + timedelta(days=number)), period) for number in range(window.days)}


def test_a_doctype_is_that_of_the_seed() -> None:
    assert [doctype.full_name for doctype in Doctype][:5] == [
        f"com.grandlyon.enedis.{word}" for word in ("minute", "hour", "day", "month", "year")
    ]


@many
@given(instants, instants, st.sampled_from(Doctype))
def test_keys_sort_as_time_does(one: datetime, other: datetime, period: Doctype) -> None:
    earlier, later = (period_key(moment.astimezone(PARIS), period) for moment in sorted((one, other)))
    assert earlier <= later


@many
@given(instants, st.sampled_from(Doctype))
def test_a_key_is_the_same_in_whatever_zone_the_moment_is_told(moment: datetime, period: Doctype) -> None:
    assert period_key(moment, period) == period_key(moment.astimezone(PARIS), period)


@many
@given(windows(400), instants, st.sampled_from([Doctype.MINUTE, Doctype.HOUR, Doctype.DAY]))
def test_the_keys_of_a_window_are_those_of_its_readings_and_no_others(
    window: DateWindow, moment: datetime, period: Doctype
) -> None:
    first, end = key_range(window, period)
    inside = window.start <= moment.astimezone(PARIS).date() < window.end
    assert (first <= period_key(moment, period) < end) is inside


@many
@given(windows(400), st.sampled_from([Doctype.MONTH, Doctype.YEAR]))
def test_the_totals_of_a_window_are_those_that_its_days_go_into(window: DateWindow, period: Doctype) -> None:
    first, end = key_range(window, period)
    around = DateWindow(window.start - timedelta(days=800), window.end + timedelta(days=800))
    assert {key for key in keys_of(around, period) if first <= key < end} == keys_of(window, period)


@several
@given(windows(400), st.sampled_from(Series))
def test_the_touched_days_are_all_that_goes_into_the_touched_totals(window: DateWindow, series: Series) -> None:
    touched = touched_window(window, series)
    for period in series.totals:
        first, end = key_range(window, period)
        for number in range(-400, window.days + 400):
            day = window.start + timedelta(days=number)
            if first <= period_key(local_midnight(day), period) < end:
                assert touched.start <= day < touched.end


def test_a_series_with_months_and_no_years_touches_whole_months(monkeypatch: pytest.MonkeyPatch) -> None:
    months_alone = replace(Series.DAILY.description, totals=(Doctype.MONTH,))
    monkeypatch.setitem(cast("dict[Series, object]", SERIES_DESCRIPTIONS), Series.DAILY, months_alone)
    window = DateWindow(date(2023, 12, 31), date(2024, 2, 1))
    assert touched_window(window, Series.DAILY) == DateWindow(date(2023, 12, 1), date(2024, 2, 1))
    window = DateWindow(date(2024, 2, 29), date(2024, 3, 2))
    assert touched_window(window, Series.DAILY) == DateWindow(date(2024, 2, 1), date(2024, 4, 1))


@many
@given(instants, st.sampled_from([5, 10, 15, 20, 30, 60]), st.integers(0, 10**10), st.text(alphabet="abc", min_size=1))
def test_a_step_survives_the_store(start: datetime, minutes: int, energy: int, account_id: str) -> None:
    reading = IntervalReading(start.astimezone(PARIS), timedelta(minutes=minutes), energy)
    (entry,) = to_entries([reading], Doctype.MINUTE)
    document = to_document(account_id, Doctype.MINUTE, entry, NOW)
    back = to_reading(document, Doctype.MINUTE)
    assert (back.start.astimezone(UTC), back.length, back.amount) == (start, reading.length, energy)
    assert to_entry(document)[:3] == entry[:3]
    assert document["_id"] == f"{account_id}:{entry.key}"
    assert "_rev" not in document


@many
@given(days, st.integers(0, 10**7))
def test_a_day_survives_the_store(day: date, watt_hours: int) -> None:
    reading = IntervalReading(local_midnight(day), day_length(day), watt_hours * 1000)
    (entry,) = to_entries([reading], Doctype.DAY)
    document = to_document("home1", Doctype.DAY, entry, NOW)
    assert to_reading(document, Doctype.DAY) == reading
    assert document["load"] == watt_hours / 1000


@many
@given(st.integers(0, 10**15), st.sampled_from(Doctype))
def test_rounding_is_half_up_and_done_once(energy: int, period: Doctype) -> None:
    unit = {Period.MINUTE: 1, Period.DAY: 1000}.get(period.period, 100)
    if period.series.description.supplier == "grdf":  # As it is sent, to the last of six decimals.
        unit = 1
    assert to_amount(to_load(energy, period)) == (energy + unit // 2) // unit * unit
    assert to_load(to_amount(to_load(energy, period)), period) == to_load(energy, period)


def test_the_two_passes_of_the_autumn_hour_are_two_documents_of_one_local_hour() -> None:
    first, second = (to_document("home1", Doctype.MINUTE, Entry(f"2024-10-27T0{hour}:30Z", 1), NOW) for hour in (0, 1))
    local = {"year": 2024, "month": 10, "day": 27, "hour": 2, "minute": 30}
    assert {name: first[name] for name in local} == local == {name: second[name] for name in local}
    assert "fold" not in first
    assert second["fold"] == 1


@pytest.mark.parametrize(
    "period, key, fields",
    [
        (Doctype.HOUR, "2024-12-31T23:00Z", {"year": 2025, "month": 1, "day": 1, "hour": 0, "minute": 0}),
        (Doctype.DAY, "2024-02-29", {"year": 2024, "month": 2, "day": 29, "hour": 0, "minute": 0}),
        (Doctype.MONTH, "2024-02", {"year": 2024, "month": 2, "day": 0, "hour": 0, "minute": 0}),
        (Doctype.YEAR, "2024", {"year": 2024, "month": 1, "day": 0, "hour": 0, "minute": 0}),
    ],
)
def test_fields_are_civil_time_with_the_place_holders_of_the_seed(
    period: Doctype, key: str, fields: dict[str, int]
) -> None:
    assert to_document("home1", period, Entry(key, 1_500_000), NOW) == {
        "_id": f"home1:{key}",
        "load": 1.5,
        "created_at": "2024-07-25T07:00:00+00:00",
        "updated_at": "2024-07-25T07:00:00+00:00",
        "source_account": "home1",
        **fields,
    }


def test_a_replacement_keeps_its_birth_and_names_what_it_replaces() -> None:
    entry = Entry("2024", 5_000_000, None, "3-abc", "2021-01-01T00:00:00+00:00")
    document = to_document("home1", Doctype.YEAR, entry, NOW)
    assert (document["_rev"], document["created_at"]) == ("3-abc", "2021-01-01T00:00:00+00:00")
    assert document["updated_at"] == "2024-07-25T07:00:00+00:00"
    assert to_entry(document) == entry
    assert key_of(document) == "2024"


def test_the_page_of_documents_tells_the_decimals_that_are_kept() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "documents.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(com\.[a-z.]+)`.* \| ([^|]+) \|$", page, re.MULTILINE))
    assert len(told) > 10
    for doctype in Doctype:
        if doctype.full_name in told:
            places = int(told[doctype.full_name]) if told[doctype.full_name].isdigit() else 6
            kept = round_as_stored(12_345_678, doctype)
            assert (kept == 12_345_678, kept % 10 ** (6 - places)) == (places == 6, 0), doctype
