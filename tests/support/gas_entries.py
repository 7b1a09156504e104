"""Rows of gas for tests: days and published periods, made, or read from the recorded home where it is there."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.support.recordings import RECORDINGS
from worker.domain.measures.documents import Entry

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
    """Return the days of the recorded home that have a value; skips the test where the recording is not there."""
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
