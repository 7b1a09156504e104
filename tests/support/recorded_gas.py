"""Two years of a home's gas beside the project, and what must be stored of it; it is never copied into the project."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Final

from tests.support.recordings import RECORDINGS
from worker.domain.documents import ALL_KEYS, Document, details_of, key_of
from worker.domain.series import Doctype, Period, daily_of, find_doctype, intervals_of
from worker.stores.measures.measure_store import MeasureStore

GAS: Final = RECORDINGS / "gas"
DAYS_FILE: Final = GAS / "gas_home.days.csv.gz"
PERIODS_FILE: Final = GAS / "gas_home.published.csv.gz"
DAILY, PUBLISHED = daily_of(supplier="grdf"), intervals_of("grdf")
ABSENT: Final = date(2021, 8, 10)  # The day of which the file has no number.
_QUALITIES: Final = {"Mesuré": "measured", "Estimé": "estimated", "Corrigé": "corrected"}
_NUMBERS: Final = {
    "volume_m3": "volume",
    "coefficient": "coefficient",
    "index_start": "index_start",
    "index_end": "index_end",
}


@dataclass(frozen=True)
class RecordedGas:
    """The rows of both files, by the first day of each."""

    days: Mapping[date, Mapping[str, str]]
    periods: Mapping[date, Mapping[str, str]]

    @property
    def measured(self) -> dict[date, Mapping[str, str]]:
        """The days that have numbers."""
        return {day: row for day, row in self.days.items() if row["energy_kwh"]}

    @property
    def billed_days(self) -> int:
        """How many days the periods hold, none of which is in two of them."""
        return sum((date.fromisoformat(row["end"]) - start).days for start, row in self.periods.items())

    def check_days(self, measures: MeasureStore, account_id: str, final_before: date = date.min) -> None:
        """Assert that each measured day is stored with every field, nothing else is, and all totals are exact.

        ``final_before``: the first day that is still provisional.
        """
        status = {day: "final" if day < final_before else "provisional" for day in self.measured}
        assert _stored(measures, account_id, DAILY.inputs) == {
            str(day): (Decimal(row["energy_kwh"]), _details(row, status=status[day]))
            for day, row in self.measured.items()
        }
        for period, length in ((Period.MONTH, 7), (Period.YEAR, 4)):
            sums: defaultdict[str, Decimal] = defaultdict(Decimal)
            for day, row in self.measured.items():
                sums[str(day)[:length]] += Decimal(row["energy_kwh"])
            doctype = find_doctype(DAILY, period)
            assert doctype is not None
            totals = _stored(measures, account_id, doctype)
            assert {key: load for key, (load, _) in totals.items()} == sums

    def check_periods(self, measures: MeasureStore, account_id: str) -> None:
        """Assert that each period is stored with every field, and nothing else is."""
        assert _stored(measures, account_id, PUBLISHED.inputs) == {
            str(start): (Decimal(row["energy_kwh"]), _details(row, ends_on=row["end"], status="final"))
            for start, row in self.periods.items()
        }


@cache
def recorded_gas() -> RecordedGas:
    """Return the rows of both files, which are there."""
    days = {date.fromisoformat(row["gas_day"]): row for row in _rows(DAYS_FILE.name)}
    periods = {date.fromisoformat(row["start"]): row for row in _rows(PERIODS_FILE.name)}
    home = RecordedGas(days, periods)
    assert (len(days), len(periods)) == (732, 64)
    assert set(days) - set(home.measured) == {ABSENT}
    return home


def number(text: str) -> Any:
    """Return a number of the files as JSON has it; None for an empty text."""
    return None if text == "" else float(text) if "." in text else int(text)


def _rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(GAS / name, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _details(row: Mapping[str, str], **others: Any) -> dict[str, Any]:
    numbers = {ours: number(row[theirs]) for theirs, ours in _NUMBERS.items() if row[theirs] != ""}
    return {**others, **numbers, "quality": _QUALITIES[row["quality"]]}


def _stored(measures: MeasureStore, account_id: str, doctype: Doctype) -> dict[str, tuple[Decimal, Any]]:
    """Return load and further fields of each document, by key; a load has the decimals that its JSON has."""
    documents: list[Document] = measures.read(account_id, {doctype: ALL_KEYS})[doctype]
    return {key_of(one): (Decimal(repr(one["load"])), details_of(one)) for one in documents}
