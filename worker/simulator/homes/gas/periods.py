"""Billed periods: the days on which the distributor cuts them, and when it publishes them.

Homes with a communicating meter (1M) are cut at the first of each month and at the reading day; the others (6M) are
read twice a year; businesses are cut by month (MM) or by day (JJ).

Source: a public series of one home over five years, and the digest of GRDF's kit for the times.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from worker.domain.measures.readings import ONE_DAY

_HALF_YEARLY_MONTHS: Final = (4, 10)
PUBLISHED_AFTER: Final = 2 * ONE_DAY  # After the reading.
FINAL_AFTER: Final = 3 * ONE_DAY  # After the publication of the month.
LARGE_FINAL_ON: Final = 4  # Day of the next month, for meters that are read each day.
BUSINESS_DAYS_ON: Final = 15  # Day of the next month on which a business gets its days.


class PeriodCuts(NamedTuple):
    """What decides where a meter's periods are cut; ``replaced_on``: the day on which it got another meter."""

    frequency: str
    reading_day: int
    communicating_from: date
    replaced_on: date | None = None

    def between(self, first: date, last: date) -> list[tuple[date, date]]:
        """Return start and end (excluded) of the periods up to ``last``; the first begins on ``first``."""
        cuts = {first, *self._cuts(first, last)}
        if self.replaced_on is not None and first <= self.replaced_on <= last:
            cuts.add(self.replaced_on)
        return list(pairwise(sorted(cuts)))

    def published_on(self, end: date) -> date:
        """Return the day on which a period that ends at ``end`` is published."""
        if self.frequency != "1M" or end < self.communicating_from:
            return end + PUBLISHED_AFTER
        return self.next_reading(end) + PUBLISHED_AFTER

    def next_reading(self, day: date) -> date:
        """Return the next day on which the meter is read, which may be the day itself."""
        this_month = day.replace(day=self.reading_day)
        return this_month if this_month >= day else first_of_next_month(day).replace(day=self.reading_day)

    def final_on(self, day: date) -> date:
        """Return the day on which the value of a gas day becomes final."""
        next_month = first_of_next_month(day)
        if self.frequency in ("MM", "JJ"):
            return next_month.replace(day=BUSINESS_DAYS_ON if self.frequency == "MM" else LARGE_FINAL_ON)
        return next_month.replace(day=self.reading_day) + PUBLISHED_AFTER + FINAL_AFTER

    def _cuts(self, first: date, last: date) -> Iterator[date]:
        """Yield the days on which it is read; a communicating meter is also cut on the day on which it was put in."""
        day = first.replace(day=1)
        while day <= last:
            for cut in self._cuts_of_month(day):
                if first <= cut <= last:
                    yield cut
            day = first_of_next_month(day)
        if self.frequency != "6M" and first <= self.communicating_from <= last:
            yield self.communicating_from

    def _cuts_of_month(self, month: date) -> list[date]:
        if self.frequency == "6M" or month < self.communicating_from.replace(day=1):
            return [month.replace(day=min(self.reading_day + 5, 28))] if month.month in _HALF_YEARLY_MONTHS else []
        if self.frequency == "MM":
            return [month]
        if self.frequency == "JJ":
            return [month + timedelta(days=rank) for rank in range((first_of_next_month(month) - month).days)]
        return [cut for cut in (month, month.replace(day=self.reading_day)) if cut >= self.communicating_from]


def first_of_next_month(day: date) -> date:
    """Return the first day of the month after that of ``day``."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
