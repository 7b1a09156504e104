"""Which days of a series are complete (one short text per account and series), and why a day has no load curve.

A *mark* says how much of one local day is stored, and how old the day was when it was last requested. A *ledger* has a
first day and one mark for each day from then on. Runs of equal marks are written together:

    2024-01-01 1090c 1p46@8 3l@1

    2024-01-01   The first day.
    1090c        1 090 complete days. The letters are the values of ``DayState``.
    1p46@8       One partial day with 46 half-hours, 8 days old when it was last requested.
    3l@1         Three days without a reading yet, each 1 day old when it was last requested.

Three years of a healthy meter take 20 bytes.

*Open* days, for which more may come, are requested again when they are 1, 2, 4 and 8 days old, then weekly. A day
without a reading counts as absent for good when it is ``GIVE_UP_AGE`` days old. A complete or open day is due at
once if it isn't certain that its latest answer was stored (``RecentAnswers.days_in_doubt``). Any other open day whose
mark has no age is requested as part of the history.

Enedis collects a load curve only if the holder has switched its collection on; daily values are always collected. The
answer is ``no_data_found`` both for a curve that isn't collected and for a gap. So the reason for a *hole*, a day
without a curve, is found by a comparison with the daily values of the same direction:

* many days in a row, up to the newest day, have a daily value and no curve: the collection is not switched on;
* a single day has no curve, but the days before and after have one: there is a gap in the transmission;
* a day has no daily value either: the supplier has published nothing yet, or never will.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Final

from worker.domain.documents import USUAL_STEP_MINUTES, Entry, interval_of
from worker.domain.series import Series, curve_of, daily_of
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, civil_date, day_length, find_uncovered, local_midnight

GIVE_UP_AGE: Final = 64
ASKED_AT_AGES: Final = (1, 2, 4, *range(8, GIVE_UP_AGE + 1, 7))
# How many days with a daily value and without a curve show that the collection is not switched on.
MIN_EMPTY_DAYS: Final = 3
# The minimum is higher if there was a curve before: the newest days of the curve may just be late, and no holder should
# be asked to switch on a collection that is on already.
MIN_EMPTY_DAYS_AFTER_CURVE: Final = 8
# The two usual series whose ledgers are compared: daily values, then the curve.
COMPARED_SERIES: Final = (daily_of(), curve_of(daily_of()))
_HALF_HOUR: Final = timedelta(minutes=30)
_MINUTE: Final = timedelta(minutes=1)
_RUN: Final = re.compile(r"(\d+)([a-z])(\d*)(?:@(\d+))?", re.ASCII)


class DayState(StrEnum):
    """States of a day; the values are the letters of a ledger's text."""

    COMPLETE = "c"
    FILE = "f"  # All of the day is stored, and its last new values came from a file.
    PARTIAL = "p"
    LATE = "l"  # The day was requested, and nothing has come yet.
    ABSENT = "a"  # The day was requested until ``GIVE_UP_AGE``, and nothing came.
    BEFORE = "b"  # The day lies before activation, consent or the supplier's history; the answer doesn't say which.
    UNKNOWN = "u"  # The day was never requested.
    SET_ASIDE = "s"  # A value beyond what a meter can deliver (rule K7) wasn't stored; other values may be stored.
    AGAIN = "r"  # All of the day is stored, but perhaps not from the latest answer: it is requested again.


