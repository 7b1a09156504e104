"""The history of an account: which windows are still to be fetched.

Redis remembers the finished windows. If Redis was emptied, the measure store is read once instead of downloading all
again: a day whose readings are complete and whose totals agree with them counts as done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

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
from worker.stores.measures.base import Document, MeasureStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.redis.series_progress import SeriesCoverage

# Bounds the memory of a read. A year's total needs all its days, so a part of daily values has whole years.
_DAYS_READ_AT_ONCE: Final = {Series.DAILY: 6 * 366, Series.LOAD_CURVE: 31}


@dataclass(frozen=True, kw_only=True)
class History:
    """The histories of all accounts; methods raise StoreUnavailable.

    ``stored_before``: whether anything of an account and series was ever stored; if not, the measure store is not read.
    ``load_curve_days``: the days of load curve to fetch; 0 for none.
    """

    progress: ProgressStore
    measures: MeasureStore
    stored_before: Callable[[str, Series], bool]
    today: Callable[[], date]
    load_curve_days: int

    def wanted_window(self, series: Series) -> DateWindow | None:
        """Return the days of the whole history; None if nothing of this series is wanted."""
        return plan_history(self.today(), series, self.load_curve_days)

    def missing_windows(self, account_id: str, series: Series) -> list[DateWindow]:
        """Return the windows still to be fetched, newest first."""
        wanted = self.wanted_window(series)
        if wanted is None:
            return []
        if not self.progress.has_history(account_id, series):
            self._restore_coverage(account_id, series, wanted)
        done = self.progress.done_windows(account_id, series)
        return plan_backfill(wanted, done, MAX_WINDOW_DAYS[series])

    def count_days(self, account_id: str, series: Series) -> tuple[int, int]:
        """Return the number of days done and of days wanted, for a progress bar."""
        return self._count(series, self.progress.done_windows(account_id, series))

    def _count(self, series: Series, done: list[DateWindow]) -> tuple[int, int]:
        wanted = self.wanted_window(series)
        if wanted is None:
            return 0, 0
        return wanted.days - sum(window.days for window in subtract_windows(wanted, done)), wanted.days

    def loaded_until(self, account_id: str, series: Series) -> date | None:
        """Return the day after the last one of the loaded history; None while there are gaps or it is not known."""
        return self.loaded_until_of([account_id], series)[0]

    def loaded_until_of(self, account_ids: Sequence[str], series: Series) -> list[date | None]:
        """Return ``loaded_until`` of a page of accounts, in their order; None for all if no day is wanted."""
        wanted = self.wanted_window(series)
        if wanted is None:
            return [None] * len(account_ids)
        coverages = self.progress.coverages([(account_id, series) for account_id in account_ids])
        return [_end_without_gap(wanted.start, coverage) for coverage in coverages]

    def covers(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Return whether every day of the window is done."""
        return not subtract_windows(window, self.progress.done_windows(account_id, series))

    def mark_done(self, account_id: str, series: Series, window: DateWindow, floor: date | None) -> tuple[int, int]:
        """Mark a window as done and return ``count_days`` afterwards.

        ``floor``: the first day for which the supplier has data; all days before it are marked as done too.
        """
        done = self.progress.mark_done(account_id, series, window)
        wanted = self.wanted_window(series)
        if floor and wanted and wanted.start < floor:
            done = self.progress.mark_done(account_id, series, DateWindow(wanted.start, floor))
        return self._count(series, done)

    def _restore_coverage(self, account_id: str, series: Series, wanted: DateWindow) -> None:
        """Store the coverage again after Redis was emptied, together with the windows finished since then."""
        covered = self.progress.done_windows(account_id, series)
        if self.stored_before(account_id, series):
            covered = covered + self._read_covered(account_id, series, wanted)
        self.progress.replace_done(account_id, series, covered)

    def _read_covered(self, account_id: str, series: Series, wanted: DateWindow) -> list[DateWindow]:
        parts = split_window(touched_window(wanted, series), _DAYS_READ_AT_ONCE[series])
        return merge_windows(window for part in parts for window in self._covered(account_id, series, part))

    def _covered(self, account_id: str, series: Series, part: DateWindow) -> Iterator[DateWindow]:
        ranges = {period: key_range(part, period) for period in (*series.totals, series.inputs)}
        yield from to_windows(covered_days(series, self.measures.read(account_id, ranges)))


def _end_without_gap(first: date, coverage: SeriesCoverage) -> date | None:
    """Return the day after the finished days that follow ``first`` without a gap; None if ``first`` is not finished."""
    ends = (window.end for window in coverage.windows if window.start <= first < window.end)
    return next(ends, None) if coverage.is_known else None


def covered_days(series: Series, stored: Mapping[Period, list[Document]]) -> list[date]:
    """Return the days whose readings are complete and whose totals agree with them.

    Totals may disagree if a worker died between the two writes.
    """
    readings = [to_reading(document, series.inputs) for document in stored[series.inputs]]
    inputs = [to_entry(document) for document in stored[series.inputs]]
    wrong_keys: dict[Period, set[str]] = {}
    for period in series.totals:
        known = {entry.key: entry for entry in map(to_entry, stored[period])}
        wrong_keys[period] = {entry.key for entry in keep_different(total_entries(inputs, period), known, period)}
    lengths: defaultdict[date, timedelta] = defaultdict(timedelta)
    doubtful: set[date] = set()
    for reading, entry in zip(readings, inputs, strict=True):
        day = reading.start.astimezone(PARIS).date()
        lengths[day] += reading.length
        if _belongs_to(entry, wrong_keys):
            doubtful.add(day)
    return [day for day, length in lengths.items() if length == day_length(day) and day not in doubtful]


def _belongs_to(entry: Entry, total_keys: Mapping[Period, set[str]]) -> bool:
    return any(total_key(entry.key, period) in keys for period, keys in total_keys.items())


def paris_today(now: Callable[[], datetime]) -> Callable[[], date]:
    """Return a function that returns the civil date of the meters, whatever the zone of this machine."""
    return lambda: now().astimezone(PARIS).date()
