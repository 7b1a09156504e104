"""The days of a calendar month against what was published for it: two series that nearly agree, and are never added.

A supplier of gas rounds each day's volume to whole m³ and corrects a period when it publishes it, so there is no exact
law as between a curve and its days. A month agrees within one m³ of gas. What lies beyond is a *deviation*: it is told
with both numbers, it is no error, and nothing repairs it.
Source: measured on one home of 35 months (GRDF): 1 month equal, the others off by -10 to +12 kWh.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_KWH
from worker.domain.measures.documents import Entry
from worker.domain.measures.interval_months import calendar_month, coefficients_of, months_of_intervals

# In kWh a m³, where neither the days nor the periods tell one. France has about 10 to 12.
USUAL_COEFFICIENT: Final = Decimal("11.2")


@dataclass(frozen=True, slots=True)
class MonthComparison:
    """A month that is whole in both series, in amounts (mWh). ``allowed``: how far apart they may be."""

    key: str
    daily: int
    published: int
    allowed: int

    @property
    def difference(self) -> int:
        """How much more the days have than what was published."""
        return self.daily - self.published

    @property
    def agrees(self) -> bool:
        """Whether they are within one m³ of gas of each other."""
        return abs(self.difference) <= self.allowed


def compare_months(
    daily: Iterable[Entry], published: Iterable[Entry], usual_coefficient: Decimal = USUAL_COEFFICIENT
) -> list[MonthComparison]:
    """Compare the calendar months that are whole in both series, the oldest first.

    ``daily``: rows of days. ``published``: rows of periods; a month whose periods don't begin at its first day and end
    with its last one, or leave a day out, is compared with nothing. One m³ has the energy of the highest coefficient
    that a day or a period of the month tells, or of ``usual_coefficient``.
    """
    days_by_month: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in daily:
        days_by_month[entry.key[:7]][entry.key] = entry
    comparisons = []
    for month in months_of_intervals(published):
        days = days_by_month.get(month.key, {}).values()
        if month.is_whole and len(days) == calendar_month(month.key).days:
            told = [Decimal(str(one)) for one in (*month.coefficients, *coefficients_of(days))]
            allowed = int(max(told, default=usual_coefficient) * MILLIWATT_HOURS_PER_KWH)
            total = sum(entry.amount for entry in days)
            comparisons.append(MonthComparison(month.key, total, month.amount, allowed))
    return comparisons


def find_deviations(daily: Iterable[Entry], published: Iterable[Entry]) -> list[MonthComparison]:
    """Return the months that don't agree, the oldest first."""
    return [month for month in compare_months(daily, published) if not month.agrees]
