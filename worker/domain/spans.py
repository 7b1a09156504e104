"""Sums of any days, their comparison with other days, and years that begin on the day of a bill.

Two spans that are whole years apart are compared over the days of the calendar that are known in both, so that no
missing day makes one of them look thrifty. Other spans are compared over all their known days, and also by the mean of
a day, because their numbers of days may differ. Amounts are in milliwatt-hours, or in millionths of a euro.

The day of a bill is kept as a day of a year with 29 February. In years without this day, it is the 28th.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

from worker.domain.documents import round_change, round_half_up
from worker.domain.windows import ONE_DAY, DateWindow

LEAP_YEAR: Final = 2000


class SpanSum(NamedTuple):
    """What is known of some days: the sum of ``days`` of them."""

    amount: int
    days: int

    @property
    def mean(self) -> int:
        """The amount of a day; at least one must be known."""
        return round_half_up(self.amount, self.days) // self.days


class SpanComparison(NamedTuple):
    """The sums of two spans, over the same known days of the calendar or else (``same_days``) over all known days."""

    now: SpanSum
    before: SpanSum
    same_days: bool

    def changes(self) -> Iterator[tuple[int, int | None]]:
        """Yield the difference and the change in percent, which is None if nothing was before.

        If the sums have different numbers of days, the same follows for the mean of a day.
        """
        pairs = [(self.now.amount, self.before.amount)]
        if self.now.days != self.before.days:
            pairs.append((self.now.mean, self.before.mean))
        for now, before in pairs:
            yield now - before, round_change(now, before) if before else None


def sum_days(window: DateWindow, amounts: Mapping[date, int]) -> SpanSum:
    known = [amounts[day] for day in window.dates() if day in amounts]
    return SpanSum(sum(known), len(known))


def split_by(length: int, window: DateWindow) -> Iterator[DateWindow]:
    """Yield the parts of a window whose days have the same first characters (``length``): 7 for months, 10 for days."""
    for _, group in groupby(window.dates(), key=lambda day: str(day)[:length]):
        days = list(group)
        yield DateWindow(days[0], days[-1] + ONE_DAY)


def compare_spans(one: DateWindow, other: DateWindow, amounts: Mapping[date, int]) -> SpanComparison | None:
    """Return the comparison of two spans; None if there is no day to compare."""
    years = other.start.year - one.start.year
    same_days = years != 0 and (_move(one, years) == other or _move(other, -years) == one)
    if same_days:
        twins = ((day, _in_year(day, day.year + years)) for day in one.dates())  # 29 February may have none.
        pairs = [(a, b) for a, b in twins if a.day == b.day and b in other and a in amounts and b in amounts]
        now, before = (SpanSum(sum(amounts[pair[side]] for pair in pairs), len(pairs)) for side in (0, 1))
    else:
        now, before = sum_days(one, amounts), sum_days(other, amounts)
    return SpanComparison(now, before, same_days) if now.days and before.days else None


def same_days_before(span: DateWindow) -> DateWindow:
    """Return the same days a year earlier; 28 February in the place of a 29th."""
    return _move(span, -1)


def bill_year(bill_day: date, day: date) -> DateWindow:
    """Return the year with this day that begins on the day of the bill, of which only day and month count."""
    year = day.year if _in_year(bill_day, day.year) <= day else day.year - 1
    return DateWindow(_in_year(bill_day, year), _in_year(bill_day, year + 1))


def _move(span: DateWindow, years: int) -> DateWindow:
    start, last = (_in_year(day, day.year + years) for day in (span.start, span.last))
    return DateWindow(start, last + ONE_DAY)


def _in_year(day: date, year: int) -> date:
    return date(year, day.month, min(day.day, monthrange(year, day.month)[1]))