@dataclass(frozen=True, slots=True)
class DayMark:
    """The state of one day.

    ``half_hours``: how many half-hours are stored of a partial day, or of a day with a value set aside.
    ``asked_at_age``: the day's age in days when it was last requested. It is None for a day that is complete, isn't
    requested any more, came only from a file, or lost its documents.
    """

    state: DayState
    half_hours: int = 0
    asked_at_age: int | None = None

    @property
    def open(self) -> bool:
        """Whether the day is to be requested again, because more or different readings may come."""
        return self.state in (DayState.LATE, DayState.PARTIAL, DayState.SET_ASIDE, DayState.AGAIN)

    @property
    def complete(self) -> bool:
        """Whether all of the day is stored."""
        return self.state in (DayState.COMPLETE, DayState.FILE, DayState.AGAIN)

    @property
    def asked(self) -> bool:
        """Whether loading the history skips the day, because it was requested already or needn't be requested."""
        ended = self.complete or self.state in (DayState.ABSENT, DayState.BEFORE)
        return ended or self.asked_at_age is not None

    def __str__(self) -> str:
        half_hours = str(self.half_hours) if self.half_hours or self.state is DayState.PARTIAL else ""
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
        """Parse a text that ``str`` returned; an empty text is an empty ledger. Raises ValueError for other texts."""
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
        """Return the day's mark; UNKNOWN outside the ledger."""
        place = (day - self.start).days if self.start else -1
        return self.marks[place] if 0 <= place < len(self.marks) else UNKNOWN

    def days(self) -> Iterator[tuple[date, DayMark]]:
        """Yield each day with its mark, oldest first."""
        if self.start is not None:
            for place, mark in enumerate(self.marks):
                yield self.start + place * ONE_DAY, mark

    def stored_days(self) -> dict[date, timedelta]:
        """Return the days with stored readings, oldest first, each with its stored time in complete half-hours."""
        return {
            day: day_length(day) if mark.complete else mark.half_hours * _HALF_HOUR
            for day, mark in self.days()
            if mark.complete or mark.half_hours or mark.state is DayState.PARTIAL
        }

    def with_marks(self, new_marks: Mapping[date, DayMark]) -> DayLedger:
        """Return a ledger with the new marks, which replace marks of the same days; days without a mark are UNKNOWN."""
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

    def with_file(self, marks: Mapping[date, DayMark]) -> DayLedger:
        """Return a ledger with the marks of a file. A file never changes the supplier's first day with data."""
        floors = [day for day, mark in self.days() if mark.state is DayState.BEFORE]
        marked = self.with_marks(marks)
        return marked.with_floor(floors[-1] + ONE_DAY) if floors else marked

    def with_floor(self, floor: date) -> DayLedger:
        """Return a ledger in which the newest day before ``floor`` that has no stored readings is marked BEFORE.

        ``floor``: the first day for which the supplier has data.
        """
        day = floor - ONE_DAY
        while (mark := self.mark_of(day)).complete or mark.half_hours:
            day -= ONE_DAY
        return self.with_marks({day: BEFORE})

    def asked_windows(self, first_day: date = date.min) -> list[DateWindow]:
        """Return the requested days, in windows that may overlap.

        All days up to a day that is marked BEFORE, and all days before the account's ``first_day``, count as requested.
        """
        windows, floor, end = list[DateWindow](), first_day, self.start or date.min
        for mark, equal_marks in groupby(self.marks):
            start, end = end, end + len(list(equal_marks)) * ONE_DAY
            if mark.state is DayState.BEFORE:
                floor = max(floor, end)
            elif mark.asked:
                windows.append(DateWindow(start, end))
        return [DateWindow(date.min, floor), *windows] if floor > date.min else windows

    def ask_again(self, days: Iterable[date]) -> DayLedger:
        """Return a ledger in which these days are due again; days that are neither complete nor open don't change."""
        marks = {day: self.mark_of(day) for day in days}
        again = {
            day: DayMark(DayState.AGAIN) if mark.complete else replace(mark, asked_at_age=0)
            for day, mark in marks.items()
            if mark.complete or mark.open
        }
        return self.with_marks(again)

    def due_days(self, today: date, series: Series) -> list[date]:
        """Return the open days that are due to be requested again, oldest first."""
        return [day for day, when in self._open_days(series) if when <= today]

    def next_ask(self, series: Series) -> date | None:
        """Return the date on which the next open day is due; None if no open day is ever due."""
        return min((when for _, when in self._open_days(series)), default=None)

    def _open_days(self, series: Series) -> Iterator[tuple[date, date]]:
        """Yield each open day that is ever due, with the date on which it is due."""
        for day, mark in self.days():
            if mark.open and (when := next_ask(day, mark, series)):
                yield day, when

    def last_complete(self) -> date | None:
        """Return the newest complete day; None if there is none."""
        if self.start is None:
            return None
        places = (place for place in range(len(self.marks) - 1, -1, -1) if self.marks[place].complete)
        return next((self.start + place * ONE_DAY for place in places), None)


