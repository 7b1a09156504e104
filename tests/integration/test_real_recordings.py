"""Recorded meters through the whole window sync: every half-hour and every day as recorded, gaps stay gaps.

Skipped where the recordings are absent; they are never copied into the project.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import (
    NOW,
    PretendSupplier,
    Row,
    content,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.recordings import RECORDINGS, RESPONSES, load_response, needs_recordings
from tests.support.window_runs import Stores
from worker.domain.documents import to_reading
from worker.domain.parsing.electricity import parse_daily, parse_load_curve
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length, local_midnight
from worker.errors import MalformedAnswer
from worker.web.pages.chart_values import Span, View, measures_by_step

pytestmark = needs_recordings


# -- answers


def body(name: str) -> Any:
    payload = load_response(name)
    if isinstance(payload, list) and "_points_" in name:  # a bare list of points: the excerpt began inside
        return {"meter_reading": {"interval_reading": payload}}
    return payload


def watt_hours(parsed: ParsedAnswer) -> dict[str, float]:
    sums: defaultdict[str, int] = defaultdict(int)
    for reading in parsed.readings:
        sums[reading.start.date().isoformat()] += reading.amount
    return {day: total / 1000 for day, total in sums.items()}


@pytest.mark.parametrize(
    "name, readings",
    [
        ("consoapi_v5_200_consumption_load_curve_2023-04-01_2023-04-02.json", 48),
        ("dataconnect_v4_PT10M_points_2020-07-13.fragment.json", None),
        ("dataconnect_v4_PT30M_2020-07-09.fragment.json", None),
        ("dataconnect_v4_PT30M_production_points_2020-06-18.fragment.json", None),
        ("dataconnect_v4_PT60M_2020-08-19.fragment.json", None),
        ("dataconnect_v5_200_consumption_load_curve_2026-09-29_2026-10-01.json", 96),
        ("dc2026_200_courbe_de_charge_consommation_2026-09-29_2026-10-01.json", 96),
        ("med_v5_200_consumption_load_curve_2023-03-01_2023-03-08.json", 144),
    ],
)
def test_every_recorded_load_curve_is_read_to_its_last_point(name: str, readings: int | None) -> None:
    payload = body(name)
    parsed = parse_load_curve(payload)
    points = readings or len(payload["meter_reading"]["interval_reading"])
    assert (len(parsed.readings), parsed.dropped, parsed.differing) == (points, 0, 0)
    for step in ("PT10M", "PT60M"):
        if step in name:
            assert {reading.length for reading in parsed.readings} == {timedelta(minutes=int(step[2:4]))}


@pytest.mark.parametrize(
    "name, readings",
    [
        ("consoapi_v5_200_daily_consumption_2023-04-01_2023-04-02.json", 1),
        ("consoapi_v5_200_daily_consumption_2023-04-01_2023-04-04.json", 3),
        ("consoapi_v5_200_daily_production_2023-04-01_2023-04-02.json", 1),
        ("consoapi_v5_200_daily_production_2023-04-01_2023-04-04.json", 3),
        ("dc2026_200_consommation_quotidienne_2026-09-29_2026-10-01.json", 2),
        ("dc2026_200_production_quotidienne_2026-09-29_2026-10-01.json", 0),
        ("med_v5_200_daily_consumption_2022-03-08_2023-03-08.json", 365),
    ],
)
def test_every_recorded_daily_answer_is_read(name: str, readings: int) -> None:
    parsed = parse_daily(body(name))
    assert (len(parsed.readings), parsed.dropped, parsed.differing) == (readings, 0, 0)


@pytest.mark.parametrize("parse", [parse_daily, parse_load_curve])
@pytest.mark.parametrize(
    "name",
    [
        "consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02.json",
        "dc2026_200_situation_contrat.json",
        "dc2026_200_synth_contrat.json",
        "med_v5_200_contracts.json",
        "med_v5_200_valid_access.json",
        "med_v5_200_valid_access_quota_reached.json",
        "enedisgateway_no_data_found.json",
        "consoapi_v5_500_unknown.json",
    ],
)
def test_a_recorded_answer_of_another_kind_is_refused_and_gives_no_zero(parse: Any, name: str) -> None:
    with pytest.raises(MalformedAnswer):
        parse(body(name))


def test_no_recorded_measure_is_left_out() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    good = {path.name for path in RESPONSES.glob("*.json") if "_200_" in path.name or "_v4_" in path.name}
    assert {name for name in good if name not in tested} == set()


def test_both_generations_told_the_same_meter_alike_and_its_curve_sums_to_its_days() -> None:
    old = parse_load_curve(body("dataconnect_v5_200_consumption_load_curve_2026-09-29_2026-10-01.json"))
    new = parse_load_curve(body("dc2026_200_courbe_de_charge_consommation_2026-09-29_2026-10-01.json"))
    assert old == new
    daily = parse_daily(body("dc2026_200_consommation_quotidienne_2026-09-29_2026-10-01.json"))
    for day, energy in watt_hours(daily).items():
        assert watt_hours(new)[day] == pytest.approx(energy, abs=0.5)


def test_the_recorded_days_of_another_gateway_agree_with_its_curve() -> None:
    curve = watt_hours(parse_load_curve(body("med_v5_200_consumption_load_curve_2023-03-01_2023-03-08.json")))
    daily = watt_hours(parse_daily(body("med_v5_200_daily_consumption_2022-03-08_2023-03-08.json")))
    assert len(curve) == 3
    for day, energy in curve.items():
        assert energy == pytest.approx(daily[day], abs=0.5)


# -- whole homes


@dataclass(frozen=True)
class Recording:
    """``rows``: as a v5 answer has them, by day; ``loads``: kWh by the key of the true start."""

    rows: dict[date, list[Row]]
    loads: dict[str, float]
    steps: dict[str, int]


def table(name: str) -> list[list[str]]:
    with gzip.open(RECORDINGS / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def step_minutes(walls: list[datetime], index: int) -> int:
    """From the label before, or after a hole or a clock change from the label behind: 30 or 60."""
    for earlier, later in ((index - 1, index), (index, index + 1)):
        if earlier >= 0 and later < len(walls):
            minutes = (walls[later] - walls[earlier]) // timedelta(minutes=1)
            if minutes in (30, 60):
                return minutes
    raise AssertionError("neither neighbour tells the step")


@cache
def recording(name: str) -> Recording:
    labels, watts = zip(*table(f"{name}.load_curve"), strict=True)
    ends = [datetime.fromisoformat(label) for label in labels]
    walls = [end.replace(tzinfo=None) for end in ends]
    rows: defaultdict[date, list[Row]] = defaultdict(list)
    loads: dict[str, float] = {}
    steps: dict[str, int] = {}
    previous: datetime | None = None
    for index, (end, wall, value) in enumerate(zip(ends, walls, watts, strict=True)):
        minutes = step_minutes(walls, index)
        length = timedelta(minutes=minutes)
        instant = end.astimezone(UTC) if end.tzinfo else wall.replace(tzinfo=PARIS).astimezone(UTC)
        if not end.tzinfo and previous is not None and instant <= previous:
            instant = previous + length  # naive labels: in order, so the second pass follows the first
        previous = instant
        rows[(wall - timedelta(seconds=1)).date()].append([wall.isoformat(" "), value, f"PT{minutes}M"])
        if value:
            key = (instant - length).strftime("%Y-%m-%dT%H:%MZ")
            loads[key], steps[key] = int(value) * minutes / 60_000, minutes
    return Recording(dict(rows), loads, steps)


@cache
def synced(name: str) -> Stores:
    """Sync the whole recording, a week at a time, and return its stores."""
    rows, stores = recording(name).rows, memory_measures()
    window_sync = make_window_sync(PretendSupplier(curve=serving_curves(rows)), stores)
    first, end = min(rows), max(rows) + ONE_DAY
    while first < end:
        window_sync.sync_window(window_job(DateWindow(first, first + 7 * ONE_DAY), Series.LOAD_CURVE))
        first += 7 * ONE_DAY
    return stores


def stored(name: str, period: Doctype) -> dict[str, dict[str, Any]]:
    documents = synced(name)[period].documents
    return {key.partition(":")[2]: document for key, document in documents.items()}


def steps_of_day(name: str, day: date) -> list[dict[str, Any]]:
    fields = (day.year, day.month, day.day)
    documents = stored(name, Doctype.MINUTE).values()
    return [document for document in documents if (document["year"], document["month"], document["day"]) == fields]


HOMES = ["household_a", pytest.param("household_c", marks=pytest.mark.rest)]


@pytest.mark.parametrize("name", HOMES)
def test_every_recorded_step_is_stored_with_its_value_and_length_and_nothing_else_is(name: str) -> None:
    recorded, minutes = recording(name), stored(name, Doctype.MINUTE)
    assert len(recorded.loads) == sum(1 for rows in recorded.rows.values() for row in rows if row[1])
    assert {key: document["load"] for key, document in minutes.items()} == pytest.approx(recorded.loads, abs=1e-9)
    assert {key: document.get("step", 30) for key, document in minutes.items()} == recorded.steps


@pytest.mark.parametrize("name", HOMES)
def test_every_hour_is_the_sum_of_its_recorded_steps(name: str) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for key, load in recording(name).loads.items():
        sums[f"{key[:13]}:00Z"] += load
    assert {key: document["load"] for key, document in stored(name, Doctype.HOUR).items()} == pytest.approx(
        sums, abs=1e-9
    )


@pytest.mark.parametrize("name", HOMES)
def test_a_second_sync_of_a_recorded_home_writes_nothing(name: str) -> None:
    rows = recording(name).rows
    window_sync = make_window_sync(PretendSupplier(curve=serving_curves(rows)), synced(name))
    for first in (min(rows), date(2023, 10, 26), date(2024, 3, 28), date(2024, 7, 12)):
        report = window_sync.sync_window(window_job(DateWindow(first, first + 7 * ONE_DAY), Series.LOAD_CURVE))
        assert report["facts"]["fetched"] > 200
        assert (report["created"], report["updated"]) == (0, 0)


@pytest.mark.parametrize("days", [63, pytest.param(365, marks=pytest.mark.rest)])
def test_a_year_served_by_hours_and_by_half_hours_again_keeps_its_energy(days: int) -> None:
    """The hours of a day that has all its half-hours are the means of two of them."""
    first_day = date(2023, 3, 19)  # From then on the home's curve is in half-hours.
    year = {day: rows for day, rows in recording("household_a").rows.items() if 0 <= (day - first_day).days < days}
    whole = {day: rows for day, rows in year.items() if len(rows) == 48 and all(row[1] for row in rows)}
    by_hour = {
        day: [
            [second[0], str((int(first[1]) + int(second[1])) / 2), "PT60M"]
            for first, second in zip(rows[::2], rows[1::2], strict=True)
        ]
        for day, rows in whole.items()
    }
    stores, asked = memory_measures(), NOW
    contents = []
    for served in (whole, by_hour, whole):
        asked += timedelta(hours=1)
        window_sync = make_window_sync(
            PretendSupplier(curve=serving_curves(served)), stores, now=lambda asked=asked: asked
        )
        for first in range(0, days, 7):
            start = first_day + first * ONE_DAY
            window_sync.sync_window(window_job(DateWindow(start, start + 7 * ONE_DAY), Series.LOAD_CURVE))
        contents.append(content(stores))
    assert len(whole) > 0.93 * days
    assert contents[0] == contents[2]
    assert contents[0][Doctype.HOUR] == contents[1][Doctype.HOUR]
    assert len(contents[1][Doctype.MINUTE]) == len(contents[0][Doctype.MINUTE]) // 2
    assert sum(contents[1][Doctype.MINUTE].values()) == pytest.approx(
        sum(contents[0][Doctype.MINUTE].values()), abs=1e-6
    )


@pytest.mark.parametrize(
    "name, day, steps",
    [
        ("household_a", date(2022, 10, 30), 50),
        ("household_a", date(2023, 3, 26), 46),
        ("household_a", date(2023, 10, 29), 50),
        ("household_a", date(2024, 3, 31), 46),
        pytest.param("household_c", date(2023, 3, 26), 46, marks=pytest.mark.rest),
        pytest.param("household_c", date(2023, 10, 29), 50, marks=pytest.mark.rest),
        pytest.param("household_c", date(2024, 3, 31), 46, marks=pytest.mark.rest),
        pytest.param("household_c", date(2024, 10, 27), 50, marks=pytest.mark.rest),
    ],
)
def test_a_recorded_clock_change_day_has_all_its_half_hours(name: str, day: date, steps: int) -> None:
    documents = steps_of_day(name, day)
    assert len(documents) == steps == day_length(day) / timedelta(minutes=30)
    assert sum(document.get("fold", 0) for document in documents) == (2 if steps == 50 else 0)


@pytest.mark.parametrize(
    "name, day, change, hours",
    [
        ("household_a", date(2022, 11, 12), -14, 24),
        ("household_a", date(2022, 11, 13), -6, 24),
        ("household_a", date(2023, 3, 18), -6, 23),  # The day before lacks its last hour: -4 % with 24 hours to 23.
        ("household_a", date(2023, 3, 19), -5, 24),
        pytest.param("household_c", date(2024, 7, 31), -18, 23, marks=pytest.mark.rest),  # The same: -14 %.
    ],
)
def test_the_chart_of_a_recorded_day_in_other_steps_than_the_day_before_has_no_gap(
    name: str, day: date, change: int, hours: int
) -> None:
    documents = [*steps_of_day(name, day - ONE_DAY), *steps_of_day(name, day)]
    readings = [to_reading(document, Doctype.MINUTE) for document in documents]
    shown = measures_by_step(Span(View.DAY, day), readings, {}, day + ONE_DAY)
    assert shown.gaps == 0 and shown.comparison is not None
    assert (shown.comparison.change, shown.comparison.number) == (change, hours * 60)


def test_the_recorded_curve_sums_to_the_recorded_days_to_the_watt_hour() -> None:
    daily = {date.fromisoformat(day): int(value) for day, value in table("household_a.daily")}
    assert len(daily) == 197
    for period in (Doctype.MINUTE, Doctype.HOUR):
        sums: defaultdict[date, float] = defaultdict(float)
        for document in stored("household_a", period).values():
            sums[date(document["year"], document["month"], document["day"])] += document["load"] * 1000
        assert [day for day in daily if abs(sums[day] - daily[day]) > 0.5 + 1e-6] == []


@pytest.mark.parametrize(
    "name, day, steps",
    [
        ("household_a", date(2023, 1, 10), 23),  # the hour from 23:00 is the first of the hole
        ("household_a", date(2023, 1, 11), 1),
        pytest.param("household_c", date(2024, 7, 18), 1, marks=pytest.mark.rest),
        pytest.param("household_c", date(2024, 7, 30), 23, marks=pytest.mark.rest),
    ],
)
def test_recorded_holes_stay_holes(name: str, day: date, steps: int) -> None:
    assert len(steps_of_day(name, day)) == steps
    midnight = local_midnight(day).astimezone(UTC)
    hours = {key for key in stored(name, Doctype.HOUR) if midnight <= datetime.fromisoformat(key) < midnight + ONE_DAY}
    assert len(hours) == steps


def test_the_recorded_hour_long_steps_stay_whole() -> None:
    lengths = {key: document.get("step", 30) for key, document in stored("household_a", Doctype.MINUTE).items()}
    hourly = sorted(key for key, minutes in lengths.items() if minutes == 60)
    assert (hourly[0], hourly[-1]) == ("2022-11-12T07:00Z", "2023-03-18T12:00Z")
    assert all(minutes == 60 for key, minutes in lengths.items() if hourly[0] <= key <= hourly[-1])


def test_the_recorded_empty_value_is_no_reading() -> None:
    empty = [row for rows in recording("household_a").rows.values() for row in rows if not row[1]]
    assert [row[0] for row in empty] == ["2023-03-18 00:00:00"]
    assert "2023-03-17T22:00Z" not in stored("household_a", Doctype.MINUTE)
    assert "2023-03-17T22:00Z" not in stored("household_a", Doctype.HOUR)


def test_a_recorded_year_of_days_adds_up() -> None:
    for name in ("household_a", "household_e", "household_g"):
        values = {date.fromisoformat(day): int(value) for day, value in table(f"{name}.daily") if value}
        measures = memory_measures()
        window_sync = make_window_sync(PretendSupplier(daily=serving_days(values)), measures)
        first = min(values)
        while first <= max(values):
            window_sync.sync_window(window_job(DateWindow(first, first + 365 * ONE_DAY), Series.DAILY))
            first += 365 * ONE_DAY
        days = {key.partition(":")[2]: document["load"] for key, document in measures[Doctype.DAY].documents.items()}
        assert days == {day.isoformat(): energy / 1000 for day, energy in values.items()}
        for period in (Doctype.MONTH, Doctype.YEAR):
            total = sum(document["load"] for document in measures[period].documents.values())
            assert total == pytest.approx(sum(values.values()) / 1000, abs=1e-6)
