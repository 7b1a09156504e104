"""Basic types: interval readings and windows of days.

All code counts in whole *amounts*, the sixth decimal of a document's ``load``: milliwatt-hours of energy, millivolt-
amperes of apparent power. So stored and fetched values add up exactly and to the same sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")  # All civil dates are in the meter's zone, never in the worker's.
ONE_DAY = timedelta(days=1)
Point = TypeVar("Point", int, date, datetime)  # Where a span begins or ends.


@dataclass(frozen=True, slots=True)
class IntervalReading:
    """What was measured from ``start`` (zone-aware, Europe/Paris) during ``length``.

    ``details``: the further fields of its doctype (``series.Doctype``), without those that the supplier does not tell.
    """

    start: datetime
    length: timedelta
    amount: int
    details: Mapping[str, Any] | None = None


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