def never_comes(mark: DayMark, asked: bool) -> bool:
    """Return whether a missing day can't get a value any more. ``asked``: whether automatic runs request the day."""
    return not asked or mark.state in (DayState.ABSENT, DayState.BEFORE)


def next_ask(day: date, mark: DayMark, series: Series) -> date | None:
    """Return the day on which the repair requests an open day again; None if the repair never does.

    A day in the state AGAIN is due at once. Other days of a series that isn't requested every night aren't repaired
    before they are older than the series' look-back. From that age on, ``ASKED_AT_AGES`` are a week apart, so the
    repair requests the series no more often than the series' cadence allows.

    A series of states is never repaired, because a past state can't be requested later. A day without an age isn't
    repaired either, because it belongs to the history.
    """
    if series.is_state:
        return None
    if mark.state is DayState.AGAIN:
        return day
    if mark.asked_at_age is None:
        return None
    last_age = mark.asked_at_age
    if not series.is_nightly:
        last_age = max(last_age, series.description.look_back_days)
    return next((day + timedelta(days=age) for age in ASKED_AT_AGES if age > last_age), None)


def half_hours_of(day: date) -> int:
    """Return how many half-hours the local day has: 46, 48 or 50."""
    return half_hours_in(day_length(day))


def half_hours_in(length: timedelta) -> int:
    return length // _HALF_HOUR


def open_days(window: DateWindow, covered: Mapping[date, timedelta]) -> dict[str, int]:
    """Return the stored minutes of each incomplete day of a window, as ``{"2024-07-24": 1380}``.

    ``covered``: the stored time of each day; a daily value covers its whole day.
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
    """Return a mark for each day of a window that was requested today.

    ``stored_minutes``: the stored minutes of each incomplete day, from ``open_days``. ``floor``: the first day for
    which the supplier has data, if it was found. ``set_aside``: the days with a value that wasn't stored.
    ``give_up_age``: the age in days from which on an empty day counts as absent.
    """
    marks = {}
    for day in window.dates():
        minutes, age = stored_minutes.get(str(day)), (today - day).days
        if str(day) in set_aside:
            stored = day_length(day) if minutes is None else minutes * _MINUTE
            marks[day] = DayMark(DayState.SET_ASIDE, half_hours_in(stored), age)
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
    """Return how much of each local day the stored readings cover; overlapping steps count once.

    Days computed from the curve don't count. The part of a step after midnight counts only if another step starts on
    that second day.
    """
    if series.has_intervals:
        return {day: day_length(day) for entry in entries for day in interval_days(entry).dates()}
    if not series.has_steps:
        told = (date.fromisoformat(entry.key) for entry in entries if not entry.is_computed)
        return {day: day_length(day) for day in told}
    minutes_by_day: Counter[date] = Counter()
    covered_until = 0
    carried: Counter[date] = Counter()
    for start, end, day in sorted((*interval_of(entry), civil_day(entry.key)) for entry in entries):
        midnight, begin = _minute_of_end(day), max(start, covered_until)
        minutes_by_day[day] += max(0, min(end, midnight) - begin)
        carried[day + ONE_DAY] += max(0, end - max(begin, midnight))
        covered_until = max(covered_until, end)
    return {day: timedelta(minutes=minutes + carried[day]) for day, minutes in minutes_by_day.items()}


@lru_cache(maxsize=8192)
def _minute_of_end(day: date) -> int:
    return int(local_midnight(day + ONE_DAY).timestamp()) // 60


@lru_cache(maxsize=8192)  # All accounts have the same keys in one night.
def civil_day(key: str) -> date:
    """Return the local day, in the meter's zone, of a key that is a moment in UTC."""
    return civil_date(datetime.fromisoformat(key))


