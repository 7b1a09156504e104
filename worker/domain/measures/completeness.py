"""Which days of a series are whole, held compactly: one short text an account and series.

A *mark* says of one civil day what is stored of it and how old it was when the supplier was asked last.  A
ledger is a first day and one mark a day after it, written as runs: ``2024-01-01 1090c 1p46@8 3l@1`` are 1 090
whole days, one with 46 half-hours that was 8 days old when asked last, and three without anything.  Three years
of a healthy meter take 20 bytes.

Open days are asked for again when they are 1, 2, 4, 8 days old, then weekly; after ``GIVE_UP_AGE`` days what
has not come counts as absent for good.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Final

from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, Series, day_length

GIVE_UP_AGE: Final = 64
ASKED_AT_AGES: Final = (1, 2, 4, *range(8, GIVE_UP_AGE + 1, 7))
_HALF_HOUR: Final = timedelta(minutes=30)
_HOUR: Final = len("2024-01-01T00")  # of a minute's key
_RUN: Final = re.compile(r"(\d+)([a-z])(\d*)(?:@(\d+))?", re.ASCII)


class DayState(StrEnum):
    """Values are the letters of a ledger's text."""

    COMPLETE = "c"
    PARTIAL = "p"
    LATE = "l"  # asked for, nothing there yet
    ABSENT = "a"  # asked for until it was given up
    BEFORE = "b"  # before activation, consent or the supplier's history: it does not tell which
    UNKNOWN = "u"  # never asked for


@dataclass(frozen=True, slots=True)
class Mark:
    """``half_hours``: how many of a partial day's are stored; ``asked_at_age``: days, when it was asked for last."""

    state: DayState
    half_hours: int = 0
    asked_at_age: int | None = None

    @property
    def open(self) -> bool:
        """Whether something may still come."""
        return self.state in (DayState.LATE, DayState.PARTIAL)

    def __str__(self) -> str:
        steps = str(self.half_hours) if self.state is DayState.PARTIAL else ""
        return f"{self.state}{steps}" + (f"@{self.asked_at_age}" if self.asked_at_age is not None else "")


