"""Values for charts and tables: a day by half-hours, a month by days, a year by months, each beside the one before.

Energy is in whole milliwatt-hours. An unknown value is None, never zero. Two spans are compared over the days that
both have, or an unfinished month would always look thrifty. Functions named ``read_…`` and ``first_day`` read the
store; the others are pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.measures.amounts import round_change
from worker.domain.measures.documents import key_range, to_reading
from worker.domain.measures.readings import (
    ONE_DAY,
    PARIS,
    DateWindow,
    IntervalReading,
    Period,
    day_length,
    local_midnight,
)
from worker.stores.measures.base import ALL_KEYS, MeasureStore

USUAL_STEP: Final = timedelta(minutes=30)
Days = Mapping[date, int]  # Civil day -> energy in milliwatt-hours.


class View(StrEnum):
    """Length of the span that one chart shows."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Span:
    """A day, month or year. ``start`` is its first day."""

    view: View
    start: date

    @classmethod
    def containing(cls, view: View, day: date) -> Span:
        return cls(view, {View.DAY: day, View.MONTH: day.replace(day=1), View.YEAR: date(day.year, 1, 1)}[view])

    @property
    def end(self) -> date:
        """First day after the span."""
        if self.view is View.DAY:
            return self.start + ONE_DAY
        return Span.containing(self.view, self.start + timedelta(days=31 if self.view is View.MONTH else 366)).start

    @property
    def before(self) -> Span:
        return Span.containing(self.view, self.start - ONE_DAY)

    @property
    def after(self) -> Span:
        return Span(self.view, self.end)

    def days(self) -> list[date]:
        return [self.start + rank * ONE_DAY for rank in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar: ``energy`` of this span, ``before`` of its counterpart in the span before.

    ``start`` is the local time of a half-hour, or midnight of a day or of a month's first day. ``repeated`` marks a
    half-hour in the second pass of the autumn hour. ``pending`` marks a slot in the future or not published yet, where
    a missing value is no gap. ``missing_days`` counts the past days of a month that have no value.
    """

    start: datetime
    length: timedelta
    energy: int | None
    before: int | None
    repeated: bool = False
    pending: bool = False
    missing_days: int = 0

    @property
    def gap(self) -> bool:
        return self.energy is None and not self.pending


@dataclass(frozen=True, slots=True)
class Comparison:
    """Energy of both spans over the days (or half-hours) that both have.

    ``number`` counts these. ``whole`` says that they are all days of both spans.
    """

    energy: int
    before: int
    number: int
    whole: bool

    @property
    def change(self) -> int | None:
        """In whole percents; None where nothing was used before."""
        return round_change(self.energy, self.before) if self.before else None


@dataclass(frozen=True, slots=True)
class SpanMeasures:
    """Values of one chart. ``total`` is None where nothing is known."""

    span: Span
    slots: tuple[Slot, ...]
    total: int | None
    comparison: Comparison | None

    @property
    def empty(self) -> bool:
        return all(slot.energy is None for slot in self.slots)

    @property
    def gaps(self) -> int:
        return sum(slot.gap for slot in self.slots)


def read_measures(measures: MeasureStore, account_id: str, span: Span, next_day: date) -> SpanMeasures:
    """Read a span and the one before. ``next_day`` is the first unpublished day. Raises StoreUnavailable."""
    days = read_days(measures, account_id, DateWindow(span.before.start, span.end))
    if span.view is not View.DAY:
        return measures_by_day(span, days, next_day)
    window = DateWindow(span.before.start, span.end)
    documents = measures.read(account_id, {Period.MINUTE: key_range(window, Period.MINUTE)})[Period.MINUTE]
    return measures_by_step(span, [to_reading(document, Period.MINUTE) for document in documents], days, next_day)


def read_days(measures: MeasureStore, account_id: str, window: DateWindow) -> Days:
    """Read the energy of each civil day; a day without a value has no entry. Raises StoreUnavailable."""
    documents = measures.read(account_id, {Period.DAY: key_range(window, Period.DAY)})[Period.DAY]
    readings = (to_reading(document, Period.DAY) for document in documents)
    return {reading.start.date(): reading.milliwatt_hours for reading in readings}


def first_day(measures: MeasureStore, account_id: str, period: Period) -> date | None:
    """Read the first day with a document of this period. Raises StoreUnavailable."""
    documents = measures.read(account_id, {period: ALL_KEYS}, limit=1)[period]
    return to_reading(documents[0], period).start.date() if documents else None


def measures_by_day(span: Span, days: Days, next_day: date) -> SpanMeasures:
    """Return a month by days or a year by months; of a day only its total."""
    if span.view is View.DAY:
        return measures_by_step(span, (), days, next_day)
    slots = tuple((_day_slots if span.view is View.MONTH else _month_slots)(span, days, next_day))
    pairs = [(day, other) for day in span.days() if day in days and (other := _counterpart(span.view, day)) in days]
    comparison = Comparison(
        sum(days[day] for day, _ in pairs),
        sum(days[other] for _, other in pairs if other),
        len(pairs),
        whole=len(pairs) == len(span.days()) == len(span.before.days()),
    )
    return SpanMeasures(span, slots, _sum(days, span), comparison if comparison.number else None)


def measures_by_step(span: Span, readings: Iterable[IntervalReading], days: Days, next_day: date) -> SpanMeasures:
    """Return a day by the steps of its load curve: 46, 48 or 50 half-hours.

    The day's total is the supplier's own where there is one, because some half-hours may be missing.
    """
    by_day: dict[date, list[IntervalReading]] = {span.start: [], span.before.start: []}
    for reading in readings:
        by_day.setdefault(reading.start.astimezone(PARIS).date(), []).append(reading)
    current, previous = by_day[span.start], by_day[span.before.start]
    # Half-hours of two days are matched by the local time that the clock shows.
    energy_before = {_wall_clock(reading.start): reading.milliwatt_hours for reading in previous}
    step = _usual_step(current)
    values = {reading.start.astimezone(UTC): reading for reading in current}
    slots = tuple(
        Slot(
            start,
            values[moment].length if moment in values else step,
            values[moment].milliwatt_hours if moment in values else None,
            energy_before.get(_wall_clock(start)),
            repeated=bool(start.fold),
            pending=span.start >= next_day,
        )
        for moment, start in _steps(span.start, step, values)
    )
    measured = sum(reading.milliwatt_hours for reading in current) if current else None
    return SpanMeasures(span, slots, days.get(span.start, measured), _compare_days(span, days, slots))


def _compare_days(span: Span, days: Days, slots: tuple[Slot, ...]) -> Comparison | None:
    if span.start in days and span.before.start in days:
        return Comparison(days[span.start], days[span.before.start], len(slots), whole=True)
    pairs = [(slot.energy, slot.before) for slot in slots if slot.energy is not None and slot.before is not None]
    if not pairs:
        return None
    return Comparison(sum(energy for energy, _ in pairs), sum(before for _, before in pairs), len(pairs), whole=False)


def _steps(day: date, step: timedelta, known: Mapping[datetime, object]) -> Iterator[tuple[datetime, datetime]]:
    """Yield the starts of a day's steps in UTC and in local time: expected and ``known`` ones in order."""
    midnight = local_midnight(day).astimezone(UTC)
    expected = {midnight + rank * step for rank in range(day_length(day) // step)}
    for moment in sorted(expected | set(known)):
        yield moment, moment.astimezone(PARIS)


def _usual_step(readings: Iterable[IntervalReading]) -> timedelta:
    lengths = Counter(reading.length for reading in readings)
    return lengths.most_common(1)[0][0] if lengths else USUAL_STEP


def _wall_clock(start: datetime) -> tuple[int, int, int]:
    local = start.astimezone(PARIS)
    return local.hour, local.minute, local.fold


def _day_slots(span: Span, days: Days, next_day: date) -> Iterator[Slot]:
    for day in span.days():
        before = days.get(other) if (other := _counterpart(View.MONTH, day)) else None
        yield Slot(local_midnight(day), day_length(day), days.get(day), before, pending=day >= next_day)


def _month_slots(span: Span, days: Days, next_day: date) -> Iterator[Slot]:
    month = Span.containing(View.MONTH, span.start)
    while month.start < span.end:
        before = Span(View.MONTH, month.start.replace(year=month.start.year - 1))
        past_days = [day for day in month.days() if day < next_day]
        yield Slot(
            local_midnight(month.start),
            timedelta(days=len(month.days())),
            _sum(days, month),
            _sum(days, before),
            pending=not past_days,
            missing_days=sum(day not in days for day in past_days),
        )
        month = month.after


def _counterpart(view: View, day: date) -> date | None:
    """Return the same day of the month, or of the year, before; None where there is no such day, as on 31 March."""
    before = Span.containing(view, day).before.start
    try:
        return before.replace(day=day.day, month=before.month if view is View.MONTH else day.month)
    except ValueError:
        return None


def _sum(days: Days, span: Span) -> int | None:
    energies = [days[day] for day in span.days() if day in days]
    return sum(energies) if energies else None
