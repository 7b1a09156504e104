"""Figures of a home for a display: yesterday, this month, this year, and the last day known, of each kind of energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from worker.domain.documents import ALL_KEYS, Document, KeyRange, key_of, key_range
from worker.domain.series import Period, Series
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.stores.measures.measure_store import MeasureStore


@dataclass(frozen=True, slots=True)
class EnergyFigures:
    """The figures of one series of daily energy, in kWh; None where nothing is known of the period, which is not 0.

    ``month`` and ``year``: the known days of the current ones.
    """

    series: Series
    yesterday: float | None
    month: float | None
    year: float | None
    last_day: date

    @property
    def name(self) -> str:
        """``consumption``, ``production`` or ``gas``."""
        return "gas" if self.series.is_gas else self.series.description.direction.value


def read_figures(account_id: str, measures: MeasureStore, now: datetime) -> Iterator[EnergyFigures]:
    """Yield the figures of each series of daily energy that the account has values of. Raises StoreUnavailable."""
    yesterday = civil_date(now) - ONE_DAY
    today = DateWindow(civil_date(now), civil_date(now) + ONE_DAY)
    for series in (series for series in Series if series.is_daily_energy):
        total_of = {doctype.period: doctype for doctype in series.totals}
        month, year = total_of[Period.MONTH], total_of[Period.YEAR]
        years = measures.read(account_id, {year: ALL_KEYS})[year]
        if not years:
            continue
        ranges = {series.inputs: _days_of(years[-1], yesterday), month: key_range(today, month)}
        documents = measures.read(account_id, ranges)
        days = {key_of(document): document["load"] for document in documents[series.inputs]}
        if not days:
            continue
        this_year = next((one["load"] for one in years if key_of(one) == str(today.start.year)), None)
        yield EnergyFigures(
            series=series,
            yesterday=days.get(yesterday.isoformat()),
            month=next((one["load"] for one in documents[month]), None),
            year=this_year,
            last_day=date.fromisoformat(max(days)),
        )


def _days_of(newest_year: Document, yesterday: date) -> KeyRange:
    """Return the keys of the days of the newest year that is known, and of yesterday."""
    first = min(f"{key_of(newest_year)}-01-01", yesterday.isoformat())
    return first, "~"
