"""The nouns: interval readings, windows of days, periods and series.

Energy is whole milliwatt-hours everywhere inside: the sixth decimal of a kWh, so what is stored
and what is fetched add up alike, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")  # all civil dates are the meter's, never the worker's (T1)
ONE_DAY = timedelta(days=1)


class Period(StrEnum):
    """The span one document stands for; its value is the last word of the doctype."""

    MINUTE = "minute"  # one step of the load curve, whatever its length
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Series(StrEnum):
    """What can be asked of the supplier."""

    DAILY = "daily"  # Wh per civil day
    LOAD_CURVE = "load_curve"  # mean W per step

    @property
    def inputs(self) -> Period:
        """The doctype its readings are stored in."""
        return Period.DAY if self is Series.DAILY else Period.MINUTE

    @property
    def totals(self) -> tuple[Period, ...]:
        """The doctypes made from its readings (A1)."""
        return (Period.MONTH, Period.YEAR) if self is Series.DAILY else (Period.HOUR,)


@dataclass(frozen=True, slots=True)
class IntervalReading:
    """Energy used from ``start`` (zone-aware, Europe/Paris) for ``length``."""

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
        return (self.end - self.start).days

    def __str__(self) -> str:
        return f"{self.start}/{self.end}"

    @classmethod
    def parse(cls, text: str) -> DateWindow:
        """The window that ``str`` wrote.  Raises ValueError."""
        start, _, end = text.partition("/")
        return cls(date.fromisoformat(start), date.fromisoformat(end))

    def instants(self) -> tuple[datetime, datetime]:
        """Local midnight of the first day and of the day after the last, in UTC."""
        return local_midnight(self.start).astimezone(UTC), local_midnight(self.end).astimezone(UTC)


def local_midnight(day: date) -> datetime:
    """The first instant of a civil day, in the meter's zone."""
    return datetime.combine(day, time(), PARIS)


@lru_cache(maxsize=8192)  # all accounts of a night have the same days
def day_length(day: date) -> timedelta:
    """23, 24 or 25 hours."""
    return local_midnight(day + ONE_DAY).astimezone(UTC) - local_midnight(day).astimezone(UTC)
