"""The history of an account: the windows still to be fetched, and its ledger of days.

The ledger is rebuilt from the stored documents if it was lost or is doubtful. The documents show which days are
complete and which are partial. They don't show whether a day without documents is late, absent or before the history,
nor how old the day was when it was last requested, so the ledger's marks of such days stay. Days that the ledger has
lost are requested again with the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final

from worker.domain import messages
from worker.domain.clock import Clock
from worker.domain.completeness import (
    COMPLETE,
    DayLedger,
    DayMark,
    DayState,
    civil_day_of,
    covered_time_by_day,
    half_hours_in,
    never_comes,
)
from worker.domain.documents import ALL_KEYS, Entry, key_range, to_entry
from worker.domain.messages import WindowJob
from worker.domain.schedule import told_day
from worker.domain.series import Series, curve_of, find_curve, is_gateway
from worker.domain.windows import (
    ONE_DAY,
    DateWindow,
    HistoryDays,
    civil_date,
    day_length,
    newest_wanted_day,
    plan_history,
    split_window,
    subtract_windows,
    to_windows,
)
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import CompletenessTable

# By how many days an account's gateway curves may reach further back with each day that passes; several curves share
# these days. Seventy days cost ten calls. A person who wants older days sooner can import files.
_GATEWAY_CURVE_DAYS: Final = 70
# Enedis publishes a day from 8:00 on the next morning, and not all at once.
_PUBLISHED_FROM: Final = time(8, 30)


@dataclass(frozen=True, kw_only=True)
class History:
    """The histories of all accounts.

    ``curve_days``: how many days of load curve to fetch; 0 for none. ``nightly_at``: when a night begins.
    """

    registry: Registry
    now: Clock
    curve_days: int
    nightly_at: time

    def today(self) -> date:
        """Return the civil date at the meters, whatever this machine's time zone."""
        return civil_date(self.now())

    @property
    def told_from(self) -> time:
        """The hour from which people are told that yesterday's data is missing.

        Before the night's run, or before Enedis publishes a day, all accounts would seem to have failed.
        """
        return max(self.nightly_at, _PUBLISHED_FROM)

    def told_day(self) -> date:
        """Return the day by which people are told what is missing: today, but until ``told_from`` yesterday."""
        return told_day(self.now(), self.told_from)

    def newest_due_day(self, series: Series) -> date:
        """Return the newest day of a series whose absence people are told of."""
        return newest_wanted_day(self.told_day(), series)

    def wanted_window(self, series: Series) -> DateWindow | None:
        """Return the days of the whole history; None if nothing of this series is wanted."""
        return plan_history(self.today(), series, self.curve_days)

    def load(self, account_id: str, *series: Series) -> dict[Series, HistoryDays]:
        wanted = {one: self.wanted_window(one) for one in series}
        return self.registry.completeness.load_histories(account_id, wanted)

    def missing_windows(self, account_id: str, series: Series) -> list[DateWindow]:
        """Return the windows still to be fetched, newest first."""
        return self.load(account_id, series)[series].missing_windows()

    def reachable_windows(self, account_id: str, known: HistoryDays) -> tuple[list[DateWindow], datetime | None]:
        """Return the missing windows that may be fetched now, and when more may be; None if these are all.

        For a gateway, the newest ten weeks of curves may be fetched on the first day, and ten older weeks on each
        later day. If the account has several curves, they share these weeks. The first day is the one on which the
        account became active; an account created by a file import becomes active when it gets its token.
        """
        missing = known.missing_windows()
        if not missing or not (known.series.has_steps and is_gateway(self.registry.accounts.get(account_id).supplier)):
            return missing, None
        curves = sum(one.has_steps for one in self.registry.outcomes.collected(account_id))
        since = self.registry.accounts.state_since(account_id)
        days = 1 + max(0, (self.now() - since) // ONE_DAY)
        reach = self.today() - timedelta(days=_GATEWAY_CURVE_DAYS * days // max(1, curves))
        reachable = [window for window in missing if window.start >= reach]
        return reachable, None if len(reachable) == len(missing) else since + days * ONE_DAY

    def count_days(self, account_id: str, series: Series) -> tuple[int, int]:
        """Return the number of days done and of days wanted, for a progress bar."""
        return self.load(account_id, series)[series].count()

    def covers(self, account_id: str, series: Series, window: DateWindow) -> bool:
        """Return whether every day of the window was requested or needn't be (``DayLedger.asked_windows``)."""
        return not subtract_windows(window, self.load(account_id, series)[series].asked)

    def days_to_compute(self, job: WindowJob) -> Iterator[WindowJob]:
        """Yield windows of daily values to compute from the curve.

        They contain the days of the job's window that the curve covers completely and for which no daily value can
        come. Each window is so short that its curve is read from the store in one request.
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
        """Return the days that are complete in the curve's ledger, and have no daily value and can't get one."""
        ledgers = self.registry.completeness.load_ledgers(account_id)
        told, steps = ledgers[account_id, daily], ledgers[account_id, curve_of(daily)]
        days = [day for day, mark in steps.days() if mark.complete and not told.mark_of(day).complete]
        if not days:
            return []
        account, wanted = self.registry.accounts.get(account_id), self.wanted_window(daily)
        is_asked = account.active and wanted is not None and daily in self.registry.outcomes.collected(account_id)
        first = max(wanted.start if wanted else date.max, account.first_day or date.min)
        return [day for day in days if never_comes(told.mark_of(day), is_asked and day >= first)]


def rebuild_days(
    measures: MeasureStore, ledgers: CompletenessTable, account_id: str, series: Series, today: date
) -> bool:
    """Replace the ledger of days with one built from the stored documents; return whether the ledger changed.

    The history then continues with the days that, by the new ledger, were never requested. The ledger of a series of
    states is kept: its days have no documents of their own, so only the ledger knows when the state was reported.
    Raises UnknownAccount.
    """
    return not series.is_state and ledgers.change(
        account_id, series, lambda known: rebuild_ledger(known, covered_days(measures, account_id, series, today))
    )


def rebuild_ledger(known: DayLedger, covered: Mapping[date, timedelta]) -> DayLedger:
    """Return the ledger built from the stored documents, with the marks of ``known`` for what documents don't show.

    ``covered``: how much of each day is stored.
    """
    marks = {day: _mark_of_day(day, length, known.mark_of(day)) for day, length in covered.items()}
    marks |= {day: _mark_empty(mark) for day, mark in known.days() if day not in covered}
    return DayLedger().with_marks(marks)


def covered_days(measures: MeasureStore, account_id: str, series: Series, today: date) -> dict[date, timedelta]:
    """Return the days with readings, and how much of each day the readings cover."""
    inputs, covered = series.inputs, dict[date, timedelta]()
    first = measures.read(account_id, {inputs: ALL_KEYS}, limit=1)[inputs]
    start, end = (civil_day_of(to_entry(first[0]).key, series) if first else date.max), today + ONE_DAY
    entries: list[Entry] = []
    for part in split_window(DateWindow(start, end), series.description.days_read_at_once) if start < end else ():
        documents = measures.read(account_id, {inputs: key_range(part, inputs)})
        # The last step of the previous part may extend past midnight, into this part.
        entries = [*entries[-1:], *map(to_entry, documents[inputs])]
        covered |= {day: time for day, time in covered_time_by_day(series, entries).items() if day >= part.start}
    return covered


def _mark_of_day(day: date, length: timedelta, known: DayMark) -> DayMark:
    if known.state is DayState.SET_ASIDE:
        return replace(known, half_hours=half_hours_in(length))
    if length >= day_length(day):
        return known if known.complete else COMPLETE
    if known.state is DayState.BEFORE:
        return known
    return DayMark(DayState.PARTIAL, half_hours_in(length), known.asked_at_age if known.open else None)


def _mark_empty(known: DayMark) -> DayMark:
    """Return an empty day's mark: late if it was complete or partial, otherwise as before but without half-hours."""
    if known.state is DayState.PARTIAL:
        return DayMark(DayState.LATE, 0, known.asked_at_age)
    return DayMark(DayState.LATE) if known.complete else replace(known, half_hours=0)
