"""The ledger of days made anew from the stored documents, where it was lost or is doubted.

Documents tell which days are whole and which are torn; what a day without any is (late, absent, before the
history, and how old it was when asked last) only the ledger itself can tell, so those marks are kept.  A day
that a finished window holds, and of which nothing is known, was asked for and is late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Protocol

from worker.domain.measures.completeness import (
    COMPLETE,
    UNKNOWN,
    DayState,
    Ledger,
    Mark,
    civil_day,
    covered_by,
    half_hours_in,
)
from worker.domain.measures.documents import key_range, to_entry
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series, day_length
from worker.domain.measures.windows import split_window
from worker.errors import StoreUnavailable
from worker.stores.measures.base import Measures
from worker.stores.registry.completeness import CompletenessTable

_DAYS_AT_ONCE: Final = {Series.DAILY: 366, Series.LOAD_CURVE: 31}  # memory stays flat whatever the depth
_ALL: Final = DateWindow(date(2010, 1, 1), date(2100, 1, 1))  # wider than any meter's life
_MOST_TRIES: Final = 10


class DoneWindows(Protocol):
    """The part of SyncState that remembers finished windows."""

    def done_windows(self, account_id: str, series: str) -> list[DateWindow]: ...


@dataclass(frozen=True)
class Rebuild:
    measures: Measures
    book: CompletenessTable
    state: DoneWindows
    today: Callable[[], date]

    def run(self, account_id: str, series: Series) -> bool:
        """Put the ledger that the store tells in place of the one that stands there; whether they differed.

        Raises UnknownAccount and StoreUnavailable.
        """
        for _ in range(_MOST_TRIES):
            # The ledger first: a window stored meanwhile changes it, and then all is read again.
            known = self.book.ledger(account_id, series)
            done = self.state.done_windows(account_id, series)
            anew = rebuilt(known, dict(self._covered(account_id, series)), done)
            if str(anew) == str(known):
                return False
            if self.book.exchange(account_id, series, known, anew):
                return True
        raise StoreUnavailable(f"the days of account {account_id} keep changing while they are read: try again later")

    def _covered(self, account_id: str, series: Series) -> Iterator[tuple[date, timedelta]]:
        store = self.measures[series.inputs]
        first = store.read(account_id, *key_range(_ALL, series.inputs), limit=1)
        if not first:
            return
        start, end = civil_day_of(to_entry(first[0]).key, series), self.today() + ONE_DAY
        if start < end:
            for part in split_window(DateWindow(start, end), _DAYS_AT_ONCE[series]):
                documents = store.read(account_id, *key_range(part, series.inputs))
                yield from covered_by(series, map(to_entry, documents)).items()


def rebuilt(known: Ledger, covered: dict[date, timedelta], done: Collection[DateWindow] = ()) -> Ledger:
    """The ledger of what is stored, with the marks of ``known`` where the store can't tell.

    ``covered``: how much of each day is stored.  ``done``: windows that were asked for.
    """
    news = {day: _mark(day, length, known.of(day)) for day, length in covered.items()}
    news |= {day: _empty(mark) for day, mark in known.days() if day not in covered}
    first = min(covered, default=None)
    for window in done:
        for place in range(window.days):
            day = window.start + place * ONE_DAY
            if first is not None and day > first and day not in covered and known.of(day) == UNKNOWN:
                news[day] = Mark(DayState.LATE)  # when it was asked for is forgotten: it is due at once
    return Ledger().noting(news)


def civil_day_of(key: str, series: Series) -> date:
    return date.fromisoformat(key) if series is Series.DAILY else civil_day(key)


def _mark(day: date, length: timedelta, known: Mark) -> Mark:
    if length >= day_length(day):
        return COMPLETE
    if known.state is DayState.BEFORE:
        return known
    return Mark(DayState.PARTIAL, half_hours_in(length), known.asked_at_age if known.open else None)


def _empty(known: Mark) -> Mark:
    """Where nothing is stored: what was known, unless that was that something is; then it has to be fetched again."""
    if known.state is DayState.PARTIAL:
        return Mark(DayState.LATE, 0, known.asked_at_age)
    return Mark(DayState.LATE) if known.state is DayState.COMPLETE else known
