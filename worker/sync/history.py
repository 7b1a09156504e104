"""What is left to fetch of an account's history, told by what is done and, where that is lost, by the store.

Redis remembers the finished windows.  Losing Redis costs one reading of the store, not a second download:
days whose readings are complete and whose totals agree count as done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from worker.domain.measures.aggregation import keep_different, total_entries, total_key
from worker.domain.measures.documents import Entry, key_range, to_entry, to_reading, touched_window
from worker.domain.measures.readings import PARIS, DateWindow, Period, Series, day_length
from worker.domain.measures.windows import (
    MAX_WINDOW_DAYS,
    merge_windows,
    plan_backfill,
    plan_history,
    split_window,
    subtract_windows,
    to_windows,
)
from worker.stores.measures.base import Document, Measures
from worker.stores.redis.series_progress import SeriesCoverage

# Bounds the memory of a reading; a year's total needs the whole year, so daily values are never cut.
_DAYS_READ_AT_ONCE: Final = {Series.DAILY: 6 * 366, Series.LOAD_CURVE: 31}


class DoneWindows(Protocol):
    """The part of SyncState that remembers finished windows."""

    def has_history(self, account_id: str, series: str) -> bool: ...

    def done_windows(self, account_id: str, series: str) -> list[DateWindow]: ...

    def replace_done(self, account_id: str, series: str, windows: list[DateWindow]) -> None: ...

    def mark_done(self, account_id: str, series: str, window: DateWindow) -> list[DateWindow]: ...

    def coverages(self, pairs: Sequence[tuple[str, str]]) -> list[SeriesCoverage]: ...


@dataclass(frozen=True)
class History:
    """``stored_before`` tells whether anything of the series was ever stored: a new account needs no look."""

    state: DoneWindows
    measures: Measures
    stored_before: Callable[[str, Series], bool]
    today: Callable[[], date]
    load_curve_days: int

    def wanted(self, series: Series) -> DateWindow | None:
        return plan_history(self.today(), series, self.load_curve_days)

    def missing(self, account_id: str, series: Series) -> list[DateWindow]:
        """Windows still to fetch, in the order they should be: newest first.  Raises StoreUnavailable."""
        wanted = self.wanted(series)
        if wanted is None:
            return []
        if not self.state.has_history(account_id, series):
            self._remember_anew(account_id, series, wanted)
        done = self.state.done_windows(account_id, series)
        return plan_backfill(wanted, done, MAX_WINDOW_DAYS[series])

    def days(self, account_id: str, series: Series) -> tuple[int, int]:
        """Days done and days wanted, for a progress bar."""
        return self._count(series, self.state.done_windows(account_id, series))

    def _count(self, series: Series, done: list[DateWindow]) -> tuple[int, int]:
        wanted = self.wanted(series)
        if wanted is None:
            return 0, 0
        return wanted.days - sum(window.days for window in subtract_windows(wanted, done)), wanted.days

    def loaded_until(self, account_id: str, series: Series) -> date | None:
        """The day up to which the history is complete, excluded; None while it is not, or is not known."""
        return self.loaded_flags([account_id], series)[0]

    def loaded_flags(self, account_ids: Sequence[str], series: Series) -> list[date | None]:
        """``loaded_until`` of a page of accounts, in their order.  None for all where no day is wanted."""
        wanted = self.wanted(series)
        if wanted is None:
            return [None] * len(account_ids)
        coverages = self.state.coverages([(account_id, series) for account_id in account_ids])
        return [_reaches(wanted.start, coverage) for coverage in coverages]

    def covers(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Whether every day of the window is done."""
        return not subtract_windows(window, self.state.done_windows(account_id, series))

    def finished(self, account_id: str, series: Series, window: DateWindow, floor: date | None) -> tuple[int, int]:
        """Mark a window done; ``days`` as they stand then.

        What lies before the supplier's floor will never come and is done with it.
        """
        done = self.state.mark_done(account_id, series, window)
        wanted = self.wanted(series)
        if floor and wanted and wanted.start < floor:
            done = self.state.mark_done(account_id, series, DateWindow(wanted.start, floor))
        return self._count(series, done)

    def _remember_anew(self, account_id: str, series: Series, wanted: DateWindow) -> None:
        """Redis knows nothing of this history, or only of windows finished since it was emptied."""
        covered = self.state.done_windows(account_id, series)
        if self.stored_before(account_id, series):
            covered = covered + self._read_back(account_id, series, wanted)
        self.state.replace_done(account_id, series, covered)

    def _read_back(self, account_id: str, series: Series, wanted: DateWindow) -> list[DateWindow]:
        parts = split_window(touched_window(wanted, series), _DAYS_READ_AT_ONCE[series])
        return merge_windows(window for part in parts for window in self._covered(account_id, series, part))

    def _covered(self, account_id: str, series: Series, part: DateWindow) -> Iterator[DateWindow]:
        stored = {
            period: self.measures[period].read(account_id, *key_range(part, period))
            for period in (series.inputs, *series.totals)
        }
        yield from to_windows(covered_days(series, stored))


def _reaches(first: date, coverage: SeriesCoverage) -> date | None:
    """The end of what is done without a hole from the ``first`` day on."""
    holding = (window.end for window in coverage.windows if window.start <= first < window.end)
    return next(holding, None) if coverage.told else None


def covered_days(series: Series, stored: Mapping[Period, list[Document]]) -> list[date]:
    """Days whose readings are complete and go into totals that agree with them: a crash may have come between."""
    readings = [to_reading(document, series.inputs) for document in stored[series.inputs]]
    inputs = [to_entry(document) for document in stored[series.inputs]]
    wrong: dict[Period, set[str]] = {}
    for period in series.totals:
        known = {entry.key: entry for entry in map(to_entry, stored[period])}
        wrong[period] = {entry.key for entry in keep_different(total_entries(inputs, period), known, period)}
    lengths: defaultdict[date, timedelta] = defaultdict(timedelta)
    doubtful: set[date] = set()
    for reading, entry in zip(readings, inputs, strict=True):
        day = reading.start.astimezone(PARIS).date()
        lengths[day] += reading.length
        if _goes_into(entry, wrong):
            doubtful.add(day)
    return [day for day, length in lengths.items() if length == day_length(day) and day not in doubtful]


def _goes_into(entry: Entry, wrong: Mapping[Period, set[str]]) -> bool:
    return any(total_key(entry.key, period) in keys for period, keys in wrong.items())


def paris_today(now: Callable[[], datetime]) -> Callable[[], date]:
    """The meter's civil date, whatever zone the worker lives in."""
    return lambda: now().astimezone(PARIS).date()
