"""Messages between tasks: they are compact JSON, and what is unpacked equals what was packed."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import Row, end_labels, v5_answer, window_job
from tests.support.plain_readings import to_entries, unpack_readings
from tests.support.strategies import curve_days, several
from worker.domain.measures.documents import Entry
from worker.domain.measures.messages import (
    job_of,
    pack_entries,
    pack_readings,
    series_of,
    unpack_as_entries,
    unpack_entries,
    window_of,
)
from worker.domain.measures.readings import DateWindow, IntervalReading, Period, Series, day_length, local_midnight
from worker.domain.parsing.enedis import parse_load_curve

WINDOW = DateWindow(date(2024, 10, 24), date(2024, 10, 31))


def facts_of(reading: IntervalReading) -> tuple[object, ...]:
    """Return readings with their instant in UTC, because Python compares local times without their fold."""
    return reading.start.astimezone(UTC), reading.start.fold, reading.length, reading.milliwatt_hours


@several
@given(curve_days())
def test_readings_arrive_as_they_were_sent(curve: tuple[date, list[Row]]) -> None:
    readings = parse_load_curve(v5_answer(curve[1])).readings
    arrived = unpack_readings(json.loads(json.dumps(pack_readings(readings))))
    assert [facts_of(reading) for reading in arrived] == [facts_of(reading) for reading in readings]


@several
@given(curve_days(), st.randoms())
def test_packed_readings_give_the_entries_of_the_readings_themselves(
    curve: tuple[date, list[Row]], chance: random.Random
) -> None:
    readings = list(parse_load_curve(v5_answer(curve[1])).readings)
    packed = pack_readings(readings)
    chance.shuffle(packed)
    assert unpack_as_entries(packed, Period.MINUTE) == to_entries(readings, Period.MINUTE)


@several
@given(st.dictionaries(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 10**9)))
def test_packed_days_too(days: dict[date, int]) -> None:
    readings = [IntervalReading(local_midnight(day), day_length(day), energy) for day, energy in days.items()]
    assert unpack_as_entries(pack_readings(readings), Period.DAY) == to_entries(readings, Period.DAY)


@several
@given(
    st.lists(
        st.builds(
            Entry,
            st.text(max_size=5),
            st.integers(0, 10**12),
            st.sampled_from([None, 5, 60]),
            st.none() | st.text(max_size=5),
            st.none() | st.text(max_size=5),
        )
    )
)
def test_entries_arrive_as_they_were_sent(entries: list[Entry]) -> None:
    assert unpack_entries(json.loads(json.dumps(pack_entries(entries)))) == entries


def test_a_batch_tells_its_window_and_nothing_more_of_its_origin() -> None:
    asked = window_job(WINDOW, Series.LOAD_CURVE, claim="account/backfill")
    assert (series_of(asked), window_of(asked)) == (Series.LOAD_CURVE, WINDOW)
    assert job_of({**asked, "readings": []}) == asked  # type: ignore[typeddict-unknown-key]


def test_a_full_window_of_half_hours_stays_a_small_message() -> None:
    days = [WINDOW.start + timedelta(days=number) for number in range(WINDOW.days)]
    rows = [[label, "12345"] for day in days for label in end_labels(day)]
    packed = pack_readings(parse_load_curve(v5_answer(rows)).readings)
    assert len(packed) == 338
    assert len(json.dumps(packed, separators=(",", ":"))) < 9_000
