"""Windows of days and their planning (look-back, backfill, repair), and the local days and readings in them.

A *window* is a run of whole local days with an excluded end. A window that is requested in one call is no longer than
the supplier accepts. The *look-back* is the window of a series' last days; each nightly run requests it again. So
values that the supplier publishes late, corrects or fills in are stored without further action. A *backfill* requests
the history before the look-back, in windows that are marked done one by one. ``today`` is always an argument, so that a
test can choose the day.

Amounts are integers, in millionths of the unit of a document's ``load``: milliwatt-hours of energy, millivolt-amperes
of apparent power. So sums are exact, both of stored and of fetched values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from worker.domain.series import Series

PARIS = ZoneInfo("Europe/Paris")  # All local dates are in the meter's zone, never in the worker's.
ONE_DAY = timedelta(days=1)
MAX_LOAD_CURVE_HISTORY_DAYS: Final = 745  # Enedis keeps 24 months and 15 days.
Point = TypeVar("Point", int, date, datetime)  # The type of a span's start and end.


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

    @property
    def last(self) -> date:
        return self.end - ONE_DAY

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def dates(self) -> Iterator[date]:
        """Yield each day of the window, oldest first."""
        return (self.start + place * ONE_DAY for place in range(self.days))

    def overlap(self, other: DateWindow) -> DateWindow | None:
        """Return the days that both windows have; None if there are none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return DateWindow(start, end) if start < end else None

    def __str__(self) -> str:
        return f"{self.start}/{self.end}"

    @classmethod
    def parse(cls, text: str) -> DateWindow:
        """Parse a text that ``str`` returned, such as ``2024-01-01/2024-01-08``. Raises ValueError for other texts."""
        start, _, end = text.partition("/")
        return cls(date.fromisoformat(start), date.fromisoformat(end))

    def instants(self) -> tuple[datetime, datetime]:
        """Return local midnight of the first day and of the day after the last, in UTC."""
        return local_midnight(self.start).astimezone(UTC), local_midnight(self.end).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class IntervalReading:
    """A reading for the time that begins at ``start`` (zone-aware, Europe/Paris) and lasts ``length``.

    ``details``: those additional fields of the reading's doctype (``series.Doctype``) that the supplier sent.
    """

    start: datetime
    length: timedelta
    amount: int
    details: Mapping[str, Any] | None = None


