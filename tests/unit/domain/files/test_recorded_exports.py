"""Every recorded export is read to its exact Wh, by sums that are made here from its rows.

Skipped where the recordings are absent; they are never copied into the project.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from tests.support.downloaded_files import amounts, read, read_one, refusal
from tests.support.recordings import RECORDINGS, needs_recordings
from worker.domain.files.cells import FileSeries
from worker.domain.series import Series
from worker.domain.windows import PARIS

EXPORTS = RECORDINGS / "exports"
GAS = RECORDINGS / "gas"

pytestmark = [needs_recordings, pytest.mark.rest]


@cache
def _read(path: Path) -> list[FileSeries]:
    return read(path.name, path.read_bytes())


def _lines(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig") as file:
        return list(csv.reader(file, delimiter=";"))


def _paths(pattern: str) -> list[Path]:
    return sorted(EXPORTS.glob(pattern)) if EXPORTS.is_dir() else []


def _watt_minutes(labels: list[datetime], watts: list[str]) -> Iterator[int]:
    """Yield W x minutes of each row; a step is as long as it is to the label before, or to the one behind."""
    for place, value in enumerate(watts):
        if value:
            gaps = [
                abs(labels[a] - labels[b]).seconds // 60
                for a, b in ((place, place - 1), (place, place + 1))
                if 0 <= b < len(labels)
            ]
            yield int(value) * next(gap for gap in gaps if gap in (30, 60))


@pytest.mark.parametrize("path", _paths("Enedis_Conso_Heure*"), ids=lambda path: path.name[:24])
def test_a_curve_of_the_customer_site_is_the_sum_of_its_rows(path: Path) -> None:
    (series,) = _read(path)
    rows = _lines(path)[3:]
    labels = [datetime.fromisoformat(row[0]) for row in rows]
    assert 60 * sum(reading.amount for reading in series.readings) == 1000 * sum(
        _watt_minutes(labels, [row[1] for row in rows])
    )
    assert len(series.readings) + series.dropped == len(rows)
    ends = {reading.start.astimezone(UTC) + reading.length for reading in series.readings}
    assert len(ends) == len(series.readings)
    assert (series.usage_point, series.told_at) == (path.name[-21:-7], labels[-1])


@pytest.mark.parametrize("path", _paths("ENEDIS_R63*"), ids=lambda path: path.name[:24])
def test_a_curve_of_the_portal_is_the_sum_of_its_rows(path: Path) -> None:
    (series,) = _read(path)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    expected = sum(int(row["Valeur"]) * int(row["Pas"].strip("PTM")) for row in rows)
    assert 60 * sum(reading.amount for reading in series.readings) == 1000 * expected
    assert (len(series.readings), series.dropped, series.step_minutes) == (len(rows), 0, (30, 60))
    days = Counter(reading.start.date().isoformat() for reading in series.readings)
    assert [days[day] for day in ("2023-03-26", "2023-10-29", "2024-03-31", "2024-10-27")] == [46, 50, 46, 50]


@pytest.mark.parametrize("path", _paths("Enedis_Conso_Jour*"), ids=lambda path: path.name[:26])
def test_indexes_give_their_differences(path: Path) -> None:
    registers, daily = _read(path)
    rows = [row for row in _lines(path)[3:] if row[0][:1].isdigit()]
    totals = {row[0][:10]: int(row[16]) for row in rows}
    assert amounts(registers) == totals
    assert amounts(daily) == {day: totals[after] - totals[day] for day, after in pairwise(totals)}
    for reading, row in zip(registers.readings, rows, strict=True):
        assert reading.details is not None
        assert sorted(reading.details["registers"].values()) == sorted(int(cell) for cell in row[2:12] if cell)
    names = {frozenset((reading.details or {})["registers"]) for reading in registers.readings}
    assert names in ({frozenset({"HC", "HP"})}, {frozenset({"BUHC", "BUHP", "BCHC", "BCHP", "RHC", "RHP"})})


def test_the_indexes_of_a_home_agree_with_its_curve_to_the_watt_hour() -> None:
    (curve,) = _read(_paths("Enedis_Conso_Heure*")[0])
    _, daily = _read(_paths("Enedis_Conso_Jour*")[0])
    steps: Counter[str] = Counter()
    for reading in curve.readings:
        steps[reading.start.date().isoformat()] += reading.amount
    assert {day: steps[day] / 1000 for day in amounts(daily)} == amounts(daily)


def test_the_days_of_gas_are_its_rows_and_its_months_are_refused() -> None:
    path = GAS / "Donnees_informatives_PCE_DAILY.xlsx"
    series = read_one("DAILY.xlsx", path.read_bytes())
    sheet = CalamineWorkbook.from_path(path).get_sheet_by_index(0)
    rows = {
        row[0]: row[1:] for row in sheet.iter_rows() if str(row[0])[:1].isdigit() and row[7] != "Absence de Données"
    }
    assert (series.series, len(rows), series.dropped) == (Series.GAS_DAILY, 360, 3)  # Three days have no data.
    for reading, (day, cells) in zip(series.readings, rows.items(), strict=True):
        details = reading.details or {}
        assert (f"{reading.start:%d/%m/%Y}", reading.amount) == (day, cells[3] * 1_000_000)
        facts = {
            name: cell for name, cell in zip(("index_start", "index_end", "volume"), cells, strict=False) if cell != ""
        }
        assert {name: value for name, value in details.items() if name != "quality"} == facts
        assert details["quality"] == "measured"
    assert series.told_at == datetime(2021, 11, 24, tzinfo=PARIS)
    assert "instead of days" in refusal("m", (GAS / "Donnees_informatives_PCE_MONTHLY.xlsx").read_bytes())


def test_no_recorded_export_is_left_out() -> None:
    patterns = ("Enedis_Conso_Heure*", "Enedis_Conso_Jour*", "ENEDIS_R63*")
    assert sorted(EXPORTS.iterdir()) == sorted(path for pattern in patterns for path in _paths(pattern))
