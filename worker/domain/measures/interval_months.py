"""The months of a series of periods: computed on reading, because no document holds them.

A month is the sum of the periods that begin in it. A supplier that cuts its periods at the first of each month makes
calendar months so; a meter that is read every six months has "months" of half a year, which ``is_whole`` tells apart.
Source: measured on 64 published periods of one home (GRDF): cut at the 1st and at the day of the reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from worker.domain.measures.completeness import interval_days
from worker.domain.measures.documents import Entry
from worker.domain.measures.readings import ONE_DAY, DateWindow


@dataclass(frozen=True, slots=True)
class IntervalMonth:
    """The periods that begin in a month; ``amount`` as in ``documents.Entry``.

    ``key``: the month, as 2024-07. ``span``: from the first day of its first period to the end of its last. ``days``:
    how many days its periods have together, fewer than the span's where there is a gap.
    """

    key: str
    amount: int
    span: DateWindow
    days: int
    coefficients: tuple[float, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether its periods are the calendar month, day for day."""
        return self.span == calendar_month(self.key) and self.days == self.span.days


def months_of_intervals(periods: Iterable[Entry]) -> list[IntervalMonth]:
    """Return the months in which periods begin, the oldest first. ``periods``: stored rows of a series of periods."""
    in_order = sorted(periods, key=lambda entry: entry.key)
    return [_sum_up(key, list(rows)) for key, rows in groupby(in_order, key=lambda entry: entry.key[:7])]


def calendar_month(key: str) -> DateWindow:
    """Return the days of a month such as 2024-07."""
    first = date.fromisoformat(f"{key}-01")
    return DateWindow(first, (first + 31 * ONE_DAY).replace(day=1))


def coefficients_of(rows: Iterable[Entry]) -> tuple[float, ...]:
    """Return the coefficients (kWh a m³) that these rows tell, each once."""
    values = ((row.details or {}).get("coefficient") for row in rows)
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _sum_up(key: str, periods: list[Entry]) -> IntervalMonth:
    spans = [interval_days(period) for period in periods]
    return IntervalMonth(
        key,
        sum(period.amount for period in periods),
        DateWindow(spans[0].start, max(span.end for span in spans)),
        sum(span.days for span in spans),
        coefficients_of(periods),
    )
