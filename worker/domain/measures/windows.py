"""Which days to ask the supplier for.

Pure: ``today`` is an argument, so that a test can stand on any day it likes.  A *window* is a run of
whole local days, its last excluded, no longer than the supplier takes.  Each run asks for the
*look-back* again, so late, corrected and filled values come in by themselves; a *backfill* is the
history before it, in windows marked done one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from worker.domain.measures.readings import ONE_DAY, DateWindow, Series

LOOK_BACK_DAYS: Final = {Series.DAILY: 30, Series.LOAD_CURVE: 7}
MAX_WINDOW_DAYS: Final = {Series.DAILY: 365, Series.LOAD_CURVE: 7}
DAILY_HISTORY_DAYS: Final = 3 * 365  # 36 months, in three calls; the supplier keeps 15 days more
MAX_LOAD_CURVE_HISTORY_DAYS: Final = 745  # 24 months and 15 days (upstream-apis, 1.8)


def plan_look_back(today: date, series: Series) -> DateWindow:
    """The last days up to yesterday: ``end`` is today, excluded."""
    return DateWindow(today - timedelta(days=LOOK_BACK_DAYS[series]), today)


def plan_history(today: date, series: Series, load_curve_days: int) -> DateWindow | None:
    """All the days that an account shall have; None where its depth is set to no day at all."""
    days = DAILY_HISTORY_DAYS if series is Series.DAILY else load_curve_days
    return DateWindow(today - timedelta(days=days), today) if days > 0 else None


def merge_windows(windows: Iterable[DateWindow]) -> list[DateWindow]:
    """The same days in the fewest windows, oldest first."""
    merged: list[DateWindow] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = DateWindow(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract_windows(wanted: DateWindow, done: Iterable[DateWindow]) -> list[DateWindow]:
    """The days of ``wanted`` that no window of ``done`` holds, oldest first."""
    missing: list[DateWindow] = []
    start = wanted.start
    for window in merge_windows(done):
        if window.start >= wanted.end:
            break
        if window.start > start:
            missing.append(DateWindow(start, window.start))
        start = max(start, window.end)
    if start < wanted.end:
        missing.append(DateWindow(start, wanted.end))
    return missing


def plan_backfill(wanted: DateWindow, done: Iterable[DateWindow], max_days: int) -> list[DateWindow]:
    """Windows that fetch all missing days in the fewest calls, newest first.

    A call costs the same for one day or for ``max_days``, so one window may span several holes: days it
    asks again cost nothing.
    """
    finished = merge_windows(done)
    windows: list[DateWindow] = []
    missing = subtract_windows(wanted, finished)
    while missing:
        end = missing[-1].end
        reach = DateWindow(max(wanted.start, end - timedelta(days=max_days)), end)
        start = subtract_windows(reach, finished)[0].start
        windows.append(DateWindow(start, end))
        missing = subtract_windows(DateWindow(wanted.start, start), finished) if start > wanted.start else []
    return windows


def plan_repair(days: Iterable[date], max_days: int) -> list[DateWindow]:
    """Windows that hold all these days in the fewest calls, newest first."""
    windows: list[DateWindow] = []
    for day in sorted(days, reverse=True):
        if windows and windows[-1].end - day <= timedelta(days=max_days):
            windows[-1] = DateWindow(day, windows[-1].end)
        else:
            windows.append(DateWindow(day, day + ONE_DAY))
    return windows


def to_windows(days: Iterable[date]) -> list[DateWindow]:
    """Single days as merged windows."""
    return merge_windows(DateWindow(day, day + ONE_DAY) for day in days)


def split_window(window: DateWindow, max_days: int) -> list[DateWindow]:
    """The same days in windows of at most ``max_days``, oldest first."""
    starts = (window.start + timedelta(days=offset) for offset in range(0, window.days, max_days))
    return [DateWindow(start, min(start + timedelta(days=max_days), window.end)) for start in starts]
