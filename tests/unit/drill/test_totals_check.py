"""The comparison of a store with the truth: a right store passes, and each single fault is found and named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, timedelta
from typing import Any

import pytest

from drill.expected_documents import Differences, Loads, Truth, count_wrong_details, find_differences
from tests.support.factories import (
    PretendSupplier,
    curve_of,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    window_job,
)
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow, day_length, local_midnight

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


FURTHER: dict[Series, Any] = {
    Series.PRODUCTION_DAILY: {"2023-10-28": 1_200, "2023-10-29": 0},
    Series.PRODUCTION_LOAD_CURVE: [["2023-10-28T10:00:00Z", 30, 900], ["2023-10-28T10:30:00Z", 30, 0]],
    Series.MAX_POWER: {"2023-10-29": {"va": 4_638, "at": "2023-10-29T02:06:20+02:00"}},
    Series.REGISTERS: {
        "2023-10-28": {"total": 7_000_000, "calendar": "FC000040", "registers": {"HC": 3_000_000, "HP": 4_000_000}}
    },
    Series.PRODUCTION_REGISTERS: {"2023-10-28": {"total": 12, "calendar": None, "registers": {}}},
    Series.CONTRACT: {f"2023-10-{day}": {"subscribed_kva": 9, "tariff": "…"} for day in (27, 28, 29)},
}


def _further_documents() -> Stored:
    registers = {"calendar": "FC000040", "registers": {"HC": 3_000_000, "HP": 4_000_000}}
    rows: dict[Doctype, dict[str, dict[str, Any]]] = {
        Doctype.PRODUCTION_DAY: {"2023-10-28": {"load": 1.2}, "2023-10-29": {"load": 0.0}},
        Doctype.PRODUCTION_MONTH: {"2023-10": {"load": 1.2}},
        Doctype.PRODUCTION_YEAR: {"2023": {"load": 1.2}},
        Doctype.PRODUCTION_MINUTE: {"2023-10-28T10:00Z": {"load": 0.45}, "2023-10-28T10:30Z": {"load": 0.0}},
        Doctype.PRODUCTION_HOUR: {"2023-10-28T10:00Z": {"load": 0.45}},
        Doctype.MAX_POWER: {"2023-10-29": {"load": 4.638, "at": "2023-10-29T02:06:20+01:00"}},
        Doctype.INDEX: {"2023-10-28": {"load": 7_000.0, **registers}},
        Doctype.PRODUCTION_INDEX: {"2023-10-28": {"load": 0.012}},
        Doctype.CONTRACT: {"2023-10-28": {"load": 9.0}},
    }
    return {
        doctype: [{"_id": f"home1:{key}", "day": key, **row} for key, row in rows.get(doctype, {}).items()]
        for doctype in Doctype
    }


def test_a_right_store_of_the_further_series_passes() -> None:
    further = Truth({}, [], FURTHER)
    assert not find_differences(further.expected_loads(), _further_documents())
    assert count_wrong_details(further.expected_details(), _further_documents()) == 0


@pytest.mark.parametrize(
    ("doctype", "change", "expected"),
    [
        (Doctype.PRODUCTION_DAY, {"load": 1.201}, Differences(wrong=1)),
        (Doctype.PRODUCTION_MONTH, {"load": 1.3}, Differences(wrong_totals=1)),
        (Doctype.PRODUCTION_HOUR, {"load": 0.4}, Differences(wrong_totals=1)),
        (Doctype.MAX_POWER, {"load": 4.639}, Differences(wrong=1)),
        (Doctype.INDEX, {"load": 7_000.001}, Differences(wrong=1)),
        (Doctype.PRODUCTION_INDEX, {"load": 0.0}, Differences(wrong_zeros=1)),
        (Doctype.CONTRACT, {"load": 6.0}, Differences(wrong=1, lost=1)),
    ],
)
def test_a_wrong_value_of_a_further_series_is_found(
    doctype: Doctype, change: dict[str, Any], expected: Differences
) -> None:
    stored = _further_documents()
    stored[doctype][0] |= change
    assert find_differences(Truth({}, [], FURTHER).expected_loads(), stored) == expected


def test_wrong_further_fields_are_found() -> None:
    details, stored = Truth({}, [], FURTHER).expected_details(), _further_documents()
    stored[Doctype.MAX_POWER][0]["at"] = "2023-10-29T02:06:21+01:00"
    stored[Doctype.INDEX][0]["registers"] = {"HC": 3_000_001, "HP": 3_999_999}
    assert count_wrong_details(details, stored) == 2
    stored[Doctype.INDEX].clear()
    assert count_wrong_details(details, stored) == 2


def test_a_contract_that_was_never_stored_is_lost() -> None:
    stored = _further_documents()
    stored[Doctype.CONTRACT].clear()
    assert find_differences(Truth({}, [], FURTHER).expected_loads(), stored) == Differences(lost=1)
