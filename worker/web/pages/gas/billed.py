"""The billed periods on the page of a gas account: a table of them, and their months against the sums of the days.

Days and periods are two measures of the same gas, so they stand beside each other and are never added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.domain.completeness import interval_days
from worker.domain.consistency import MonthComparison, compare_months
from worker.domain.documents import Entry, count_places
from worker.domain.series import Series, daily_of
from worker.domain.totals import IntervalMonth, calendar_month, months_of_intervals
from worker.domain.windows import DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.web.pages.gas.details import quality_of, with_unit
from worker.web.pages.measures import Span, View, read_entries
from worker.web.texts import Words

_UNKNOWN: Final = "–"


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A period, from a reading of the meter to the next, in words; what is not known is a dash."""

    label: str
    energy: str
    volume: str
    coefficient: str
    quality: str


@dataclass(frozen=True, slots=True)
class BilledMonth:
    """A month: what was published for it, what its days add up to, and by how much they differ."""

    label: str
    published: str
    daily: str
    difference: str
    note: str


@dataclass(frozen=True, slots=True)
class BilledCard:
    """Everything that the template shows. ``year``: the shown one. ``last``: the newest period in a sentence.

    ``deviation``: a sentence on the month that the page shows; empty where it can't be compared.
    """

    series: Series
    year: str
    last: str
    deviation: str
    rows: list[PeriodRow]
    months: list[BilledMonth]


def build_billed(measures: MeasureStore, account_id: str, series: Series, at: Span, words: Words) -> BilledCard | None:
    """Return the periods of the year that the page shows; None where no period is stored. Raises StoreUnavailable."""
    periods = read_entries(measures, account_id, series)
    if not periods:
        return None
    year = Span.containing(View.YEAR, at.start)
    days = DateWindow(year.start, year.end)
    daily = read_entries(measures, account_id, daily_of(supplier=series.description.supplier), days)
    compared = {month.key: month for month in compare_months(daily, periods)}
    rows = [period for period in reversed(periods) if interval_days(period).overlap(days)]
    places = count_places([period.amount for period in rows], least=0)
    months = [month for month in months_of_intervals(periods) if month.key[:4] == str(year.start.year)]
    shown = compared.get(f"{at.start:%Y-%m}") if at.view is not View.YEAR else None
    return BilledCard(
        series=series,
        year=str(year.start.year),
        last=words("gas.billed.last", period=_label(periods[-1], words), energy=words.energy(periods[-1].amount)),
        deviation=_describe_deviation(shown, words) if shown else "",
        rows=[_to_row(period, places, words) for period in rows],
        months=_to_months([month for month in months if month.is_whole], compared, words),
    )


def _to_row(period: Entry, places: int, words: Words) -> PeriodRow:
    details = period.details or {}
    return PeriodRow(
        label=_label(period, words),
        energy=words.kwh(period.amount, places),
        volume=with_unit(details["volume"], "m³", words) if "volume" in details else _UNKNOWN,
        coefficient=with_unit(details["coefficient"], "", words).strip() if "coefficient" in details else _UNKNOWN,
        quality=quality_of(details, words),
    )


def _label(period: Entry, words: Words) -> str:
    days = interval_days(period)
    return words("gas.billed.period", start=words.medium_day(days.start), end=words.medium_day(days.end))


def _to_months(
    months: Sequence[IntervalMonth], compared: Mapping[str, MonthComparison], words: Words
) -> list[BilledMonth]:
    amounts = [month.amount for month in months]
    places = count_places([*amounts, *(month.daily for month in compared.values())], least=0)
    return [_to_month(month, compared.get(month.key), places, words) for month in months]


def _to_month(month: IntervalMonth, comparison: MonthComparison | None, places: int, words: Words) -> BilledMonth:
    first = calendar_month(month.key).start
    label, published = words.month_name(first), words.kwh(month.amount, places)
    if comparison is None:
        return BilledMonth(label, published, _UNKNOWN, _UNKNOWN, "")
    note = "" if comparison.agrees else words("gas.billed.deviates")
    daily, difference = words.kwh(comparison.daily, places), words.signed_kwh(comparison.difference, places)
    return BilledMonth(label, published, daily, difference, note)


def _describe_deviation(month: MonthComparison, words: Words) -> str:
    """Return what the days of a month are beside what was published for it, with both numbers."""
    if month.difference == 0:
        key = "gas.billed.equal"
    else:
        key = "gas.billed.close" if month.agrees else "gas.billed.deviation"
    places = count_places([month.daily, month.published], least=0)
    return words(
        key,
        month=words.month(date.fromisoformat(f"{month.key}-01")),
        daily=words.energy(month.daily, places),
        published=words.energy(month.published, places),
        difference=words.signed_kwh(month.difference, places) + "\N{NO-BREAK SPACE}kWh",
    )
