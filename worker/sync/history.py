"""The history of an account: its windows that are still to be fetched, and its ledger.

Redis remembers the finished windows. If Redis was emptied, the measure store is read once instead of downloading all
again: a day whose readings are complete and whose totals agree with them counts as done.

The ledger of days is rebuilt from the stored documents where it was lost or is doubtful. Documents show which days are
complete and which are partial. For a day without documents only the ledger knows whether it is late, absent or before
the history, and how old it was when it was last asked for, so these marks stay. A day without documents or mark that
lies in a finished window was asked for and counts as late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple

from worker.domain import messages
from worker.domain.clock import Clock
from worker.domain.completeness import (
    COMPLETE,
    UNKNOWN,
    DayLedger,
    DayMark,
    DayState,
    civil_day_of,
    covered_time_by_day,
    half_hours_in,
    never_comes,
)
from worker.domain.documents import ALL_KEYS, Entry, key_range, to_entry, touched_window
from worker.domain.messages import WindowJob
from worker.domain.series import Doctype, Series, curve_of, find_curve, is_gateway
from worker.domain.totals import keep_different, total_entries, total_key
from worker.domain.windows import (
    ONE_DAY,
    DateWindow,
    civil_date,
    day_length,
    merge_windows,
    plan_backfill,
    plan_history,
    reach_on,
    split_window,
    subtract_windows,
    to_windows,
)
from worker.errors import StoreUnavailable
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.redis.claims import ProgressStore, SeriesCoverage
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import CompletenessTable

_GATEWAY_CURVE_DAYS: Final = 70  # Of each day: ten calls. What is older comes sooner from the files of one's meter.
_MAX_TRIES: Final = 10


class HistoryState(NamedTuple):
    """The days of a history that are done and wanted; ``loaded``: none is missing but in the look-back."""

    done: int
    total: int
    loaded: bool


@dataclass(frozen=True, kw_only=True)
class History:
    """The histories of all accounts; methods raise StoreUnavailable.

    ``curve_days``: the days of load curve to fetch; 0 for none. ``nightly_at``: when a night begins.
    """

    registry: Registry
    progress: ProgressStore
    measures: MeasureStore
    now: Clock
    curve_days: int
    nightly_at: time

    def today(self) -> date:
        """Return the civil date of the meters, whatever the zone of this machine."""
        return civil_date(self.now())

    def wanted_window(self, series: Series) -> DateWindow | None:
        """Return the days of the whole history; None if nothing of this series is wanted."""
        return plan_history(self.today(), series, self.curve_days)

    def missing_windows(self, account_id: str, series: Series) -> list[DateWindow]:
        """Return the windows still to be fetched, newest first."""
        wanted = self.wanted_window(series)
        if wanted is None or (series.is_state and self._is_answered(account_id, series)):
            return []
        coverage = self.progress.coverage(account_id, series)
        if not coverage.is_known and not series.is_state:
            done = self._read_done(account_id, series, wanted, coverage.windows)
            coverage = self.progress.replace_done(account_id, series, done)
        if subtract_windows(wanted, coverage.windows):
            # A state tells what holds today, whenever the contract or the holder's own days begin.
            first_day = None if series.is_state else self.registry.accounts.get(account_id).first_day
            if before := _days_before(first_day, wanted):
                # Nothing is asked for before it, so these days are done.
                coverage = self.progress.mark_done(account_id, series, *before)
        wanted = _until_last_turn(wanted, series, coverage.windows)
        max_days = series.description.max_window_days
        windows = plan_backfill(wanted, coverage.windows, max_days)
        return reach_on(windows, wanted.end, max_days) if series.has_intervals else windows

    def reachable_windows(self, account_id: str, series: Series) -> tuple[list[DateWindow], datetime | None]:
        """Return the missing windows that may be fetched by now, and when others may; None where they all may.

        Of a gateway's curves these are ten weeks more for each day since the account could be asked for, of all its
        curves together, the newest first. An account that files have made could not before it got its token.
        """
        missing, account = self.missing_windows(account_id, series), self.registry.accounts.get(account_id)
        if not missing or not (series.has_steps and is_gateway(account.supplier)):
            return missing, None
        curves = sum(one.has_steps for one in self.registry.outcomes.collected(account_id))
        since = self.registry.accounts.state_since(account_id)
        days = 1 + max(0, (self.now() - since) // ONE_DAY)
        reach = self.today() - timedelta(days=_GATEWAY_CURVE_DAYS * days // max(1, curves))
        reachable = [window for window in missing if window.start >= reach]
        return reachable, None if len(reachable) == len(missing) else since + days * ONE_DAY

    def count_days(self, account_id: str, series: Series) -> tuple[int, int]:
        """Return the number of days done and of days wanted, for a progress bar."""
        wanted, undone = self._wanted_and_undone(account_id, series)
        return (0, 0) if wanted is None else _count(wanted, undone)

    def undone_windows(self, account_id: str, series: Series) -> list[DateWindow]:
        """Return the days that ``count_days`` doesn't count as done."""
        return self._wanted_and_undone(account_id, series)[1]

    def covers(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Return whether every day of the window is done."""
        return not subtract_windows(window, self.progress.coverage(account_id, series).windows)

    def mark_done(self, account_id: str, series: Series, window: DateWindow, floor: date | None) -> HistoryState:
        """Mark a window as done and return what of the history is done then.

        ``floor``: the first day for which the supplier has data; all days before it are marked as done too.
        """
        wanted = self.wanted_window(series)
        coverage = self.progress.mark_done(account_id, series, window, *(_days_before(floor, wanted) if wanted else ()))
        if wanted is None:
            return HistoryState(0, 0, loaded=True)
        if series.is_state:
            return HistoryState(wanted.days, wanted.days, loaded=True)
        until = _end_without_gap(wanted.start, coverage)
        # A look-back asks for the days that follow anyway.
        loaded = until is not None and until >= wanted.end - timedelta(days=series.description.look_back_days)
        return HistoryState(*_count(wanted, subtract_windows(wanted, coverage.windows)), loaded)

    def days_to_compute(self, job: WindowJob) -> Iterator[WindowJob]:
        """Yield windows of daily values, as long as the curve is read at once, that are computed from the curve.

        They are the days of the job's window that the curve covers whole and that no daily value can come for.
        """
        series = messages.series_of(job)
        daily = series.description.adds_up_to if series.has_steps else series
        if daily is None or (curve := find_curve(daily)) is None:
            return
        days, within = self.days_without_daily(job["account_id"], daily), messages.window_of(job)
        for run in to_windows(day for day in days if within.start <= day < within.end):
            for part in split_window(run, curve.description.days_read_at_once):
                yield messages.to_job(job["account_id"], daily, part, job["run_id"], None)

    def days_without_daily(self, account_id: str, daily: Series) -> list[date]:
        """Return the days that the curve covers whole, by the registry, and that no daily value can come for."""
        ledgers = self.registry.completeness.load_ledgers([account_id])
        told, steps = (ledgers.get((account_id, one), DayLedger()) for one in (daily, curve_of(daily)))
        days = [day for day, mark in steps.days() if mark.complete and not told.mark_of(day).complete]
        if not days:
            return []
        account, wanted = self.registry.accounts.get(account_id), self.wanted_window(daily)
        is_asked = account.active and wanted is not None and daily in self.registry.outcomes.collected(account_id)
        first = max(wanted.start if wanted else date.max, account.first_day or date.min)
        return [day for day in days if never_comes(told.mark_of(day), is_asked and day >= first)]

    def _is_answered(self, account_id: str, series: Series) -> bool:
        """Return whether a state was ever told: then its history is loaded, whatever Redis remembers."""
        outcome = self.registry.outcomes.load(account_id).get(series)
        return outcome is not None and outcome.last_success_at is not None

    def _wanted_and_undone(self, account_id: str, series: Series) -> tuple[DateWindow | None, list[DateWindow]]:
        """Return the days that should be there by now, and those of them that are not done."""
        wanted = self.wanted_window(series)
        if wanted is None:
            return None, []
        if series.is_state:
            return wanted, [] if self._is_answered(account_id, series) else [wanted]
        done = self._done_windows(account_id, series, wanted)
        wanted = _until_last_turn(wanted, series, done)
        return wanted, subtract_windows(wanted, done)

    def _done_windows(self, account_id: str, series: Series, wanted: DateWindow) -> list[DateWindow]:
        """Return what is done, read from the measures where Redis was emptied.

        It is not stored in Redis: a mere look must not hide the loss from ``make_lost_histories_due``.
        """
        coverage = self.progress.coverage(account_id, series)
        if coverage.is_known:
            return coverage.windows
        done = self._read_done(account_id, series, wanted, coverage.windows)
        return merge_windows([*_days_before(self.registry.accounts.get(account_id).first_day, wanted), *done])

    def _read_done(
        self, account_id: str, series: Series, wanted: DateWindow, covered: list[DateWindow]
    ) -> list[DateWindow]:
        """Return what the measures show as done, together with the windows finished since Redis was emptied.

        An account of which nothing was ever stored costs no read.
        """
        outcome = self.registry.outcomes.load(account_id).get(series)
        days: list[date] = []
        if outcome is not None and outcome.ever_stored:
            # A year's total needs all its days, so a part of daily values has whole years.
            for part in split_window(touched_window(wanted, series), series.description.days_read_at_once):
                ranges = {doctype: key_range(part, doctype) for doctype in (*series.totals, series.inputs)}
                days += covered_days(series, self.measures.read(account_id, ranges))
        return merge_windows([*covered, *to_windows(days)])


def _until_last_turn(wanted: DateWindow, series: Series, done: list[DateWindow]) -> DateWindow:
    """Return the wanted days without those since the last turn of a series that not every night asks for.

    The next turn asks for them: until then they are not missing.
    """
    last = min(max((window.end for window in done), default=wanted.start), wanted.end)
    is_within = wanted.end - last <= timedelta(days=series.description.cadence_nights)
    return DateWindow(wanted.start, last) if is_within and not series.is_nightly and last > wanted.start else wanted


def _days_before(first: date | None, wanted: DateWindow) -> list[DateWindow]:
    """Return the wanted days before the first one that the supplier can have, if there are any."""
    return [DateWindow(wanted.start, first)] if first is not None and wanted.start < first else []


def _count(wanted: DateWindow, undone: list[DateWindow]) -> tuple[int, int]:
    return wanted.days - sum(window.days for window in undone), wanted.days


def _end_without_gap(first: date, coverage: SeriesCoverage) -> date | None:
    """Return the day after the finished days that follow ``first`` without a gap; None if ``first`` is not finished."""
    ends = (window.end for window in coverage.windows if window.start <= first < window.end)
    return next(ends, None) if coverage.is_known else None


def covered_days(series: Series, stored: Mapping[Doctype, list[Document]]) -> list[date]:
    """Return the days whose readings are complete and whose totals agree with them.

    Totals may disagree if a worker died between the two writes.
    """
    inputs = [to_entry(document) for document in stored[series.inputs]]
    doubtful: set[date] = set()
    for doctype in series.totals:
        known = {entry.key: entry for entry in map(to_entry, stored[doctype])}
        wrong = {entry.key for entry in keep_different(total_entries(inputs, doctype), known, doctype)}
        doubtful |= {civil_day_of(entry.key, series) for entry in inputs if total_key(entry.key, doctype) in wrong}
    covered = covered_time_by_day(series, inputs)
    return [day for day, length in covered.items() if length == day_length(day) and day not in doubtful]


@dataclass(frozen=True, kw_only=True)
class LedgerRebuilder:
    """A rebuilder of the ledgers of single accounts."""

    measures: MeasureStore
    ledgers: CompletenessTable
    progress: ProgressStore
    today: Callable[[], date]

    def rebuild(self, account_id: str, series: Series) -> bool:
        """Replace the ledger by the one that the stored documents give, and return whether they differed.

        The days of a state have no documents of their own: only the ledger knows on which it was told, and it stays.
        Raises UnknownAccount and StoreUnavailable.
        """
        if series.is_state:
            return False
        for _ in range(_MAX_TRIES):
            # The ledger is read first: a window stored meanwhile changes it, the replacement fails, and all is read
            # again.
            known = self.ledgers.load_ledger(account_id, series)
            done = self.progress.coverage(account_id, series).windows
            rebuilt = rebuild_ledger(known, dict(self._covered(account_id, series)), done)
            if str(rebuilt) == str(known):
                return False
            if self.ledgers.replace_if_unchanged(account_id, series, known, rebuilt):
                return True
        raise StoreUnavailable(f"other processes are changing the days of account {account_id}: try again later")

    def _covered(self, account_id: str, series: Series) -> Iterator[tuple[date, timedelta]]:
        """Yield each day with readings, and how much of it they cover."""
        inputs = series.inputs
        first = self.measures.read(account_id, {inputs: ALL_KEYS}, limit=1)[inputs]
        if not first:
            return
        start, end = civil_day_of(to_entry(first[0]).key, series), self.today() + ONE_DAY
        entries: list[Entry] = []
        if start < end:
            for part in split_window(DateWindow(start, end), series.description.days_read_at_once):
                documents = self.measures.read(account_id, {inputs: key_range(part, inputs)})
                # The last step of the part before may reach over midnight.
                entries = [*entries[-1:], *map(to_entry, documents[inputs])]
                yield from (item for item in covered_time_by_day(series, entries).items() if item[0] >= part.start)


def rebuild_ledger(known: DayLedger, covered: dict[date, timedelta], done: Collection[DateWindow] = ()) -> DayLedger:
    """Return the ledger of what is stored, with the marks of ``known`` where the documents can't tell.

    ``covered``: how much of each day is stored. ``done``: windows that were asked for.
    """
    marks = {day: _mark_of_day(day, length, known.mark_of(day)) for day, length in covered.items()}
    marks |= {day: _mark_empty(mark) for day, mark in known.days() if day not in covered}
    first = min(covered, default=None)
    for window in done:
        for day in window.dates():
            if first is not None and day > first and day not in covered and known.mark_of(day) == UNKNOWN:
                # Nobody knows when it was asked for, so it is due at once.
                marks[day] = DayMark(DayState.LATE)
    return DayLedger().with_marks(marks)


def _mark_of_day(day: date, length: timedelta, known: DayMark) -> DayMark:
    if known.state is DayState.SET_ASIDE:
        return replace(known, half_hours=half_hours_in(length))
    if length >= day_length(day):
        return known if known.complete else COMPLETE
    if known.state is DayState.BEFORE:
        return known
    return DayMark(DayState.PARTIAL, half_hours_in(length), known.asked_at_age if known.open else None)


def _mark_empty(known: DayMark) -> DayMark:
    """Return the mark of a day without documents: the known one, unless it says that there are some."""
    if known.state is DayState.PARTIAL:
        return DayMark(DayState.LATE, 0, known.asked_at_age)
    return DayMark(DayState.LATE) if known.complete else replace(known, half_hours=0)