COMPLETE: Final = Mark(DayState.COMPLETE)
BEFORE: Final = Mark(DayState.BEFORE)
UNKNOWN: Final = Mark(DayState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Ledger:
    """One mark a day from ``start`` on; days outside are unknown."""

    start: date | None = None
    marks: Sequence[Mark] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Ledger:
        """What ``str`` wrote; an empty text is an empty ledger.  Raises ValueError."""
        if not text:
            return cls()
        first, *runs = text.split(" ")
        marks: list[Mark] = []
        for run in runs:
            if not (match := _RUN.fullmatch(run)):
                raise ValueError("this is no ledger of days")
            count, state, steps, age = match.groups()
            marks += [Mark(DayState(state), int(steps or 0), int(age) if age else None)] * int(count)
        return cls(date.fromisoformat(first), marks)

    def __str__(self) -> str:
        if self.start is None:
            return ""
        runs = (f"{sum(1 for _ in same)}{mark}" for mark, same in groupby(self.marks))
        return " ".join([self.start.isoformat(), *runs])

    def of(self, day: date) -> Mark:
        place = (day - self.start).days if self.start else -1
        return self.marks[place] if 0 <= place < len(self.marks) else UNKNOWN

    def days(self) -> Iterator[tuple[date, Mark]]:
        """Oldest first."""
        if self.start is not None:
            for place, mark in enumerate(self.marks):
                yield self.start + place * ONE_DAY, mark

    def noting(self, news: Mapping[date, Mark]) -> Ledger:
        """The same with these days' marks in place of what was known."""
        if not news:
            return self
        known = [self.start, self.start + (len(self.marks) - 1) * ONE_DAY] if self.start else []
        start, last = min([*news, *known]), max([*news, *known])
        marks = [UNKNOWN] * ((last - start).days + 1)
        if self.start is not None:
            place = (self.start - start).days
            marks[place : place + len(self.marks)] = self.marks
        for day, mark in news.items():
            marks[(day - start).days] = mark
        return Ledger(start, marks)

    def due(self, today: date) -> list[date]:
        """Open days that are to be asked for again, oldest first."""
        return [day for day, mark in self.days() if mark.open and (when := next_ask(day, mark)) and when <= today]

    def next_ask(self) -> date | None:
        """When the first of the open days is due; None where nothing is open."""
        return min((when for day, mark in self.days() if mark.open and (when := next_ask(day, mark))), default=None)

    def last_complete(self) -> date | None:
        """The newest whole day."""
        if self.start is not None:
            for place in range(len(self.marks) - 1, -1, -1):
                if self.marks[place].state is DayState.COMPLETE:
                    return self.start + place * ONE_DAY
        return None


def next_ask(day: date, mark: Mark) -> date | None:
    """When an open day is due; None once it is too old."""
    asked = mark.asked_at_age or 0
    return next((day + timedelta(days=age) for age in ASKED_AT_AGES if age > asked), None)


def half_hours_of(day: date) -> int:
    """46, 48 or 50."""
    return half_hours_in(day_length(day))


def half_hours_in(length: timedelta) -> int:
    """Whole ones."""
    return length // _HALF_HOUR


def judge_days(
    series: Series, window: DateWindow, covered: Mapping[date, timedelta], today: date, floor: date | None = None
) -> dict[date, Mark]:
    """A mark for each day of a window that was asked for today.

    ``covered``: how much of each day is stored, by day; a daily value covers its day.  ``floor``: the first day the
    supplier has anything of, where that was found out.
    """
    marks = {}
    for place in range(window.days):
        day = window.start + place * ONE_DAY
        marks[day] = _judge(day, covered.get(day, timedelta()), (today - day).days)
        if floor is not None and day < floor and marks[day].state is not DayState.COMPLETE:
            marks[day] = BEFORE
    return marks


def _judge(day: date, covered: timedelta, age: int) -> Mark:
    if covered >= day_length(day):
        return COMPLETE
    if covered:
        return Mark(DayState.PARTIAL, half_hours_in(covered), age)
    return Mark(DayState.ABSENT) if age >= GIVE_UP_AGE else Mark(DayState.LATE, 0, age)


def pack_open(window: DateWindow, covered: Mapping[date, timedelta]) -> list[list[int]]:
    """The window's days that are not whole as runs ``[first day's place, days, minutes stored]``."""
    runs: list[list[int]] = []
    for place in range(window.days):
        day = window.start + place * ONE_DAY
        minutes = min(covered.get(day, timedelta()), day_length(day)) // timedelta(minutes=1)
        if minutes == day_length(day) // timedelta(minutes=1):
            continue
        if runs and runs[-1][0] + runs[-1][1] == place and runs[-1][2] == minutes:
            runs[-1][1] += 1
        else:
            runs.append([place, 1, minutes])
    return runs


def unpack_open(window: DateWindow, runs: Iterable[Sequence[int]]) -> dict[date, timedelta]:
    """How much of each day of the window is stored."""
    days = [window.start + place * ONE_DAY for place in range(window.days)]
    covered = {day: day_length(day) for day in days}
    for place, count, minutes in runs:
        for day in days[place : place + count]:
            covered[day] = timedelta(minutes=minutes)
    return covered


def covered_by(series: Series, entries: Iterable[Entry]) -> dict[date, timedelta]:
    """How much of each civil day these stored readings are; none twice."""
    if series is Series.DAILY:
        return {(day := date.fromisoformat(entry.key)): day_length(day) for entry in entries}
    hours: defaultdict[str, int] = defaultdict(int)  # a civil day begins with an hour of UTC
    for entry in entries:
        hours[entry.key[:_HOUR]] += entry.step or USUAL_STEP_MINUTES
    minutes: Counter[date] = Counter()
    for hour, count in hours.items():
        minutes[civil_day(f"{hour}:00Z")] += count
    return {day: timedelta(minutes=count) for day, count in minutes.items()}


@lru_cache(maxsize=8192)  # all accounts of a night have the same keys
def civil_day(key: str) -> date:
    return datetime.fromisoformat(key).astimezone(PARIS).date()
