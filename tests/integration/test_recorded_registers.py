"""The laws of registers and of the maximum power on what real meters have told.

Skipped where the recordings are absent; they are never copied into the project.
"""

from __future__ import annotations

import csv
import gzip
from datetime import date, datetime

import pytest

from tests.support.plain_readings import to_entries
from tests.support.recordings import RECORDINGS, load_response, needs_recordings
from worker.domain.consistency import check_peaks, check_registers
from worker.domain.documents import Entry
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Doctype, Series
from worker.domain.tariffs import day_energies, find_breaks
from worker.domain.windows import ONE_DAY, PARIS

PERIODS = [f"EAS F{number}" for number in range(1, 11)]

pytestmark = needs_recordings


def recorded_registers(name: str) -> list[Entry]:
    """Return what the registers of an export show; a summer midnight is labelled T01:00 in some, and is midnight's."""
    with gzip.open(RECORDINGS / "exports" / f"{name}.csv.gz", "rt", encoding="utf-8-sig") as file:
        lines = file.read().splitlines()[2:]
    entries = []
    for row in csv.DictReader(lines, delimiter=";"):
        if not row["Horodate"][:2].isdigit():
            break  # The footer tells the calendars.
        registers = {period: int(row[period]) for period in PERIODS if row[period]}
        entries.append(Entry(row["Horodate"][:10], 1000 * int(row["EAS T"]), details={"registers": registers}))
    return entries


def recorded_days(name: str) -> list[Entry]:
    with gzip.open(RECORDINGS / f"{name}.daily.csv.gz", "rt", encoding="utf-8") as file:
        return [Entry(day, 1000 * int(value)) for day, value in list(csv.reader(file))[1:] if value]


@pytest.mark.parametrize(
    ("export", "home", "number"),
    [
        ("Enedis_Conso_Jour_20240109-20240725_99000000000011", "household_a", 197),
        ("Enedis_Conso_Jour_20240430-20240802_99000000000077", "household_g", 93),
    ],
)
def test_the_tariff_periods_of_a_recorded_meter_make_its_days_to_the_watt_hour(
    export: str, home: str, number: int
) -> None:
    entries, days = recorded_registers(export), recorded_days(home)
    energies = list(day_energies(entries))
    assert (len(energies), list(find_breaks(entries))) == (number, [])
    assert all(sum(energy.by_period.values()) == energy.total for energy in energies)
    compared = {energy.day.isoformat() for energy in energies} & {entry.key for entry in days}
    assert len(compared) == number
    assert list(check_registers(Series.REGISTERS, energies, days)) == []


def test_registers_read_a_day_too_early_would_not_make_their_days() -> None:
    """The label is of the midnight that begins its day: a parser that took it for the end would be found out."""
    entries = recorded_registers("Enedis_Conso_Jour_20240109-20240725_99000000000011")
    early = [entry._replace(key=str(date.fromisoformat(entry.key) - ONE_DAY)) for entry in entries]
    findings = list(check_registers(Series.REGISTERS, day_energies(early), recorded_days("household_a")))
    assert len(findings) > 190
    assert {finding.cause.name for finding in findings} == {"SHIFTED_DAY"}


def test_the_recorded_highest_power_is_above_every_step_of_its_day() -> None:
    curve = load_response("consoapi_v5_200_consumption_load_curve_2023-04-01_2023-04-02.json")
    peak = load_response("consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02.json")
    (row,) = peak["interval_reading"]
    at = datetime.fromisoformat(row["date"]).replace(tzinfo=PARIS)
    entry = Entry(row["date"][:10], 1000 * int(row["value"]), details={"at": at.isoformat()})
    steps = to_entries(parse_load_curve(curve).readings, Doctype.MINUTE)
    assert len(steps) == 48
    assert list(check_peaks(Series.MAX_POWER, [entry], steps)) == []
    (highest,) = [step for step in steps if step.amount == max(step.amount for step in steps)]
    start = datetime.fromisoformat(highest.key)
    assert 0 <= (at - start).total_seconds() < 1800, "and it lies within the highest step"
