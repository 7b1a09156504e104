"""Basic types: interval readings, windows of days, periods and series.

All code counts energy in whole milliwatt-hours, the sixth decimal of a kWh. So stored and fetched values add up
exactly and to the same sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")  # All civil dates are in the meter's zone, never in the worker's.
ONE_DAY = timedelta(days=1)


class Period(StrEnum):
    """The time span of one document; its value is the last word of the doctype."""

    MINUTE = "minute"  # One step of the load curve, whatever its length.
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Series(StrEnum):
    """Series of measures that the supplier can be asked for."""

    DAILY = "daily"  # Wh per civil day.
    LOAD_CURVE = "load_curve"  # Mean W per step.

    @property
    def inputs(self) -> Period:
        """The period of its readings; ``documents.doctype`` makes the doctype of it."""
        return Period.DAY if self is Series.DAILY else Period.MINUTE

    @property
    def totals(self) -> tuple[Period, ...]:
        """The doctypes of the totals made from its readings."""
        return (Period.MONTH, Period.YEAR) if self is Series.DAILY else (Period.HOUR,)


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


def local_midnight(day: date) -> datetime:
    """Return the first instant of a civil day, in the meter's zone."""
    return datetime.combine(day, time(), PARIS)


@lru_cache(maxsize=8192)  # All accounts have the same days in one night.
def day_length(day: date) -> timedelta:
    """Return the length of a civil day: 23, 24 or 25 hours."""
    return local_midnight(day + ONE_DAY).astimezone(UTC) - local_midnight(day).astimezone(UTC)
