"""Which days of a series are complete, as one short text per account and series.

A *mark* says what is stored of one civil day and how old the day was when the supplier was last asked. A ledger is
the first day and one mark for each day after it, written as runs:

    2024-01-01 1090c 1p46@8 3l@1

    2024-01-01   The first day.
    1090c        1 090 complete days. The letters are the values of ``DayState``.
    1p46@8       One partial day with 46 half-hours, 8 days old when it was last asked for.
    3l@1         Three days without a reading yet, each 1 day old when it was last asked for.

Three years of a healthy meter take 20 bytes.

Open days are asked for again when they are 1, 2, 4 and 8 days old, then weekly. A day without a reading counts as
absent for good when it is ``GIVE_UP_AGE`` days old. A day for which two answers crossed is asked for at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Final

from worker.domain.measures.documents import Entry
from worker.domain.measures.overlaps import interval_of
from worker.domain.measures.readings import ONE_DAY, DateWindow, civil_date, day_length
from worker.domain.measures.series import Series

GIVE_UP_AGE: Final = 64
ASKED_AT_AGES: Final = (1, 2, 4, *range(8, GIVE_UP_AGE + 1, 7))
_HALF_HOUR: Final = timedelta(minutes=30)
_MINUTE: Final = timedelta(minutes=1)
_RUN: Final = re.compile(r"(\d+)([a-z])(\d*)(?:@(\d+))?", re.ASCII)


class DayState(StrEnum):
    """States of a day; the values are the letters of a ledger's text."""

    COMPLETE = "c"
    FILE = "f"  # All of it is stored, and a file was the last to tell anything new of it.
    PARTIAL = "p"
    LATE = "l"  # It was asked for, and nothing has come yet.
    ABSENT = "a"  # It was asked for until ``GIVE_UP_AGE``, and nothing came.
    BEFORE = "b"  # It lies before activation, consent or the supplier's history; the answer does not say which.
    UNKNOWN = "u"  # It was never asked for.
    SET_ASIDE = "s"  # A value came that no meter can deliver (rule K7): it is not stored.
    AGAIN = "r"  # All of it is stored, but two answers crossed: it is requested again.


@dataclass(frozen=True, slots=True)
class DayMark:
    """The state of one day.

    ``half_hours``: how many are stored of a partial day. ``asked_at_age``: the day's age in days when it was last asked
    for.
    """

    state: DayState
    half_hours: int = 0
    asked_at_age: int | None = None

    @property
    def open(self) -> bool:
        """Whether the day is asked for again: more readings may come, or other values."""
        return self.state in (DayState.LATE, DayState.PARTIAL, DayState.SET_ASIDE, DayState.AGAIN)

    @property
    def complete(self) -> bool:
        """Whether all of the day is stored."""
        return self.state in (DayState.COMPLETE, DayState.FILE, DayState.AGAIN)

    def __str__(self) -> str:
        half_hours = str(self.half_hours) if self.state is DayState.PARTIAL else ""
        return f"{self.state}{half_hours}" + (f"@{self.asked_at_age}" if self.asked_at_age is not None else "")


