"""Rows of gas for tests: days and published periods, invented, or read from the recorded home if available."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.support.factories import NOW
from tests.support.recordings import RECORDINGS
from worker.domain.documents import Document, Entry, to_document
from worker.domain.series import Doctype, contract_series, daily_of, intervals_of
from worker.domain.totals import total_entries
from worker.domain.windows import ONE_DAY

GAS = RECORDINGS / "gas"
QUALITIES = {"Mesuré": "measured", "Estimé": "estimated", "Corrigé": "corrected"}


def gas_day(day: date | str, kwh: str = "33", status: str = "final", **details: Any) -> Entry:
    """Return a stored day of gas; ``kwh`` as the supplier writes it."""
    usual = {"volume": 3, "coefficient": 11.16, "quality": "measured", "status": status}
    return Entry(str(day), _amount(kwh), details={**usual, **details})


def gas_period(first: date | str, ends_on: date | str, kwh: str = "990", **details: Any) -> Entry:
    """Return a published period; ``ends_on`` is excluded."""
    usual = {"volume": 88, "coefficient": 11.16, "quality": "measured", "status": "final"}
    return Entry(str(first), _amount(kwh), details={"ends_on": str(ends_on), **usual, **details})


def recorded_days() -> list[Entry]:
    """Return the days with a value of the recorded home; skip the test if the recording is missing."""
    return [
        gas_day(row["gas_day"], row["energy_kwh"], **_details_of(row))
        for row in _rows("gas_home.days.csv.gz")
        if row["energy_kwh"]
    ]


def recorded_periods() -> list[Entry]:
    """Return the published periods of the recorded home."""
    return [
        gas_period(row["start"], row["end"], row["energy_kwh"], **_details_of(row))
        for row in _rows("gas_home.published.csv.gz")
    ]


def _rows(name: str) -> Iterator[dict[str, str]]:
    if not (GAS / name).exists():
        pytest.skip("the recording of a gas home is not here")
    with gzip.open(GAS / name, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _details_of(row: dict[str, str]) -> dict[str, Any]:
    return {
        "volume": float(row["volume_m3"]),
        "coefficient": float(row["coefficient"]),
        "quality": QUALITIES[row["quality"]],
    }


def _amount(kwh: str) -> int:
    return int(Decimal(kwh) * 1_000_000)


def gas_documents(first: date = date(2023, 11, 20), days: int = 50) -> dict[Doctype, list[Document]]:
    """Return documents of each doctype of gas, with months and years that are the sums of the days."""
    each = [gas_day(first + number * ONE_DAY, f"{30 + number}.25", volume=9.2) for number in range(days)]
    each[3] = gas_day(each[3].key, "0", volume=0.28, coefficient=11.42781, index_start=10373, index_end=10373.28)
    contract = {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2018-08-31"}
    daily, published, state = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
    entries = {daily.inputs: each, published.inputs: [gas_period("2023-11-01", "2023-12-01", "1530.5")]}
    entries[state.inputs] = [Entry(str(first), 9_426_000_000, details=contract)]
    for doctype in daily.totals:
        entries[doctype] = [Entry(key, amount) for key, amount in total_entries(each, doctype).items()]
    return {doctype: [to_document("home", doctype, entry, NOW) for entry in rows] for doctype, rows in entries.items()}