def merge_spans(spans: Iterable[tuple[Point, Point]]) -> list[tuple[Point, Point]]:
    """Return the fewest spans that cover the same time, in order. A span is its start and its excluded end."""
    merged: list[tuple[Point, Point]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def find_uncovered(start: Point, end: Point, spans: Iterable[tuple[Point, Point]]) -> list[tuple[Point, Point]]:
    """Return the parts of the time from ``start`` to ``end`` that no span covers, in order."""
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
    """Return the first instant of a local day, in the meter's zone."""
    return datetime.combine(day, time(), PARIS)


@lru_cache(maxsize=8192)  # In one night, all accounts need the lengths of the same days.
def day_length(day: date) -> timedelta:
    """Return the length of a local day: 23, 24 or 25 hours."""
    return local_midnight(day + ONE_DAY).astimezone(UTC) - local_midnight(day).astimezone(UTC)


def plan_look_back(today: date, series: Series, last_complete: date | None = None) -> DateWindow:
    """Return the look-back of a series: the window of the last ``look_back_days``, up to yesterday.

    It begins earlier in two cases. Up to the day ``settles_on`` of a month, it includes the whole previous month. After
    a gap, it begins on the day after ``last_complete``, but has no more days than one call may request.
    """
    described = series.description
    start = today - timedelta(days=described.look_back_days)
    if described.settles_on is not None and today.day <= described.settles_on:
        start = min(start, (today.replace(day=1) - ONE_DAY).replace(day=1))
    if last_complete is not None:
        start = max(min(start, last_complete + ONE_DAY), today - timedelta(days=described.max_window_days))
    return DateWindow(start, today)


def newest_wanted_day(today: date, series: Series) -> date:
    """Return the newest day that should be stored by now.

    This is yesterday, or earlier for a series that is published late or isn't requested every night.
    """
    return today - timedelta(days=series.description.cadence_nights - 1 + series.description.published_after_days)


def history_length(series: Series, curve_days: int) -> int:
    """Return the number of days of a series' history; ``curve_days`` is the setting for load curves."""
    days = series.description.history_days
    return curve_days if days is None else days


def plan_history(today: date, series: Series, curve_days: int) -> DateWindow | None:
    """Return the days of a series' history; None if it is a load curve and its setting, ``curve_days``, is 0."""
    days = history_length(series, curve_days)
    return DateWindow(today - timedelta(days=days), today) if days > 0 else None


def merge_windows(windows: Iterable[DateWindow]) -> list[DateWindow]:
    """Return the fewest windows with the same days, oldest first."""
    return [DateWindow(*span) for span in merge_spans((window.start, window.end) for window in windows)]


def subtract_windows(whole: DateWindow, done_windows: Iterable[DateWindow]) -> list[DateWindow]:
    """Return the days of ``whole`` that are in no window of ``done_windows``, oldest first."""
    done = ((window.start, window.end) for window in done_windows)
    return [DateWindow(*span) for span in find_uncovered(whole.start, whole.end, done)]


def plan_backfill(whole: DateWindow, done_windows: Iterable[DateWindow], max_days: int) -> list[DateWindow]:
    """Return the windows that fetch all missing days of ``whole`` in the fewest calls, newest first.

    A call costs the same for one day or for ``max_days``. So one window may span several holes: it costs nothing to
    request the days between the holes again.
    """
    merged = merge_windows(done_windows)
    windows: list[DateWindow] = []
    missing = subtract_windows(whole, merged)
    while missing:
        end = missing[-1].end
        longest = DateWindow(max(whole.start, end - timedelta(days=max_days)), end)
        start = subtract_windows(longest, merged)[0].start
        windows.append(DateWindow(start, end))
        missing = subtract_windows(DateWindow(whole.start, start), merged) if start > whole.start else []
    return windows


def reach_on(windows: Iterable[DateWindow], end: date, max_days: int) -> list[DateWindow]:
    """Return windows with the same starts, each extended to ``end`` or as far as one call allows.

    Series of billed periods need this. Without it, a period might lie partly in one window and partly in the next, and
    completely in neither.
    """
    return [DateWindow(one.start, max(one.end, min(one.start + timedelta(days=max_days), end))) for one in windows]


def plan_repair(days: Iterable[date], max_days: int) -> list[DateWindow]:
    """Return the windows that fetch these days in the fewest calls, newest first."""
    windows: list[DateWindow] = []
    for day in sorted(days, reverse=True):
        if windows and windows[-1].end - day <= timedelta(days=max_days):
            windows[-1] = DateWindow(day, windows[-1].end)
        else:
            windows.append(DateWindow(day, day + ONE_DAY))
    return windows


def to_windows(days: Iterable[date]) -> list[DateWindow]:
    """Convert single days to merged windows, oldest first."""
    return merge_windows(DateWindow(day, day + ONE_DAY) for day in days)


def split_window(window: DateWindow, max_days: int) -> list[DateWindow]:
    """Split a window into windows of at most ``max_days``, oldest first."""
    starts = (window.start + timedelta(days=offset) for offset in range(0, window.days, max_days))
    return [DateWindow(start, min(start + timedelta(days=max_days), window.end)) for start in starts]


@dataclass(frozen=True, slots=True)
class HistoryDays:
    """The history of a series, and how much of it was requested.

    ``wanted``: the days of the history; None for a series without one. ``asked``: the windows that were requested.
    ``due_at``: when the history may be continued.
    """

    series: Series
    wanted: DateWindow | None
    asked: Sequence[DateWindow]
    due_at: datetime | None = None

    @property
    def loaded(self) -> bool:
        """Whether no day is missing except in the look-back, which is requested anyway."""
        if self.wanted is None:
            return True
        end = self.wanted.end - self.series.description.look_back_days * ONE_DAY
        return not subtract_windows(DateWindow(self.wanted.start, max(end, self.wanted.start + ONE_DAY)), self.asked)

    def missing_windows(self) -> list[DateWindow]:
        """Return the windows still to be fetched, newest first."""
        if (wanted := self._until_last_turn()) is None:
            return []
        max_days = self.series.description.max_window_days
        windows = plan_backfill(wanted, self.asked, max_days)
        return reach_on(windows, wanted.end, max_days) if self.series.has_intervals else windows

    def undone_windows(self) -> list[DateWindow]:
        """Return the days that should be stored by now but weren't requested, oldest first."""
        wanted = self._until_last_turn()
        return [] if wanted is None else subtract_windows(wanted, self.asked)

    def count(self) -> tuple[int, int]:
        """Return the number of requested days and of all wanted days, for a progress bar."""
        wanted = self._until_last_turn()
        total = 0 if wanted is None else wanted.days
        return total - sum(window.days for window in self.undone_windows()), total

    def _until_last_turn(self) -> DateWindow | None:
        """Return the wanted days, without the days that the next turn will request; None if no day is wanted.

        A *turn* is a night in which the series is requested. If a series has a turn only every few nights, the days
        since the last turn aren't missing yet, unless the next turn is overdue.
        """
        if self.wanted is None or self.series.is_nightly:
            return self.wanted
        last = min(max((window.end for window in self.asked), default=self.wanted.start), self.wanted.end)
        is_within = self.wanted.end - last <= self.series.description.cadence_nights * ONE_DAY
        return DateWindow(self.wanted.start, last) if is_within and last > self.wanted.start else self.wanted
