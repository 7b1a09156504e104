"""The ledger of days, rebuilt from the stored documents where it was lost or is doubtful.

Documents show which days are complete and which are partial. For a day without documents only the ledger knows whether
it is late, absent or before the history, and how old it was when it was last asked for, so these marks stay. A day
without documents or mark that lies in a finished window was asked for and counts as late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from worker.domain.completeness import (
    COMPLETE,
    UNKNOWN,
    DayLedger,
    DayMark,
    DayState,
    civil_day_of,
    covered_time_by_day,
    half_hours_in,
)
from worker.domain.documents import ALL_KEYS, key_range, to_entry
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow, day_length, split_window
from worker.errors import StoreUnavailable
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry.outcomes import CompletenessTable

_MAX_TRIES: Final = 10


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
        if start < end:
            for part in split_window(DateWindow(start, end), series.description.days_read_at_once):
                documents = self.measures.read(account_id, {inputs: key_range(part, inputs)})
                yield from covered_time_by_day(series, map(to_entry, documents[inputs])).items()


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
        return known
    if length >= day_length(day):
        return known if known.complete else COMPLETE
    if known.state is DayState.BEFORE:
        return known
    return DayMark(DayState.PARTIAL, half_hours_in(length), known.asked_at_age if known.open else None)


def _mark_empty(known: DayMark) -> DayMark:
    """Return the mark of a day without documents: the known one, unless it says that there are some."""
    if known.state is DayState.PARTIAL:
        return DayMark(DayState.LATE, 0, known.asked_at_age)
    return DayMark(DayState.LATE) if known.complete else known
