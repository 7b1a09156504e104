"""Statistics of what energy costs, and of the energy of each tariff period, in rows like those of ``statistics``.

A day costs what it costs everywhere: its exact cost, without the subscription, is divided among its hours. A day of one
tariff period is divided as its energy is. Where an option has several, the energy of a period, which registers tell,
is divided in proportion to what the curve tells of the period's hours; without such hours it is in the day's first row.

The running sum is exact until it is rounded, and a row's amount is the difference of two rounded sums. So neither
depends on where sending begins. An hour that has no price, or nothing of a period, has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Final

from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, round_half_up
from worker.domain.prices import PERIODS
from worker.domain.prices.choices import TariffChoices, option_of
from worker.domain.prices.cost import EURO, Cost
from worker.domain.prices.energy import Amount, EnergySource, PeriodEnergies
from worker.domain.series import Series
from worker.domain.statistics import GAS_DAY_STARTS_AT, DayAmounts, StatisticRow, split_day
from worker.domain.windows import civil_date

# A change of one of these series changes costs.
COSTED_SERIES: Final = [
    one for one in Series if one.is_daily_energy or one.has_intervals or one.description.adds_up_to is not None
]
CostPart = tuple[datetime, Cost]  # The start of a row, and its part of the day.
_MILLION: Final = 10**6
_DIVIDED: Final = [period for periods in PERIODS.values() if len(periods) > 1 for period in periods]


@dataclass(frozen=True, slots=True)
class CostStatistic:
    """A statistic of costs, or of energy; ``name``: the end of its identifier.

    ``kind``: what is priced. ``period``: the only tariff period; empty for all.
    """

    name: str
    kind: str = "electricity"
    period: str = ""
    is_cost: bool = True

    @property
    def unit(self) -> str:
        return "EUR" if self.is_cost else "kWh"

    @property
    def unit_class(self) -> str | None:
        return None if self.is_cost else "energy"

    def belongs_to(self, choices: Iterable[TariffChoices]) -> bool:
        """Return whether what was chosen needs this statistic."""
        chosen = (one for told in choices for one in getattr(told, self.kind))
        return any(not self.period or self.period in PERIODS[option_of(one)] for one in chosen)

    def amount_of(self, part: Cost) -> Amount | None:
        """Return the exact amount of some time; None if it is unknown."""
        amounts = part.parts if self.is_cost else part.by_period
        found = [amount for period, amount in amounts.items() if self.period in ("", period)]
        return sum(found) if found else None

    def round(self, total: Amount) -> int:
        """Return a sum of exact amounts in whole millionths of a euro or of a kWh."""
        unit = EURO if self.is_cost else MILLIWATT_HOURS_PER_KWH
        return round_half_up(_MILLION * total, unit) // unit


COST_STATISTICS: Final = (
    CostStatistic("consumption_cost"),
    *(CostStatistic(f"consumption_{period}", period=period, is_cost=False) for period in _DIVIDED),
    *(CostStatistic(f"consumption_{period}_cost", period=period) for period in _DIVIDED),
    CostStatistic("production_compensation", "production"),
    CostStatistic("gas_cost", "gas"),
)


def split_costs(
    days: Mapping[date, Cost], hours: Mapping[str, PeriodEnergies], *, is_gas: bool = False
) -> Iterator[CostPart]:
    """Yield the parts of these days, oldest first.

    ``hours``: what the curve tells, by the keys of their documents.
    """
    by_day: dict[date, dict[datetime, PeriodEnergies]] = {}
    for key, hour in hours.items():
        start = datetime.fromisoformat(key)
        by_day.setdefault(civil_date(start), {})[start] = hour
    for day, whole in sorted(days.items()):
        rows: dict[datetime, Cost] = {}
        for period, energy in whole.by_period.items():
            curve = by_day.get(day, {}).items()
            told = {start: hour.by_period[period] for start, hour in curve if period in hour.by_period}
            measured = sum(told.values())
            if period in _DIVIDED and measured not in (0, energy):
                reached = [energy * part // measured for part in accumulate(told.values(), initial=0)]
                told = {start: after - before for start, (before, after) in zip(told, pairwise(reached), strict=True)}
            price = Fraction(whole.parts[period], energy) if energy and period in whole.parts else 0
            for start, amount in split_day(DayAmounts(day, energy, told), GAS_DAY_STARTS_AT if is_gas else 0):
                if amount is not None:
                    row = rows.setdefault(start, PeriodEnergies({}, EnergySource.CURVE))
                    row.by_period[period] = amount
                    if period in whole.parts:
                        row.parts[period] = _to_whole(amount * _to_whole(price))
        yield from sorted(rows.items(), key=lambda row: row[0])


def _to_whole(amount: Amount) -> Amount:
    """Return a fraction of whole units as a whole number, which is quicker."""
    return amount.numerator if amount.denominator == 1 else amount


def to_cost_rows(parts: Iterable[CostPart], total: Amount, statistic: CostStatistic) -> Iterator[StatisticRow]:
    """Yield the rows of a statistic; ``total``: the exact sum before them."""
    before = statistic.round(total)
    for start, part in parts:
        if (amount := statistic.amount_of(part)) is not None:
            total += amount
            after = statistic.round(total)
            yield StatisticRow(start, after - before, after)
            before = after
