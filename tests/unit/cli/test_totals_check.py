"""The comparison of a store with the truth: a right store passes, and each single fault is found and named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, timedelta
from typing import Any

import pytest

from tests.support.factories import (
    PretendSupplier,
    curve_of,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    window_job,
)
from worker.cli.totals_check import Differences, Loads, Truth, find_differences
from worker.domain.measures.readings import ONE_DAY, DateWindow, day_length, local_midnight
from worker.domain.measures.series import USUAL_SERIES, Doctype

Stored = dict[Doctype, list[dict[str, Any]]]

CHANGE = date(2023, 10, 29)  # A day of 50 half-hours.
DAYS = [CHANGE - ONE_DAY, CHANGE, CHANGE + ONE_DAY]
WINDOW = DateWindow(DAYS[0], DAYS[-1] + ONE_DAY)
HALF_HOUR = timedelta(minutes=30)
WATT_HOURS = {day: 5_000 + rank for rank, day in enumerate(DAYS)}


def truth() -> Loads:
    """Return the loads that the simulator would report of the meter in ``stored``."""
    steps = []
    for day in DAYS:
        first = local_midnight(day).astimezone(UTC)
        for rank in range(day_length(day) // HALF_HOUR):
            steps.append([f"{first + rank * HALF_HOUR:%Y-%m-%dT%H:%M:%SZ}", 30, 300 + rank])
    return Truth({str(day): wh for day, wh in WATT_HOURS.items()}, steps).expected_loads()


@pytest.fixture
def stored() -> Stored:
    """Return the documents that a window of each series stores of this meter."""
    curves = {day: curve_of(day, 300) for day in DAYS}
    measures = memory_measures()
    walk = make_window_sync(PretendSupplier(daily=serving_days(WATT_HOURS), curve=serving_curves(curves)), measures)
    for series in USUAL_SERIES:
        walk.sync_window(window_job(WINDOW, series))
    return {
        period: [dict(document) for document in store.read("home1", "0", "~")] for period, store in measures.items()
    }


def lose(documents: list[dict[str, Any]]) -> None:
    documents.pop(3 % len(documents))


def double(documents: list[dict[str, Any]]) -> None:
    documents.append({**documents[0], "_id": documents[0]["_id"] + "x"})


def change(documents: list[dict[str, Any]]) -> None:
    documents[-1]["load"] += 0.0005


def put_zero(documents: list[dict[str, Any]]) -> None:
    documents[1 % len(documents)]["load"] = 0.0


def test_a_store_that_is_right_passes(stored: Stored) -> None:
    assert sum(map(len, stored.values())) == 3 * 48 + 2 + 73 + 3 + 1 + 1
    assert not find_differences(truth(), stored)


@pytest.mark.parametrize(
    "period, fault, expected",
    [
        (Doctype.MINUTE, lose, Differences(lost=1)),
        (Doctype.DAY, lose, Differences(lost=1)),
        (Doctype.HOUR, lose, Differences(wrong_totals=1)),
        (Doctype.YEAR, lose, Differences(wrong_totals=1)),
        (Doctype.MINUTE, double, Differences(doubled=1, wrong=1)),
        (Doctype.MONTH, double, Differences(doubled=1, wrong_totals=1)),
        (Doctype.MINUTE, change, Differences(wrong=1)),
        (Doctype.DAY, change, Differences(wrong=1)),
        (Doctype.HOUR, change, Differences(wrong_totals=1)),
        (Doctype.MONTH, change, Differences(wrong_totals=1)),
        (Doctype.YEAR, change, Differences(wrong_totals=1)),
        (Doctype.MINUTE, put_zero, Differences(wrong_zeros=1)),
        (Doctype.DAY, put_zero, Differences(wrong_zeros=1)),
        (Doctype.HOUR, put_zero, Differences(wrong_zeros=1)),
    ],
)
def test_one_fault_is_found_and_called_by_its_name(
    stored: Stored, period: Doctype, fault: Callable[[list[dict[str, Any]]], None], expected: Differences
) -> None:
    fault(stored[period])
    assert find_differences(truth(), stored) == expected


def test_a_zero_where_nothing_was_measured_is_an_invented_one(stored: Stored) -> None:
    hole = truth()
    del hole[Doctype.MINUTE]["2023-10-29T00:30Z"]
    stored[Doctype.MINUTE] = [
        {**document, "load": 0.0} if document["_id"].endswith("2023-10-29T00:30Z") else document
        for document in stored[Doctype.MINUTE]
    ]
    assert find_differences(hole, stored) == Differences(wrong_zeros=1)
