"""Basic types: interval readings, windows of days, periods and series.

All code counts energy in whole milliwatt-hours, the sixth decimal of a kWh. So stored and fetched values add up
exactly and to the same sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")  # All civil dates are in the meter's zone, never in the worker's.
ONE_DAY = timedelta(days=1)
Point = TypeVar("Point", int, date, datetime)  # Where a span begins or ends.


class Period(StrEnum):
    """The time span of one document; its value is the last word of the doctype."""

    MINUTE = "minute"  # One step of the load curve, whatever its length.
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDescription:
    """The description of a series, the one place that says what sets it apart from the others.

    ``inputs``: the period of its readings; ``documents.doctype`` makes the doctype of it.
    ``totals``: the periods of the totals made from its readings.
    ``look_back_days``: how many days each run asks for again.
    ``max_window_days``: how many days the supplier accepts in one call.
    ``history_days``: how many days of history are loaded; None if the installation's settings say that.
    ``days_read_at_once``: how many days of stored readings are read in one request.
    ``optional``: whether it is collected only if the meter's holder has switched that on.
    """

    inputs: Period
    totals: tuple[Period, ...]
    look_back_days: int
    max_window_days: int
    history_days: int | None
    days_read_at_once: int
    optional: bool = False


class Series(StrEnum):
    """Series of measures that the supplier can be asked for."""

    DAILY = "daily"  # Wh per civil day.
    LOAD_CURVE = "load_curve"  # Mean W per step.

    @property
    def description(self) -> SeriesDescription:
        return SERIES_DESCRIPTIONS[self]

    @property
    def inputs(self) -> Period:
        """The period of its readings."""
        return SERIES_DESCRIPTIONS[self].inputs

    @property
    def totals(self) -> tuple[Period, ...]:
        """The periods of its totals."""
        return SERIES_DESCRIPTIONS[self].totals


SERIES_DESCRIPTIONS: Final = {
    Series.DAILY: SeriesDescription(
        inputs=Period.DAY,
        totals=(Period.MONTH, Period.YEAR),
        look_back_days=30,
        max_window_days=365,
        history_days=3 * 365,  # 36 months, in three calls. Enedis keeps 15 days more.
        days_read_at_once=6 * 366,
    ),
    Series.LOAD_CURVE: SeriesDescription(
        inputs=Period.MINUTE,
        totals=(Period.HOUR,),
        look_back_days=7,
        max_window_days=7,
        history_days=None,
        days_read_at_once=31,
        optional=True,
    ),
}


@dataclass(frozen=True, slots=True)
class IntervalReading:
    """Energy used from ``start`` (zone-aware, Europe/Paris) during ``length``."""

    start: datetime
    length: timedelta
    milliwatt_hours: int


@dataclass(frozen=True, slots=True, order=True)
class DateWindow:
    """A run of whole local days, ``start`` included, ``end`` excluded; never empty."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"window {self.start}/{self.end}: the first day must come before the end")

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.end - self.start).days

    def dates(self) -> Iterator[date]:
        """Yield each of its days, oldest first."""
        return (self.start + place * ONE_DAY for place in range(self.days))

    def overlap(self, other: DateWindow) -> DateWindow | None:
        """Return the days that both windows have; None if there are none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return DateWindow(start, end) if start < end else None

    def __str__(self) -> str:
        return f"{self.start}/{self.end}"

    @classmethod
    def parse(cls, text: str) -> DateWindow:
        """Read what ``str`` wrote: ``2024-01-01/2024-01-08``. Raises ValueError."""
        start, _, end = text.partition("/")
        return cls(date.fromisoformat(start), date.fromisoformat(end))

    def instants(self) -> tuple[datetime, datetime]:
        """Return local midnight of the first day and of the day after the last, in UTC."""
        return local_midnight(self.start).astimezone(UTC), local_midnight(self.end).astimezone(UTC)


def merge_spans(spans: Iterable[tuple[Point, Point]]) -> list[tuple[Point, Point]]:
    """Return the same time in the fewest spans (start, and end excluded), in order."""
    merged: list[tuple[Point, Point]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def find_uncovered(start: Point, end: Point, spans: Iterable[tuple[Point, Point]]) -> list[tuple[Point, Point]]:
    """Return the parts from ``start`` to ``end`` that no span covers, in order."""
    uncovered: list[tuple[Point, Point]] = []
    for first, after in merge_spans(spans):
        if first >= end:
            break
        if start < first:
            uncovered.append((start, first))
        start = max(start, after)
    if start < end:
        uncovered.append((start, end))
    return uncovered


def civil_date(moment: datetime) -> date:
    """Return the date of a zone-aware moment, in the meter's zone."""
    return moment.astimezone(PARIS).date()


def local_midnight(day: date) -> datetime:
    """Return the first instant of a civil day, in the meter's zone."""
    return datetime.combine(day, time(), PARIS)


@lru_cache(maxsize=8192)  # All accounts have the same days in one night.
def day_length(day: date) -> timedelta:
    """Return the length of a civil day: 23, 24 or 25 hours."""
    return local_midnight(day + ONE_DAY).astimezone(UTC) - local_midnight(day).astimezone(UTC)