def civil_day_of(key: str, series: Series) -> date:
    """Return the local day of a reading's key; for a billed period, the period's first day."""
    return civil_day(key) if series.has_steps else date.fromisoformat(key)


def last_day_of(entry: Entry, series: Series) -> date:
    """Return the last local day of a reading; for a step, the day on which it starts."""
    return interval_days(entry).end - ONE_DAY if series.has_intervals else civil_day_of(entry.key, series)


def interval_days(entry: Entry) -> DateWindow:
    """Return the days of a billed period, from its key to the detail ``ends_on``."""
    return DateWindow(date.fromisoformat(entry.key), date.fromisoformat((entry.details or {})["ends_on"]))


_EMPTY: Final = frozenset({DayState.LATE, DayState.ABSENT})
_CURVE: Final = frozenset({DayState.COMPLETE, DayState.FILE, DayState.PARTIAL, DayState.AGAIN})


class Hole(StrEnum):
    """Reasons why a day has no load curve."""

    NOT_ACTIVATED = "not_activated"  # The holder must switch the collection on.
    NOT_YET_ACTIVATED = "not_yet_activated"  # The collection was switched on later; the curve of this day never comes.
    TRANSMISSION = "transmission"  # A later day has a curve.
    LATE = "late"  # No later day has a curve, but too few days lack it to tell the reason.
    NOTHING = "nothing"  # There is no daily value either: the day is late or absent.


@dataclass(frozen=True, slots=True)
class MissingCurve:
    """A load curve whose collection isn't switched on.

    ``since``: the day from which on there are daily values but no curve. ``last_curve``: the last day with a curve;
    None if there never was one.
    """

    since: date
    last_curve: date | None


def find_missing_curve(daily: DayLedger, curve: DayLedger) -> MissingCurve | None:
    """Return the missing curve if enough of the newest days have a daily value and no curve, else None."""
    newest = max((day for day, mark in curve.days() if mark.state is not DayState.UNKNOWN), default=None)
    if newest is None or curve.start is None:
        return None
    count, since, day = 0, newest, newest
    while day >= curve.start and curve.mark_of(day).state in _EMPTY:
        if daily.mark_of(day).complete:  # A day without a daily value proves nothing.
            count, since = count + 1, day
        day -= ONE_DAY
    last_curve = max(_days_in(curve, _CURVE), default=None)
    needed = MIN_EMPTY_DAYS if last_curve is None else MIN_EMPTY_DAYS_AFTER_CURVE
    return MissingCurve(since, last_curve) if count >= needed else None


def find_holes(daily: DayLedger, curve: DayLedger) -> dict[date, Hole]:
    """Return the reason for each requested day without a curve."""
    missing, with_curve, empty = find_missing_curve(daily, curve), _days_in(curve, _CURVE), _days_in(curve, _EMPTY)
    with_value = [day for day in empty if daily.mark_of(day).complete]
    began_later = bool(with_curve) and sum(day < with_curve[0] for day in with_value) >= MIN_EMPTY_DAYS_AFTER_CURVE
    holes = {day: Hole.NOTHING for day in empty if daily.mark_of(day).state in _EMPTY}
    for day in with_value:
        if missing is not None and day >= missing.since:
            holes[day] = Hole.NOT_ACTIVATED
        elif began_later and day < with_curve[0]:
            holes[day] = Hole.NOT_YET_ACTIVATED
        else:
            holes[day] = Hole.TRANSMISSION if with_curve and day < with_curve[-1] else Hole.LATE
    return holes


