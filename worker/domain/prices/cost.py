"""What energy costs: by hour and day, added up to months, years and any days, and as rows for people.

A day costs its energy by tariff period times the price of that civil day, and its part of the subscription: a twelfth
of the year's, spread over the days of its month. A day of which nothing is known, or that has no price, is left out
whole. A day known in part counts with its known energy and the whole day's subscription, but not as a known day. A
known hour has an equal part of its day's subscription. Costs are exact, and rounded half up once, where they are shown:
they are counted in parts of a euro so small that, as a rule, they are whole numbers, which are quicker than fractions.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from math import lcm
from typing import Any, Final, TypeVar

from worker.domain.completeness import civil_day, interval_days
from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, Entry, period_key, round_half_up, round_kwh
from worker.domain.prices import PERIODS, Price
from worker.domain.prices.energy import HOURS, Amount, EnergySource, PeriodEnergies, add_energies
from worker.domain.series import Period
from worker.domain.totals import count_names
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length

Cost = PeriodEnergies  # Of which the price is known.
# The parts of a euro: prices have at most eight decimals, and a subscription is divided by twelve months, 28 to 31
# days, and 23 to 25 hours.
EURO: Final = 10**8 * MILLIWATT_HOURS_PER_KWH * 12 * lcm(28, 29, 30, 31) * lcm(23, 24, 25)
PriceOn = Callable[[date], Price | None]
Key = TypeVar("Key", date, str)
ONLY_PERIOD: Final = "price"  # Of gas and of production.
ONE_HOUR: Final = timedelta(hours=1)
_ORDER: Final = [*(period for periods in PERIODS.values() for period in periods), ONLY_PERIOD]
DATE_LENGTHS: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}  # How much of an ISO date names a period.


def price_energies(energies: Mapping[Key, PeriodEnergies], price_on: PriceOn) -> dict[Key, Cost]:
    """Return the days, or hours by the keys of their documents, that have a price, with what they cost."""
    priced, of_month = {}, dict[tuple[int, ...], tuple[dict[str, Amount], Amount]]()
    for key, one in energies.items():
        day = civil_day(key) if isinstance(key, str) else key
        price = price_on(day)
        if price and one.by_period.keys() <= price.energy.keys():
            hours = day_length(day) // ONE_HOUR if isinstance(key, str) else 1
            if (known := (id(price), day.year, day.month, hours)) not in of_month:
                prices = {name: _to_parts(each, MILLIWATT_HOURS_PER_KWH) for name, each in price.energy.items()}
                share = 12 * monthrange(day.year, day.month)[1] * hours
                of_month[known] = prices, _to_parts(price.subscription, share)
            prices, subscription = of_month[known]
            euros = {name: energy * prices[name] for name, energy in one.by_period.items()}
            counts = one.source, one.known, one.expected, one.estimated
            priced[key] = PeriodEnergies(one.by_period, *counts, euros, subscription)
    return priced


def price_intervals(
    intervals: Iterable[Entry], price_on: PriceOn, daily: Mapping[date, PeriodEnergies]
) -> dict[date, Cost]:
    """Return what periods of days cost that a supplier bills, by their first days.

    Their energy is spread evenly over their days, which is an estimate where the price changes in one. Where some of
    the days are in ``daily``, the others have the rest of the energy, and are returned by day, as estimates.
    """
    priced = dict[date, Cost]()
    for entry in intervals:
        span = interval_days(entry)
        prices = {day: price_on(day) for day in span.dates() if day not in daily}
        rest = entry.amount - sum(daily[day].by_period[ONLY_PERIOD] for day in span.dates() if day in daily)
        is_whole = len(prices) == span.days
        same_price = is_whole and all(price == prices[span.start] for price in prices.values())
        energy: dict[str, Amount] = {ONLY_PERIOD: Fraction(max(rest, 0), len(prices) or 1)}
        part = PeriodEnergies(energy, EnergySource.REGISTERS, estimated=not same_price)
        days = price_energies(dict.fromkeys(prices, part), prices.get)
        priced |= {span.start: add_energies(days.values(), span.days)} if is_whole else days
    return priced


def total_cost(window: DateWindow, costs: Mapping[date, Cost]) -> Cost:
    """Return the cost of a window from those of its days, or of the intervals that begin in it.

    Days of production without a price count only where no day has one.
    """
    found = [costs[day] for day in window.dates() if day in costs]
    found = [cost for cost in found if cost.parts] or found
    return add_energies(found, max(window.days, sum(cost.known for cost in found)))


def rows_by_day(
    window: DateWindow, period: Period, costs: Mapping[date, Cost], paid: Mapping[date, Cost] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row for each day, month or year of a window, which may begin and end within one; ``end`` is excluded.

    ``paid``: what is paid for production, where there are panels.
    """
    for _, group in groupby(window.dates(), key=lambda day: str(day)[: DATE_LENGTHS[period]]):
        days = list(group)
        yield row_of_days(DateWindow(days[0], days[-1] + ONE_DAY), costs, paid)


