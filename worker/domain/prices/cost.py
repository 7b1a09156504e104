"""What energy costs: by hour and day, added up to months, years and any days, and as rows for people.

A day costs its energy by tariff period times the price of that civil day, and its part of the subscription: a twelfth
of the year's, spread over the days of its month. A day of which nothing is known, or that has no price, costs nothing,
and is not among the days that are known. An hour has an equal part of its day's subscription. Costs are exact fractions
of euros, rounded half up once, where they are shown.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from math import floor
from typing import Any, Final, TypeVar

from worker.domain.completeness import civil_day, interval_days
from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, Entry, period_key
from worker.domain.prices import PERIODS, Price
from worker.domain.prices.energy import HOURS, Amount, EnergySource, PeriodEnergies, add_energies
from worker.domain.series import Period
from worker.domain.totals import count_names
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length

PriceOn = Callable[[date], Price | None]
Key = TypeVar("Key", date, str)
ONLY_PERIOD: Final = "price"  # Of gas and of production.
_HOUR: Final = timedelta(hours=1)
_MWH_PER_KWH: Final = MILLIWATT_HOURS_PER_KWH
_ORDER: Final = [*(period for periods in PERIODS.values() for period in periods), ONLY_PERIOD]
_DATE_LENGTHS: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}


@dataclass(frozen=True, slots=True)
class Cost:
    """What some time costs in euros; exact. ``energies``: what was used in it as far as it has a price."""

    energies: PeriodEnergies
    by_period: Mapping[str, Fraction]
    subscription: Fraction

    @property
    def total(self) -> Fraction:
        return sum(self.by_period.values(), self.subscription)


def price_energies(energies: Mapping[Key, PeriodEnergies], price_on: PriceOn) -> dict[Key, Cost]:
    """Return what days, or hours by the keys of their documents, cost; those without a price are left out."""
    costs = {}
    for key, one in energies.items():
        day = civil_day(key) if isinstance(key, str) else key
        price = price_on(day)
        if price and one.by_period.keys() <= price.energy.keys():
            euros = {
                name: energy * Fraction(price.energy[name]) / _MWH_PER_KWH for name, energy in one.by_period.items()
            }
            hours = day_length(day) // _HOUR if isinstance(key, str) else 1
            parts = 12 * monthrange(day.year, day.month)[1] * hours
            costs[key] = Cost(one, euros, Fraction(price.subscription) / parts)
    return costs


def price_intervals(intervals: Iterable[Entry], price_on: PriceOn) -> dict[date, Cost]:
    """Return what periods of days cost that a supplier bills, by their first days.

    Their energy is spread evenly over their days, which is an estimate where the price changes in one.
    """
    costs = {}
    for entry in intervals:
        span = interval_days(entry)
        prices = {day: price_on(day) for day in span.dates()}
        has_change = any(price != prices[span.start] for price in prices.values())
        part = PeriodEnergies(
            {ONLY_PERIOD: Fraction(entry.amount, span.days)}, EnergySource.REGISTERS, estimated=has_change
        )
        costs[span.start] = add_costs(price_energies(dict.fromkeys(prices, part), prices.get).values(), span.days)
    return costs


def add_costs(costs: Iterable[Cost], expected: int) -> Cost:
    """Return the cost of ``expected`` days, from that of those that have one."""
    costs, by_period = list(costs), dict[str, Fraction]()
    for cost in costs:
        for period, euros in cost.by_period.items():
            by_period[period] = by_period.get(period, Fraction(0)) + euros
    energies = add_energies((cost.energies for cost in costs), expected)
    return Cost(energies, by_period, sum((cost.subscription for cost in costs), Fraction(0)))


def total_cost(window: DateWindow, costs: Mapping[date, Cost]) -> Cost:
    """Return the cost of a window from those of its days, or of the intervals that begin in it."""
    found = [costs[day] for day in window.dates() if day in costs]
    return add_costs(found, max(window.days, sum(cost.energies.known for cost in found)))


def rows_by_day(
    window: DateWindow, period: Period, costs: Mapping[date, Cost], paid: Mapping[date, Cost] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row for each day, month or year of a window, which may begin and end within one; ``end`` is excluded.

    ``paid``: what is paid for production, where there are panels.
    """
    for _, group in groupby(window.dates(), key=lambda day: str(day)[: _DATE_LENGTHS[period]]):
        days = list(group)
        yield row_of_days(DateWindow(days[0], days[-1] + ONE_DAY), costs, paid)


def row_of_days(
    span: DateWindow, costs: Mapping[date, Cost], paid: Mapping[date, Cost] | None = None
) -> dict[str, Any]:
    """Return the row of any days."""
    row = _to_row(str(span.start), str(span.end), total_cost(span, costs), Period.MONTH)
    if paid is not None:
        sold = total_cost(span, paid)
        kwh, euros = (amounts.get(ONLY_PERIOD) for amounts in (sold.energies.by_period, sold.by_period))
        row["production_kwh"] = None if kwh is None else _format(kwh, _MWH_PER_KWH, 3)
        row["production_eur"] = None if euros is None else _format(euros)
    return row


def rows_by_hour(window: DateWindow, costs: Mapping[str, Cost]) -> Iterator[dict[str, Any]]:
    """Yield a row for each hour of a window."""
    start, end = window.instants()
    while start < end:
        cost = costs.get(period_key(start, HOURS)) or add_costs([], 60)
        texts = [moment.astimezone(PARIS).isoformat() for moment in (start, start + _HOUR)]
        yield _to_row(texts[0], texts[1], cost, Period.HOUR)
        start += _HOUR


def round_together(amounts: Sequence[Fraction]) -> list[int]:
    """Return amounts in whole cents that add up to their rounded sum.

    Where cents lack or are too many, the amount with the largest error takes one, then the next.
    """
    cents = [100 * amount for amount in amounts]
    shown = list(map(_round, cents))
    while lacking := _round(sum(cents, Fraction(0))) - sum(shown):
        sign = 1 if lacking > 0 else -1
        shown[max(range(len(cents)), key=lambda place: sign * (cents[place] - shown[place]))] += sign
    return shown


def _to_row(start: str, end: str, cost: Cost, counted_as: Period) -> dict[str, Any]:
    names = sorted(filter(cost.energies.by_period.get, cost.by_period), key=_ORDER.index)
    *parts, subscription = round_together([*(cost.by_period[name] for name in names), cost.subscription])
    euros = (sum(parts), subscription, sum(parts) + subscription)
    texts = [_format(cents, 100) if cost.energies.source else None for cents in euros]
    counts = (cost.energies.known, cost.energies.expected)
    periods = [
        {"name": name, "kwh": _format(cost.energies.by_period[name], _MWH_PER_KWH, 3), "eur": _format(cents, 100)}
        for name, cents in zip(names, parts, strict=True)
    ]
    row: dict[str, Any] = {"start": start, "end": end, "periods": periods}
    row |= zip(("energy_eur", "subscription_eur", "total_eur"), texts, strict=True)
    row |= zip(count_names(counted_as), counts, strict=True)
    return row | {"estimated": cost.energies.estimated, "source": cost.energies.source}


def _round(amount: Amount) -> int:
    """Round half up; no amount is negative."""
    return floor(amount + Fraction(1, 2))


def _format(amount: Amount, unit: int = 1, places: int = 2) -> str:
    return f"{Decimal(_round(Fraction(amount, unit) * 10**places)).scaleb(-places):f}"