def find_all_holes(ledgers: Mapping[Series, DayLedger]) -> dict[Series, dict[date, Hole]]:
    """Return the holes of each curve that can be compared with daily values."""
    return {
        series: find_holes(ledgers.get(daily, DayLedger()), ledger)
        for series, ledger in ledgers.items()
        if (daily := daily_of_curve(series)) is not None
    }


def daily_of_curve(series: Series) -> Series | None:
    """Return the daily series with which a curve is compared.

    None if the series isn't a curve, or if the curve is always collected.
    """
    return series.description.adds_up_to if series.has_steps and series.description.optional else None


def _days_in(curve: DayLedger, states: Collection[DayState]) -> list[date]:
    return [day for day, mark in curve.days() if mark.state in states]


@dataclass(frozen=True, slots=True)
class SeriesDay:
    """A day of a series.

    ``asked_next``: when the day is requested again; None if never. ``hole``: why the curve lacks the day; None if the
    day isn't lacking, or the series isn't a curve.
    """

    day: date
    mark: DayMark
    asked_next: datetime | None
    hole: Hole | None

    @property
    def asked_on(self) -> date | None:
        """The date on which the day was last requested; None if it is unknown."""
        return None if self.mark.asked_at_age is None else self.day + self.mark.asked_at_age * ONE_DAY

    @property
    def state_text(self) -> str:
        """The state as text: ``partial 46 of 48`` or ``late``."""
        is_part = self.mark.half_hours or self.mark.state is DayState.PARTIAL
        part = f" {self.mark.half_hours} of {half_hours_of(self.day)}" if is_part else ""
        return self.mark.state.name.lower() + part


@dataclass(frozen=True, slots=True)
class Coverage:
    """The summary of one series.

    ``first`` and ``last``: the first and the last day of the series' ledger; None if the ledger is empty. ``counts``:
    the number of days by state. ``first_stored``: the first day with a stored reading. ``missing``: since when a curve
    is missing, if its collection isn't switched on.
    """

    series: Series
    first: date | None
    last: date | None
    counts: Mapping[DayState, int]
    open_days: tuple[SeriesDay, ...]
    missing: MissingCurve | None = None
    first_stored: date | None = None

    @property
    def asked_next(self) -> datetime | None:
        """The next moment at which an open day is requested; None if no day is requested again."""
        return min((day.asked_next for day in self.open_days if day.asked_next), default=None)


def summarize_days(
    ledgers: Mapping[Series, DayLedger], asked_next: Callable[[Series, date, DayMark], datetime | None]
) -> dict[Series, Coverage]:
    """Return the summary of each series of an account; ``asked_next`` returns when a day is requested again."""
    coverage, all_holes = {}, find_all_holes(ledgers)
    for series, ledger in ledgers.items():
        days, holes, daily = list(ledger.days()), all_holes.get(series, {}), daily_of_curve(series)
        coverage[series] = Coverage(
            series,
            ledger.start,
            days[-1][0] if days else None,
            Counter(DayState.COMPLETE if mark.complete else mark.state for _, mark in days),
            tuple(
                SeriesDay(day, mark, asked_next(series, day, mark), holes.get(day)) for day, mark in days if mark.open
            ),
            find_missing_curve(ledgers.get(daily, DayLedger()), ledger) if daily else None,
            next(iter(ledger.stored_days()), None),
        )
    return coverage


def find_gaps(day: date, steps: Iterable[Entry]) -> list[tuple[datetime, datetime]]:
    """Return the parts of a local day that no stored step covers, in the meter's zone. ``steps``: in key order."""
    starts = ((datetime.fromisoformat(entry.key), entry.step or USUAL_STEP_MINUTES) for entry in steps)
    spans = ((start, start + timedelta(minutes=minutes)) for start, minutes in starts)
    gaps = find_uncovered(*DateWindow(day, day + ONE_DAY).instants(), spans)
    return [(first.astimezone(PARIS), after.astimezone(PARIS)) for first, after in gaps]