def row_of_days(
    span: DateWindow, costs: Mapping[date, Cost], paid: Mapping[date, Cost] | None = None
) -> dict[str, Any]:
    """Return the row of any days."""
    sold = None if paid is None else total_cost(span, paid)
    return _to_row((str(span.start), str(span.end)), total_cost(span, costs), sold, Period.MONTH)


def rows_by_hour(
    window: DateWindow, costs: Mapping[str, Cost], paid: Mapping[str, Cost] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row for each hour of a window, as by day."""
    (start, end), nothing = window.instants(), add_energies([], 60)
    while start < end:
        first, after = (moment.astimezone(PARIS).isoformat() for moment in (start, start + ONE_HOUR))
        key = period_key(start, HOURS)
        sold = None if paid is None else paid.get(key, nothing)
        yield _to_row((first, after), costs.get(key, nothing), sold, Period.HOUR)
        start += ONE_HOUR


def round_together(amounts: Sequence[Amount]) -> list[int]:
    """Return amounts, in parts of a euro, in whole cents that add up to their rounded sum.

    Where cents lack or are too many, the amount with the largest error takes one, then the next.
    """
    shown = list(map(_round_cents, amounts))
    while lacking := _round_cents(sum(amounts)) - sum(shown):
        sign = 1 if lacking > 0 else -1
        errors = [sign * (100 * amount - cents * EURO) for amount, cents in zip(amounts, shown, strict=True)]
        shown[errors.index(max(errors))] += sign
    return shown


def format_total(cost: Cost) -> str | None:
    """Return the total of a cost in euros, as in its row; None if nothing has a price."""
    return _euros(_round_cents(cost.total)) if cost.parts else None


def _to_row(span: tuple[str, str], cost: Cost, sold: Cost | None, counted_as: Period) -> dict[str, Any]:
    names = [name for name in _ORDER if cost.by_period.get(name)]
    parts = round_together([cost.parts[name] for name in names])
    subscription = _round_cents(cost.total) - sum(parts)  # It is "about"; the energy is what outputs tell, too.
    periods = [
        {"name": name, "kwh": _kwh(cost.by_period[name]), "eur": _euros(cents)}
        for name, cents in zip(names, parts, strict=True)
    ]
    totals = {"energy": sum(parts), "subscription": subscription, "total": sum(parts) + subscription}
    row: dict[str, Any] = {"start": span[0], "end": span[1], "periods": periods}
    row |= {f"{name}_eur": _euros(cents) if cost.source else None for name, cents in totals.items()}
    row |= zip(count_names(counted_as), (cost.known, cost.expected), strict=True)
    row |= {"estimated": cost.estimated, "source": cost.source}
    if sold is not None:
        kwh = _kwh(sum(sold.by_period.values()))
        row |= {"production_kwh": kwh if sold.source else None, "production_eur": format_total(sold)}
    return row


def _to_parts(euros: Decimal, divisor: int) -> Amount:
    exact = Fraction(euros) * EURO / divisor
    return exact.numerator if exact.denominator == 1 else exact


def _round_cents(amount: Amount) -> int:
    return round_half_up(100 * amount, EURO) // EURO


def _euros(cents: int) -> str:
    return f"{Decimal(cents).scaleb(-2):f}"


def _kwh(energy: Amount) -> str:
    return f"{round_kwh(energy, 3):f}"
