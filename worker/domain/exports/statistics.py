"""Hourly statistics with cumulative sums, made from daily values and the hours of curves.

A row, such as ``2026-11-23T23:00+00:00``, 412000, 8731000: an hour's start, the amount of the time that begins with it,
and the sum of all amounts up to its end, in millionths of kWh or m³. Before the oldest stored reading the sum is 0.
Hours are in UTC: in one zone, Python takes the two passes of the autumn hour for the same.

A day's amount is its daily value, and without one the sum of its hours. So sums at the ends of days are those of the
store, also where a curve has gaps or differs from the daily value:

* A day without a curve is one row at its start.
* A day with a curve is all its hours. What the daily value has more than the hours goes into the first one; what it has
  less is taken from the first ones, none of which falls below 0.
* An hour or a day of which nothing is known has a row without an amount. It carries the sum on, and overwrites what may
  have been sent before a correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

from worker.domain.measures.documents import Document, key_of, to_amount
from worker.domain.measures.readings import PARIS, civil_date, day_length, local_midnight
from worker.domain.measures.series import Doctype, Series

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A statistic that grows: ``name`` is the end of its identifier.

    ``series``: those whose changes change it. ``days`` and ``hours``: the doctypes of its values. ``detail``: the field
    of the daily documents that has the value, if not ``load``. ``starts_at``: the local hour at which its days begin.
    """

    name: str
    series: frozenset[Series]
    days: Doctype
    hours: Doctype | None = None
    detail: str = "load"
    unit: str = "kWh"
    unit_class: str = "energy"
    starts_at: int = 0


# The supplier's gas day begins at 06:00. Its billed periods (gas_published) are the same gas again, so they are out.
STATISTICS: Final = (
    Statistic(
        name="consumption",
        series=frozenset({Series.DAILY, Series.LOAD_CURVE}),
        days=Doctype.DAY,
        hours=Doctype.HOUR,
    ),
    Statistic(
        name="production",
        series=frozenset({Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE}),
        days=Doctype.PRODUCTION_DAY,
        hours=Doctype.PRODUCTION_HOUR,
    ),
    Statistic(name="gas", series=frozenset({Series.GAS_DAILY}), days=Doctype.GAS_DAY, starts_at=6),
    Statistic(
        name="gas_volume",
        series=frozenset({Series.GAS_DAILY}),
        days=Doctype.GAS_DAY,
        detail="volume",
        unit="m³",
        unit_class="volume",
        starts_at=6,
    ),
)


class DayAmounts(NamedTuple):
    """What is stored of a day.

    ``daily``: its daily value; None if there is none. ``hours``: the amounts of its hours by their start, in UTC.
    """

    day: date
    daily: int | None
    hours: Mapping[datetime, int]

    @property
    def is_known(self) -> bool:
        return self.daily is not None or bool(self.hours)

    @property
    def amount(self) -> int:
        """The amount that counts."""
        return sum(self.hours.values()) if self.daily is None else self.daily


class StatisticRow(NamedTuple):
    """A row of a statistic; ``start`` is in UTC."""

    start: datetime
    amount: int | None
    total: int


def to_days(dates: Iterable[date], daily: Mapping[date, int], hours: Iterable[Document]) -> Iterator[DayAmounts]:
    """Yield what is stored of each of these days, from the daily values and the documents of hours."""
    by_day: dict[date, dict[datetime, int]] = {}
    for document in hours:
        start = datetime.fromisoformat(key_of(document))
        by_day.setdefault(civil_date(start), {})[start] = to_amount(document["load"])
    for day in dates:
        yield DayAmounts(day, daily.get(day), by_day.get(day, {}))


def daily_amounts(documents: Iterable[Document], statistic: Statistic) -> dict[date, int]:
    """Return the daily values of a statistic; a day whose document lacks its field is none of them."""
    field = statistic.detail
    return {date.fromisoformat(key_of(row)): to_amount(row[field]) for row in documents if row.get(field) is not None}


def to_rows(days: Iterable[DayAmounts], total: int, statistic: Statistic, last_changed: date) -> Iterator[StatisticRow]:
    """Yield the rows of these days, ``total`` being the sum before the first of them.

    They end with the last day of which something is known, and not before ``last_changed``: what is known no more is
    overwritten.
    """
    pending: list[DayAmounts] = []
    for values in days:
        pending.append(values)
        if values.is_known or values.day <= last_changed:
            for day in pending:
                for start, amount in _split(day, statistic):
                    total += amount or 0
                    yield StatisticRow(start, amount, total)
            pending.clear()


def _split(values: DayAmounts, statistic: Statistic) -> Iterator[tuple[datetime, int | None]]:
    """Yield the starts of a day's rows and their amounts."""
    if not values.hours:
        start = datetime.combine(values.day, time(statistic.starts_at), PARIS)
        yield start.astimezone(UTC), values.daily
        return
    missing = values.amount - sum(values.hours.values())
    for start in _hours_of(values.day):
        amount = values.hours.get(start)
        if missing > 0 or (missing < 0 and amount):
            changed = max((amount or 0) + missing, 0)
            missing -= changed - (amount or 0)
            amount = changed
        yield start, amount


def _hours_of(day: date) -> Iterator[datetime]:
    """Yield the starts of a day's hours, 23 to 25 of them."""
    midnight = local_midnight(day).astimezone(UTC)
    return (midnight + place * _HOUR for place in range(day_length(day) // _HOUR))
