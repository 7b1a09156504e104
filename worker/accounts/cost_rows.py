"""Costs of an account as rows, as `releve cost` and the API give them, and as the last columns of CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from worker.accounts.prices import AccountTariff, load_tariff, read_costs, read_hours
from worker.domain.account import Account
from worker.domain.documents import Document, key_of, start_of
from worker.domain.prices.cost import Cost, format_total, rows_by_day, rows_by_hour, total_cost
from worker.domain.series import Direction, Doctype, Period
from worker.domain.totals import calendar_days, calendar_month
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry


class RowsRefused(ValueError):
    """Rows that can't be given; one line says why."""


def find_window(today: date, period: Period, first: date | None, last: date | None) -> DateWindow:
    """Return the days from ``first`` to ``last``, both included.

    By default they are the last ones up to yesterday, the months of a year, or three years. Raises RowsRefused.
    """
    if any(day and day.year not in range(2000, 2100) for day in (first, last)):
        raise RowsRefused("give days of the years 2000 to 2099")
    ends = {Period.MONTH: calendar_month(f"{today:%Y-%m}").end, Period.YEAR: date(today.year + 1, 1, 1)}
    end = last + ONE_DAY if last else ends.get(period, today)
    year = (end - ONE_DAY).year
    starts = {Period.MONTH: date(year, 1, 1), Period.YEAR: date(year - 2, 1, 1)}
    start = first or starts.get(period) or end - (7 if period is Period.HOUR else 31) * ONE_DAY
    if start >= end:
        raise RowsRefused(f"from {start} to {end - ONE_DAY}: the first day must not come after the last")
    return DateWindow(start, end)


def read_rows(
    measures: MeasureStore, account_id: str, tariff: AccountTariff, window: DateWindow, period: Period
) -> tuple[list[dict[str, Any]], dict[date, Cost], dict[date, Cost] | None]:
    """Return a row for each period of a window, and what its days cost and earn, which isn't read for hours.

    Raises RowsRefused.
    """
    if period is Period.HOUR:
        if tariff.kind == "gas":
            raise RowsRefused("gas has no hours: ask by day, month or year")
        return list(rows_by_hour(window, *read_hours(measures, account_id, tariff, window))), {}, None
    days, paid = read_costs(measures, account_id, tariff, window)
    if period is Period.DAY and any(one.expected > 1 for one in days.values()):
        raise RowsRefused("this meter is read by periods of several days: ask by month or year")
    return list(rows_by_day(window, period, days, paid)), days, paid


@dataclass(frozen=True)
class CostColumns:
    """The last columns of CSV files of a doctype whose energy has prices; without ``names`` there are none.

    ``names``: the total, as in a row, then for a month or a year the number of days that it counts. A shorter period
    has its total only if all its energy is priced.
    """

    measures: MeasureStore
    account_id: str
    doctype: Doctype
    tariff: AccountTariff
    names: tuple[str, ...]

    def read(self, documents: Iterable[Document]) -> Iterator[tuple[Document, dict[str, Decimal | None]]]:
        """Yield each document with its cells by their names.

        The costs of a year are in memory at once, or of a month by hour.
        """
        by_hour, counts_days = self.doctype.period is Period.HOUR, len(self.names) > 1
        for _, group in groupby(documents, key=lambda one: (one["year"], one["month"] if by_hour else 0)):
            rows = {key_of(one): one for one in group}
            costs = self._read_costs(rows) if self.names else {}
            for key, row in rows.items():
                cost = costs.get(key) or Cost({}, None, 0)
                total = format_total(cost) if counts_days or cost.known >= row.get("minutes", cost.expected) else None
                cells = (Decimal(total), Decimal(cost.known)) if total else (None, Decimal(0))
                yield row, dict(zip(self.names, cells, strict=False))

    def _read_costs(self, rows: Mapping[str, Document]) -> Mapping[str, Cost]:
        spans = {key: self._days_of(key, row) for key, row in rows.items()}
        window = DateWindow(min(days.start for days in spans.values()), max(days.end for days in spans.values()))
        source = self.measures, self.account_id, self.tariff, window
        place = int(self.doctype.series.description.direction is Direction.PRODUCTION)
        if self.doctype.period is Period.HOUR:
            return read_hours(*source)[place] or {}
        costs = read_costs(*source)[place] or {}
        return {key: total_cost(days, costs) for key, days in spans.items()}

    def _days_of(self, key: str, row: Document) -> DateWindow:
        if self.doctype.period in (Period.MONTH, Period.YEAR):
            return calendar_days(key)
        day = civil_date(start_of(key))
        return DateWindow(day, date.fromisoformat(row["ends_on"]) if "ends_on" in row else day + ONE_DAY)


def find_cost_columns(registry: Registry, measures: MeasureStore, account: Account, doctype: Doctype) -> CostColumns:
    """Return the columns of costs that the files of an account's doctype have."""
    tariff, series, period = load_tariff(registry, measures, account), doctype.series, doctype.period
    is_energy = series.is_daily_energy or series.has_intervals or (series.has_steps and period is Period.HOUR)
    is_sold = series.description.direction is Direction.PRODUCTION
    has_prices = any(getattr(one, "production" if is_sold else tariff.kind) for one in tariff.choices)
    counts = ("priced_days",) if period in (Period.MONTH, Period.YEAR) else ()
    names = ("production_eur" if is_sold else "total_eur", *counts)
    return CostColumns(measures, account.id, doctype, tariff, names if is_energy and has_prices else ())