COMPLETE: Final = DayMark(DayState.COMPLETE)
BEFORE: Final = DayMark(DayState.BEFORE)
UNKNOWN: Final = DayMark(DayState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class DayLedger:
    """One mark for each day from ``start`` on; days outside are unknown."""

    start: date | None = None
    marks: Sequence[DayMark] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> DayLedger:
        """Read what ``str`` wrote; an empty text is an empty ledger. Raises ValueError."""
        if not text:
            return cls()
        first_day, *runs = text.split(" ")
        marks: list[DayMark] = []
        for run in runs:
            if not (match := _RUN.fullmatch(run)):
                raise ValueError("this is not a record of days")
            count, state, half_hours, age = match.groups()
            marks += [DayMark(DayState(state), int(half_hours or 0), int(age) if age else None)] * int(count)
        return cls(date.fromisoformat(first_day), marks)

    def __str__(self) -> str:
        if self.start is None:
            return ""
        runs = (f"{sum(1 for _ in equal_marks)}{mark}" for mark, equal_marks in groupby(self.marks))
        return " ".join([self.start.isoformat(), *runs])

    def mark_of(self, day: date) -> DayMark:
        """Return the day's mark; UNKNOWN outside of the ledger."""
        place = (day - self.start).days if self.start else -1
        return self.marks[place] if 0 <= place < len(self.marks) else UNKNOWN

    def days(self) -> Iterator[tuple[date, DayMark]]:
        """Yield each day with its mark, oldest first."""
        if self.start is not None:
            for place, mark in enumerate(self.marks):
                yield self.start + place * ONE_DAY, mark

    def stored_days(self) -> list[date]:
        """Return the days of which something is stored, oldest first."""
        return [day for day, mark in self.days() if mark.complete or mark.state is DayState.PARTIAL]

    def with_marks(self, new_marks: Mapping[date, DayMark]) -> DayLedger:
        """Return a ledger in which these marks replace those of the same days."""
        if not new_marks:
            return self
        ends = [self.start, self.start + (len(self.marks) - 1) * ONE_DAY] if self.start else []
        start, last = min([*new_marks, *ends]), max([*new_marks, *ends])
        marks = [UNKNOWN] * ((last - start).days + 1)
        if self.start is not None:
            place = (self.start - start).days
            marks[place : place + len(self.marks)] = self.marks
        for day, mark in new_marks.items():
            marks[(day - start).days] = mark
        return DayLedger(start, marks)

    def ask_again(self, days: Iterable[date]) -> DayLedger:
        """Return a ledger in which these days are due at once, where there is anything to ask for."""
        marks = {day: self.mark_of(day) for day in days}
        again = {
            day: DayMark(DayState.AGAIN) if mark.complete else replace(mark, asked_at_age=0)
            for day, mark in marks.items()
            if mark.complete or mark.open
        }
        return self.with_marks(again)

    def due_days(self, today: date, series: Series) -> list[date]:
        """Return the open days that are due to be asked for again, oldest first."""
        return [day for day, when in self._open_days(series) if when <= today]

    def next_ask(self, series: Series) -> date | None:
        """Return when the first of the open days is due; None if no day is open."""
        return min((when for _, when in self._open_days(series)), default=None)

    def _open_days(self, series: Series) -> Iterator[tuple[date, date]]:
        """Yield each open day with the date on which it is due."""
        for day, mark in self.days():
            if mark.open and (when := next_ask(day, mark, series)):
                yield day, when

    def last_complete(self) -> date | None:
        """Return the newest complete day."""
        if self.start is not None:
            for place in range(len(self.marks) - 1, -1, -1):
                if self.marks[place].complete:
                    return self.start + place * ONE_DAY
        return None


def next_ask(day: date, mark: DayMark, series: Series) -> date | None:
    """Return when the repair asks for an open day again; None if it never does.

    Of a series that not every night asks for, the repair has only the days that its look-back does not reach any more,
    weekly like those of others: it is never asked for more often than its cadence. A state has none: what held on a day
    that is over can't be asked for later.
    """
    if series.is_state:
        return None
    if mark.state is DayState.AGAIN:
        return day
    last_age = mark.asked_at_age or 0
    if not series.is_nightly:
        last_age = max(last_age, series.description.look_back_days)
    return next((day + timedelta(days=age) for age in ASKED_AT_AGES if age > last_age), None)


def half_hours_of(day: date) -> int:
    """Return how many half-hours the civil day has: 46, 48 or 50."""
    return half_hours_in(day_length(day))


def half_hours_in(length: timedelta) -> int:
    """Return how many whole half-hours fit into ``length``."""
    return length // _HALF_HOUR


def open_days(window: DateWindow, covered: Mapping[date, timedelta]) -> dict[str, int]:
    """Return the minutes stored of each incomplete day of a window, as ``{"2024-07-24": 1380}``.

    ``covered``: how much of each day is stored; a daily value covers its whole day.
    """
    lengths = {day: covered.get(day, timedelta()) for day in window.dates()}
    return {str(day): length // _MINUTE for day, length in lengths.items() if length < day_length(day)}


def mark_days(
    window: DateWindow,
    stored_minutes: Mapping[str, int],
    today: date,
    floor: date | None = None,
    set_aside: Collection[str] = (),
    give_up_age: int = GIVE_UP_AGE,
) -> dict[date, DayMark]:
    """Return a mark for each day of a window that was asked for today.

    ``stored_minutes``: of the incomplete days, as ``open_days`` returns them. ``floor``: the first day for which the
    supplier has data, if that was found out. ``set_aside``: the days of which a value was set aside.
    ``give_up_age``: from which age on an empty day counts as absent.
    """
    marks = {}
    for day in window.dates():
        minutes, age = stored_minutes.get(str(day)), (today - day).days
        if str(day) in set_aside:
            marks[day] = DayMark(DayState.SET_ASIDE, 0, age)
        elif minutes is None:
            marks[day] = COMPLETE
        elif floor is not None and day < floor:
            marks[day] = BEFORE
        elif minutes:
            marks[day] = DayMark(DayState.PARTIAL, half_hours_in(minutes * _MINUTE), age)
        else:
            marks[day] = DayMark(DayState.ABSENT) if age >= give_up_age else DayMark(DayState.LATE, 0, age)
    return marks


def covered_time_by_day(series: Series, entries: Iterable[Entry]) -> dict[date, timedelta]:
    """Return how much of each civil day the stored readings cover: the time of steps that overlap counts once.

    A step belongs to the day in which it starts.
    """
    if series.has_intervals:
        return {day: day_length(day) for entry in entries for day in interval_days(entry).dates()}
    if not series.has_steps:
        return {(day := date.fromisoformat(entry.key)): day_length(day) for entry in entries}
    minutes_by_day: Counter[date] = Counter()
    covered_until = 0
    for start, end, day in sorted((*interval_of(entry), civil_day(entry.key)) for entry in entries):
        minutes_by_day[day] += max(0, end - max(start, covered_until))
        covered_until = max(covered_until, end)
    return {day: timedelta(minutes=minutes) for day, minutes in minutes_by_day.items()}


@lru_cache(maxsize=8192)  # All accounts have the same keys in one night.
def civil_day(key: str) -> date:
    """Return the civil day of the meter that holds a key in UTC."""
    return civil_date(datetime.fromisoformat(key))


def civil_day_of(key: str, series: Series) -> date:
    """Return the civil day of a reading's key: of a period its first."""
    return civil_day(key) if series.has_steps else date.fromisoformat(key)


def last_day_of(entry: Entry, series: Series) -> date:
    """Return the last civil day of a reading."""
    return interval_days(entry).end - ONE_DAY if series.has_intervals else civil_day_of(entry.key, series)


def interval_days(entry: Entry) -> DateWindow:
    """Return the days of a stored period."""
    return DateWindow(date.fromisoformat(entry.key), date.fromisoformat((entry.details or {})["ends_on"]))
