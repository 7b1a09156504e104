"""The days of a statistic as the measure store has them, read a year at a time so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile

from worker.domain.documents import ALL_KEYS, key_range, to_reading
from worker.domain.series import Doctype
from worker.domain.statistics import DayAmounts, Statistic, StatisticRow, daily_amounts, to_days, to_rows
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.stores.measures.measure_store import Document, MeasureStore


@dataclass(frozen=True)
class StatisticReader:
    """One statistic of one account, read from the store. Methods raise StoreUnavailable."""

    measures: MeasureStore
    account_id: str
    statistic: Statistic

    def rows_since(self, first: date, now: datetime) -> Iterator[StatisticRow]:
        """Yield the rows of ``first`` and of all later days until ``now``, with the sums that the store gives.

        There are none before the oldest value, and none at all where there is no value.
        """
        oldest = self._first_day()
        if oldest is None or not self._has_values(oldest, civil_date(now)):
            return
        begin = max(first, oldest)
        days = self._read_days(DateWindow(begin, max(begin, civil_date(now)) + ONE_DAY))
        rows = to_rows(days, self._sum_before(oldest, begin), self.statistic)
        yield from takewhile(lambda row: row.start <= now, rows)

    def sum_before(self, end: date) -> int:
        """Return the sum of all days before ``end``."""
        oldest = self._first_day()
        return 0 if oldest is None else self._sum_before(oldest, end)

    def _has_values(self, oldest: date, today: date) -> bool:
        """Return whether a field that not every document has is in any of them."""
        if self.statistic.detail == "load":
            return True
        return any(self._read_daily(year) for year in _years(DateWindow(oldest, max(oldest, today) + ONE_DAY)))

    def _read_days(self, window: DateWindow) -> Iterator[DayAmounts]:
        for year in _years(window):
            yield from to_days(year.dates(), self._read_daily(year), self._read_hours(year))

    def _sum_before(self, oldest: date, end: date) -> int:
        """Return the sum of the days from ``oldest`` to the one before ``end``.

        Hours are read only of years in which a day has no daily value: most have all of them.
        """
        total = 0
        for year in _years(DateWindow(oldest, end)) if oldest < end else ():
            daily = self._read_daily(year)
            total += sum(daily.values())
            without = [day for day in year.dates() if day not in daily]
            if without:
                hours = self._read_hours(DateWindow(without[0], without[-1] + ONE_DAY))
                total += sum(values.amount for values in to_days(without, {}, hours))
        return total

    def _first_day(self) -> date | None:
        """Return the day of the oldest value; None if there is none."""
        doctypes = [doctype for doctype in (self.statistic.days, self.statistic.hours) if doctype]
        found = self.measures.read(self.account_id, dict.fromkeys(doctypes, ALL_KEYS), 1)
        oldest = [to_reading(row, doctype).start for doctype, rows in found.items() for row in rows]
        return min(map(civil_date, oldest), default=None)

    def _read_daily(self, window: DateWindow) -> dict[date, int]:
        return daily_amounts(self._read(window, self.statistic.days), self.statistic)

    def _read_hours(self, window: DateWindow) -> list[Document]:
        return self._read(window, self.statistic.hours) if self.statistic.hours else []

    def _read(self, window: DateWindow, doctype: Doctype) -> list[Document]:
        return self.measures.read(self.account_id, {doctype: key_range(window, doctype)}).get(doctype, [])


def _years(window: DateWindow) -> Iterator[DateWindow]:
    """Yield the window cut at the ends of years."""
    start = window.start
    while start < window.end:
        end = min(date(start.year + 1, 1, 1), window.end)
        yield DateWindow(start, end)
        start = end
