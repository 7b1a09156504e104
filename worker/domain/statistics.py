"""Hourly statistics with cumulative sums, computed from daily values and the hours of curves.

A row is for an hour or a whole day. It has the start, the amount, and the running sum including this amount, such as
``2026-11-23T23:00+00:00``, 412000, 8731000. Amounts and sums are in millionths of kWh or m³. Before the oldest stored
reading, the sum is 0. Starts are in UTC, because in a local zone Python treats the repeated hour in autumn as equal to
the hour before.

A day's amount is its daily value; if it has none, the sum of its hours. So the sums at the ends of days match the
store, even if a curve has gaps or differs from the daily value:

* A day without a curve has one row at its start.
* A day with a curve has a row for each hour. If the daily value is above the sum of the hours, the difference is added
  to the first hour. If it is below, the difference is taken from the first hours in turn, each at most down to 0.
* An unknown hour or day between known ones has a row with only the sum. This row overwrites an amount that was sent
  earlier, and that a correction has removed since. There are no rows after the newest known day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Final, Generic, NamedTuple, TypeVar

from worker.domain.documents import Document, key_of, to_amount
from worker.domain.series import Doctype, Period, Series, find_curve, find_doctype
from worker.domain.windows import PARIS, civil_date, day_length, local_midnight

_HOUR: Final = timedelta(hours=1)
GAS_DAY_STARTS_AT: Final = 6  # The hour in local time.
_VOLUME: Final = "volume"
AnyAmount = TypeVar("AnyAmount", int, int | Fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """What a statistic is computed from; ``name``: the end of the statistic's identifier.

    ``series``: a change of one of these series changes the statistic. ``days`` and ``hours``: the doctypes of the daily
    and hourly values. ``detail``: the field of the daily documents that has the value. ``starts_at``: the local hour at
    which the statistic's days begin.
    """

    name: str
    series: frozenset[Series]
    days: Doctype
    hours: Doctype | None = None
    detail: str = "load"
    unit: str = "kWh"
    unit_class: str = "energy"
    starts_at: int = 0


def _statistics_of(daily: Series) -> Iterator[Statistic]:
    """Yield the statistics of a series of daily energy: the energy, and the volume if there is one."""
    statistic = Statistic(
        name="gas" if daily.is_gas else daily.description.direction.value,
        series=frozenset(series for series in (daily, find_curve(daily)) if series),
        days=daily.inputs,
        hours=find_doctype(daily, Period.HOUR),
        starts_at=GAS_DAY_STARTS_AT if daily.is_gas else 0,
    )
    yield statistic
    if _VOLUME in daily.inputs.detail_names:
        yield replace(statistic, name=f"{statistic.name}_{_VOLUME}", detail=_VOLUME, unit="m³", unit_class=_VOLUME)


# Billed periods have no statistics, because the daily values contain their energy.
STATISTICS: Final = tuple(
    statistic for series in Series if series.is_daily_energy for statistic in _statistics_of(series)
)


class DayAmounts(NamedTuple, Generic[AnyAmount]):
    """The stored amounts of a day.

    ``daily``: the daily value; None if there is none. ``hours``: the amounts of the stored hours, by start in UTC.
    """

    day: date
    daily: AnyAmount | None
    hours: Mapping[datetime, AnyAmount]

    @property
    def is_known(self) -> bool:
        return self.daily is not None or bool(self.hours)

    @property
    def amount(self) -> AnyAmount:
        """The daily value; if there is none, the sum of the hours."""
        return sum(self.hours.values()) if self.daily is None else self.daily


class StatisticRow(NamedTuple):
    """A row of a statistic; ``start`` is in UTC, ``total`` is the running sum."""

    start: datetime
    amount: int | None
    total: int


def to_days(dates: Iterable[date], daily: Mapping[date, int], hours: Iterable[Document]) -> Iterator[DayAmounts[int]]:
    """Yield the stored amounts of each of these days, from the daily values and the documents of hours."""
    by_day: dict[date, dict[datetime, int]] = {}
    for document in hours:
        start = datetime.fromisoformat(key_of(document))
        by_day.setdefault(civil_date(start), {})[start] = to_amount(document["load"])
    for day in dates:
        yield DayAmounts(day, daily.get(day), by_day.get(day, {}))


def daily_amounts(documents: Iterable[Document], statistic: Statistic) -> dict[date, int]:
    """Return the daily values of a statistic by day; a document without the statistic's field is left out."""
    field = statistic.detail
    return {date.fromisoformat(key_of(row)): to_amount(row[field]) for row in documents if row.get(field) is not None}


def to_rows(days: Iterable[DayAmounts[int]], total: int, statistic: Statistic) -> Iterator[StatisticRow]:
    """Yield the rows of these days up to the last known day; ``total``: the running sum before the first day."""
    pending: list[DayAmounts[int]] = []
    for values in days:
        pending.append(values)
        if values.is_known:
            for day in pending:
                for start, amount in split_day(day, statistic.starts_at):
                    total += amount or 0
                    yield StatisticRow(start, amount, total)
            pending.clear()


def split_day(values: DayAmounts[AnyAmount], starts_at: int = 0) -> Iterator[tuple[datetime, AnyAmount | None]]:
    """Yield the start and the amount of each row of a day, which begins at a local hour."""
    if not values.hours:
        start = datetime.combine(values.day, time(starts_at), PARIS)
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
    """Yield the starts of the 23 to 25 hours of a day."""
    midnight = local_midnight(day).astimezone(UTC)
    return (midnight + place * _HOUR for place in range(day_length(day) // _HOUR))
