"""The packed layout: days and years are unpacked as they were packed, with any steps, gaps and corrections."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.strategies import CLOCK_CHANGE_DAYS, many
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.packing import (
    FORMAT,
    PACKED_SERIES,
    PackedValue,
    UnknownPack,
    from_value,
    key_at,
    pack_range,
    pack_values,
    place_of,
    to_value,
    unpack_values,
)
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS, day_length, local_midnight

NOW = datetime(2024, 10, 28, 7, 31, 2, tzinfo=UTC)
PACKED_DOCTYPES = [doctype for series in PACKED_SERIES for doctype in series.doctypes]
stamps = st.one_of(st.none(), st.sampled_from(["2024-10-28T07:31:02+00:00", "2024-10-29T07:30:00+00:00", "é"]))
values = st.builds(PackedValue, st.integers(-(10**12), 10**12), st.none(), stamps, stamps, st.integers(1, 9))


def moments(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    days = st.dates(date(first_year, 1, 1), date(last_year, 12, 31))
    return st.builds(lambda day, minutes: local_midnight(day) + timedelta(minutes=minutes), days, st.integers(0, 1439))


def curve_keys(day: date, steps: list[int]) -> dict[str, int | None]:
    """Return the keys of a whole local day in which each hour has its own step."""
    start = local_midnight(day).astimezone(UTC)
    steps_by_key: dict[str, int | None] = {}
    for hour in range(day_length(day) // timedelta(hours=1)):
        step = steps[hour % len(steps)]
        for minute in range(0, 60, step):
            key = period_key(start + timedelta(hours=hour, minutes=minute), Doctype.MINUTE)
            steps_by_key[key] = None if step == 30 else step
    return steps_by_key


@st.composite
def packed_days(draw: st.DrawFn) -> tuple[str, dict[str, PackedValue]]:
    """Draw a day with mixed steps, gaps anywhere and later corrections."""
    day = draw(strategies.days)
    steps = draw(st.lists(st.sampled_from([5, 10, 15, 30, 60]), min_size=1, max_size=4))
    gaps = draw(st.sets(st.integers(0, 299), max_size=20))
    drawn = draw(st.lists(values, min_size=1, max_size=6))
    keys = [item for number, item in enumerate(curve_keys(day, steps).items()) if number not in gaps]
    values_by_key = {
        key: drawn[number * len(drawn) // 50 % len(drawn)]._replace(step=step)
        for number, (key, step) in enumerate(keys)
    }
    return day.isoformat(), values_by_key


def through_json(values_by_key: dict[str, PackedValue], pack: str, period: Doctype) -> dict[str, PackedValue]:
    text = json.dumps({"format": FORMAT, period.value: pack_values(values_by_key, period)}, allow_nan=False)
    return unpack_values(json.loads(text), pack, period)


@many
@given(packed_days())
def test_a_day_of_load_curve_comes_back_value_by_value(packed_day: tuple[str, dict[str, PackedValue]]) -> None:
    pack, values_by_key = packed_day
    assert through_json(values_by_key, pack, Doctype.MINUTE) == values_by_key


@many
@given(st.integers(2000, 2099), st.sampled_from(Series.DAILY.doctypes), st.data())
def test_a_year_of_daily_values_comes_back(year: int, period: Doctype, data: Any) -> None:
    days = [date(year, 1, 1) + n * ONE_DAY for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)]
    keys = sorted({period_key(local_midnight(day), period) for day in days})
    chosen = data.draw(st.sets(st.sampled_from(keys)))
    values_by_key = {key: data.draw(values) for key in sorted(chosen)[:8]} | {
        key: PackedValue(1, version=1) for key in sorted(chosen)[8:]
    }
    assert through_json(values_by_key, str(year), period) == values_by_key


@pytest.mark.parametrize("day", CLOCK_CHANGE_DAYS[:6])
def test_the_hours_of_a_clock_change_day_have_a_place_each(day: date) -> None:
    start, hours = local_midnight(day).astimezone(UTC), day_length(day) // timedelta(hours=1)
    keys = [period_key(start + n * timedelta(hours=1), Doctype.HOUR) for n in range(hours)]
    assert hours in (23, 25)
    assert [place_of(key, Doctype.HOUR) for key in keys] == [(day.isoformat(), n) for n in range(hours)]
    values_by_key = {key: PackedValue(number, version=1) for number, key in enumerate(keys)}
    assert len(pack_values(values_by_key, Doctype.HOUR)["runs"]) == 1
    assert through_json(values_by_key, day.isoformat(), Doctype.HOUR) == values_by_key


def test_a_common_day_is_short_and_its_numbers_are_the_watts_of_the_curve() -> None:
    watts = list(range(200, 248))
    values_by_key = {
        key: PackedValue(power * 500, None, "a", "a", 1)
        for key, power in zip(curve_keys(date(2024, 7, 1), [30]), watts, strict=True)
    }
    assert pack_values(values_by_key, Doctype.MINUTE) == {
        "runs": [{"at": 0, "step": 30, "unit": 500, "values": watts}],
        "written": [[48, 1, "a"]],
    }


@many
@given(moments(1990, 2090), st.sampled_from(PACKED_DOCTYPES))
def test_each_key_has_one_place(moment: datetime, period: Doctype) -> None:
    key = period_key(moment, period)
    pack, place = place_of(key, period)
    assert key_at(pack, place, period) == key
    assert pack == period_key(moment, Doctype.DAY if period.series.has_steps else Doctype.YEAR)


@pytest.mark.parametrize(
    "period, key",
    [
        (Doctype.MINUTE, "2024-01-01"),
        (Doctype.MINUTE, "2024-01-01T00:00"),
        (Doctype.MINUTE, "2024-01-01T00:00:30Z"),
        (Doctype.MINUTE, "2024-01-01T00:00+01:00"),
        (Doctype.MINUTE, "20240101T0000Z"),
        (Doctype.HOUR, "2024-01-01T00:30Z"),
        (Doctype.DAY, "2024-02-30"),
        (Doctype.DAY, "2024-W01-1"),
        (Doctype.MONTH, "2024-13"),
        (Doctype.MONTH, "2024-00"),
        (Doctype.MONTH, "2024-1"),
        (Doctype.YEAR, "24"),
        (Doctype.YEAR, "2024-01"),
        (Doctype.YEAR, ""),
        (Doctype.DAY, "0000-01-01"),
    ],
)
def test_what_is_no_key_has_no_place(period: Doctype, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        place_of(key, period)


keys = moments(2023, 2025)
tails = st.sampled_from(["", " ", "~", "0", "-", "Z", "T"])


@many
@given(st.sampled_from(PACKED_DOCTYPES), keys, keys, keys, st.integers(0, 18), st.integers(0, 18), tails)
def test_no_pack_of_a_range_is_left_out(
    period: Doctype, of: datetime, one: datetime, other: datetime, cut: int, cut_end: int, tail: str
) -> None:
    """Test ranges bounded by a whole key, by a part of one and by a key with a tail."""
    key = period_key(of, period)
    first = period_key(one, period)[:cut]
    end = period_key(other, period)[:cut_end] + tail
    if first <= key < end:
        start, stop = pack_range(first, end, period)
        assert start <= place_of(key, period)[0] < stop


def test_a_range_of_whole_days_or_years_reads_no_pack_too_many() -> None:
    assert pack_range("2024-10-26T22:00Z", "2024-10-27T23:00Z", Doctype.MINUTE) == ("2024-10-27", "2024-10-28")
    assert pack_range("2024-01-01", "2025-01-01", Doctype.DAY) == ("2024", "2025")
    assert pack_range("2024-01", "2025-01", Doctype.MONTH) == ("2024", "2025")
    assert pack_range("2024", "2025", Doctype.YEAR) == ("2024", "2025")


@pytest.mark.parametrize("period", PACKED_DOCTYPES)
def test_a_document_comes_back_with_all_its_fields(period: Doctype) -> None:
    key = period_key(datetime(2024, 10, 27, 2, 0, tzinfo=PARIS, fold=1), period)
    document = to_document("home1", period, Entry(key, 198_500, 15 if period is Doctype.MINUTE else None), NOW)
    assert from_value("home1", key, period, to_value({**document, "_rev": "x"}, period)) == document


@pytest.mark.parametrize(
    "change",
    [{"price": 1}, {"load": 0.1234567}, {"hour": 5}, {"step": 30}, {"created_at": None}, {"fold": 0}],
)
def test_a_document_that_would_not_come_back_as_it_is_is_refused(change: dict[str, Any]) -> None:
    document = to_document("home1", Doctype.MINUTE, Entry("2024-01-01T10:00Z", 1_000), NOW)
    with pytest.raises(ValueError, match="the packed layout can't hold"):
        to_value({**document, **change}, Doctype.MINUTE)


@pytest.mark.parametrize("pack_format", [2, 0, "1", None, 99])
def test_another_format_is_refused_in_one_line_and_not_guessed_at(pack_format: Any) -> None:
    with pytest.raises(UnknownPack, match="update Relève") as caught:
        unpack_values({"format": pack_format, "minute": {"news": []}}, "2024-01-01", Doctype.MINUTE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values_by_key",
    [
        {},
        {"runs": [], "written": [[1, 1, "a"]]},
        {"runs": [{"at": 0, "step": 30, "unit": 1, "values": [1, 2]}], "written": [[1, 1, "a"]]},
        {"runs": [{"at": 0, "step": 30, "unit": 1, "values": [None]}], "written": [[1, 1, "a"]]},
        {"runs": [{"at": 0, "step": "x", "unit": 1, "values": [1]}], "written": [[1, 1, "a"]]},
        {"runs": "no", "written": 3},
    ],
)
def test_a_damaged_pack_is_refused_and_not_read_in_part(values_by_key: Any) -> None:
    with pytest.raises(UnknownPack, match="damaged"):
        unpack_values({"format": FORMAT, "minute": values_by_key}, "2024-01-01", Doctype.MINUTE)


def test_the_packed_document_of_the_reference_page_is_what_is_stored() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "documents.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```jsonc\n(.*?)```", page, re.DOTALL)
    document = json.loads(text)
    first, later = "2024-10-28T07:31:02+00:00", "2024-10-29T07:30:40+00:00"
    minutes = {
        "2024-10-26T22:00Z": PackedValue(206_000, None, first, first, 1),
        "2024-10-26T22:30Z": PackedValue(198_500, None, first, first, 1),
        "2024-10-27T00:00Z": PackedValue(70_000, 10, first, later, 2),
        "2024-10-27T00:10Z": PackedValue(68_000, 10, first, later, 2),
    }
    total_at = "2024-10-29T07:30:41+00:00"
    hours = {
        "2024-10-26T22:00Z": PackedValue(404_500, None, total_at, total_at, 2),
        "2024-10-27T00:00Z": PackedValue(138_000, None, total_at, total_at, 2),
    }
    pack = document["_id"].partition(":")[2]
    for period, values_by_key in ((Doctype.MINUTE, minutes), (Doctype.HOUR, hours)):
        assert unpack_values(document, pack, period) == values_by_key
        assert pack_values(values_by_key, period) == document[period.value]
