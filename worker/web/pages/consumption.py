"""A day by half-hours, a month by days, a year by months, each beside the one before: values for charts and tables.

Pure but for ``read_view``.  Energy is whole milliwatt-hours; what isn't known is None and never zero.  Two spans are
compared over what both have, or a month half gone would always look thrifty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.measures.documents import Document, key_range, to_reading
from worker.domain.measures.readings import (
    ONE_DAY,
    PARIS,
    DateWindow,
    IntervalReading,
    Period,
    day_length,
    local_midnight,
)
from worker.stores.measures.base import Measures

USUAL_STEP: Final = timedelta(minutes=30)
Days = Mapping[date, int]


class View(StrEnum):
    """What one chart shows."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Span:
    """The day, month or year that begins with ``start``."""

    view: View
    start: date

    @classmethod
    def holding(cls, view: View, day: date) -> Span:
        return cls(view, {View.DAY: day, View.MONTH: day.replace(day=1), View.YEAR: date(day.year, 1, 1)}[view])

    @property
    def end(self) -> date:
        """The first day after it."""
        if self.view is View.DAY:
            return self.start + ONE_DAY
        return Span.holding(self.view, self.start + timedelta(days=31 if self.view is View.MONTH else 366)).start

    @property
    def before(self) -> Span:
        return Span.holding(self.view, self.start - ONE_DAY)

    @property
    def after(self) -> Span:
        return Span(self.view, self.end)

    def days(self) -> list[date]:
        return [self.start + rank * ONE_DAY for rank in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar: ``energy`` of this span, ``before`` of its counterpart in the span before.

    ``start`` is the local time of a half-hour, or midnight of a day or of a month's first day.  ``again``: the clock
    shows this hour for the second time.  ``awaited``: it lies in the future or is not published yet, so that nothing
    there is no gap.  ``missing_days``: days of a month that have no value (those still to come don't count).
    """

    start: datetime
    length: timedelta
    energy: int | None
    before: int | None
    again: bool = False
    awaited: bool = False
    missing_days: int = 0

    @property
    def gap(self) -> bool:
        return self.energy is None and not self.awaited


@dataclass(frozen=True, slots=True)
class Comparison:
    """Energy of both spans over the ``number`` of days (or half-hours) that both have; ``whole`` if that is all."""

    energy: int
    before: int
    number: int
    whole: bool

    @property
    def change(self) -> float | None:
        return self.energy / self.before - 1 if self.before else None


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a chart shows.  ``total`` and ``total_before`` are None where nothing is known."""

    span: Span
    slots: tuple[Slot, ...]
    total: int | None
    total_before: int | None
    comparison: Comparison | None

    @property
    def empty(self) -> bool:
        return all(slot.energy is None for slot in self.slots)

    @property
    def gaps(self) -> int:
        return sum(slot.gap for slot in self.slots)


def read_view(measures: Measures, account_id: str, span: Span, next_day: date) -> Consumption:
    """``next_day``: the first day that can't be known yet.  Raises StoreUnavailable."""
    days = read_days(measures, account_id, DateWindow(span.before.start, span.end))
    if span.view is not View.DAY:
        return of_days(span, days, next_day)
    window = DateWindow(span.before.start, span.end)
    documents = measures[Period.MINUTE].read(account_id, *key_range(window, Period.MINUTE))
    return of_curve(span, [to_reading(document, Period.MINUTE) for document in documents], days, next_day)


def read_days(measures: Measures, account_id: str, window: DateWindow) -> Days:
    """Energy by civil day; a day without a value has no entry.  Raises StoreUnavailable."""
    documents = measures[Period.DAY].read(account_id, *key_range(window, Period.DAY))
    readings = (to_reading(document, Period.DAY) for document in documents)
    return {reading.start.date(): reading.milliwatt_hours for reading in readings}


def first_day(measures: Measures, account_id: str, period: Period) -> date | None:
    """The first day that anything of this doctype is stored of.  Raises StoreUnavailable."""
    found: list[Document] = measures[period].read(account_id, "0", "~", limit=1)
    return to_reading(found[0], period).start.date() if found else None


def of_days(span: Span, days: Days, next_day: date) -> Consumption:
    """A month by days or a year by months; of a day its total alone."""
    if span.view is View.DAY:
        return of_curve(span, (), days, next_day)
    slots = tuple((_day_slots if span.view is View.MONTH else _month_slots)(span, days, next_day))
    both = [(day, twin) for day in span.days() if day in days and (twin := _twin(span.view, day)) in days]
    comparison = Comparison(
        sum(days[day] for day, _ in both),
        sum(days[twin] for _, twin in both if twin),
        len(both),
        whole=len(both) == len(span.days()) == len(span.before.days()),
    )
    return Consumption(
        span, slots, _sum(days, span), _sum(days, span.before), comparison if comparison.number else None
    )


def of_curve(span: Span, readings: Iterable[IntervalReading], days: Days, next_day: date) -> Consumption:
    """A day by the steps of its load curve, 46, 48 or 50 where they are half-hours.

    The day's total is the supplier's own where it is there; a sum of half-hours may lack some.
    """
    by_day: dict[date, list[IntervalReading]] = {span.start: [], span.before.start: []}
    for reading in readings:
        by_day.setdefault(reading.start.astimezone(PARIS).date(), []).append(reading)
    mine, theirs = by_day[span.start], by_day[span.before.start]
    known = {_civil(reading.start): reading.milliwatt_hours for reading in theirs}
    step = _usual_step(mine)
    values = {reading.start.astimezone(UTC): reading for reading in mine}
    slots = tuple(
        Slot(
            start,
            values[moment].length if moment in values else step,
            values[moment].milliwatt_hours if moment in values else None,
            known.get(_civil(start)),
            again=bool(start.fold),
            awaited=span.start >= next_day,
        )
        for moment, start in _steps(span.start, step, values)
    )
    total = days.get(span.start, _total(mine))
    total_before = days.get(span.before.start, _total(theirs))
    return Consumption(span, slots, total, total_before, _compare_days(span, days, slots))


def _compare_days(span: Span, days: Days, slots: tuple[Slot, ...]) -> Comparison | None:
    if span.start in days and span.before.start in days:
        return Comparison(days[span.start], days[span.before.start], len(slots), whole=True)
    both = [(slot.energy, slot.before) for slot in slots if slot.energy is not None and slot.before is not None]
    if not both:
        return None
    return Comparison(sum(mine for mine, _ in both), sum(theirs for _, theirs in both), len(both), whole=False)


def _steps(day: date, step: timedelta, known: Mapping[datetime, object]) -> Iterator[tuple[datetime, datetime]]:
    """The starts of a day's steps in UTC and in local time; those of odd steps that are there stand among them."""
    midnight = local_midnight(day).astimezone(UTC)
    expected = {midnight + rank * step for rank in range(day_length(day) // step)}
    for moment in sorted(expected | set(known)):
        yield moment, moment.astimezone(PARIS)


def _usual_step(readings: Iterable[IntervalReading]) -> timedelta:
    lengths = Counter(reading.length for reading in readings)
    return lengths.most_common(1)[0][0] if lengths else USUAL_STEP


def _civil(start: datetime) -> tuple[int, int, int]:
    local = start.astimezone(PARIS)
    return local.hour, local.minute, local.fold


def _day_slots(span: Span, days: Days, next_day: date) -> Iterator[Slot]:
    for day in span.days():
        before = days.get(twin) if (twin := _twin(View.MONTH, day)) else None
        yield Slot(local_midnight(day), day_length(day), days.get(day), before, awaited=day >= next_day)


def _month_slots(span: Span, days: Days, next_day: date) -> Iterator[Slot]:
    month = Span.holding(View.MONTH, span.start)
    while month.start < span.end:
        twin = Span(View.MONTH, month.start.replace(year=month.start.year - 1))
        wanted = [day for day in month.days() if day < next_day]
        yield Slot(
            local_midnight(month.start),
            timedelta(days=len(month.days())),
            _sum(days, month),
            _sum(days, twin),
            awaited=not wanted,
            missing_days=sum(day not in days for day in wanted),
        )
        month = month.after


def _twin(view: View, day: date) -> date | None:
    """The same day of the month, or of the year, before; None where that one hasn't it."""
    before = Span.holding(view, day).before.start
    try:
        return before.replace(day=day.day, month=before.month if view is View.MONTH else day.month)
    except ValueError:
        return None


def _sum(days: Days, span: Span) -> int | None:
    found = [days[day] for day in span.days() if day in days]
    return sum(found) if found else None


def _total(readings: Iterable[IntervalReading]) -> int | None:
    energies = [reading.milliwatt_hours for reading in readings]
    return sum(energies) if energies else None
