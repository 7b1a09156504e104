"""Values for charts and tables: a day by half-hours, a week or month by days, a year by months, each beside another.

Energy is in whole milliwatt-hours; gas has no values within a day. An unknown value is None, never zero. Two spans are
compared over the days that both have, or an unfinished month would always look thrifty. Functions named ``read_…`` and
``first_day`` read the store; the others are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Final

from worker.domain.documents import ALL_KEYS, Entry, key_range, round_change, to_entry, to_reading
from worker.domain.series import Doctype, Series, daily_of, find_curve
from worker.domain.windows import ONE_DAY, DateWindow, IntervalReading, day_length, local_midnight, merge_windows
from worker.stores.measures.measure_store import MeasureStore
from worker.web.pages.day_slots import Slot, day_slots

_MINUTE: Final = timedelta(minutes=1)
_ONE_WEEK: Final = timedelta(days=7)
Days = Mapping[date, int]  # Civil day -> energy in milliwatt-hours.


class View(StrEnum):
    """Length of the span that one chart shows."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


CALENDAR_VIEWS: Final = (View.DAY, View.MONTH, View.YEAR)  # Each lies within the next.


class Against(StrEnum):
    """What a week or month is compared with: the one before, or the same one of the year before."""

    PREVIOUS = "previous"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Span:
    """A day, week (from Monday), month or year. ``start`` is its first day."""

    view: View
    start: date

    @classmethod
    def containing(cls, view: View, day: date) -> Span:
        if view is View.WEEK:
            return cls(view, day - day.weekday() * ONE_DAY)
        return cls(view, {View.DAY: day, View.MONTH: day.replace(day=1), View.YEAR: date(day.year, 1, 1)}[view])

    @property
    def end(self) -> date:
        """First day after the span."""
        if self.view in (View.DAY, View.WEEK):
            return self.start + (ONE_DAY if self.view is View.DAY else _ONE_WEEK)
        return Span.containing(self.view, self.start + timedelta(days=31 if self.view is View.MONTH else 366)).start

    @property
    def before(self) -> Span:
        return Span.containing(self.view, self.start - ONE_DAY)

    @property
    def after(self) -> Span:
        return Span(self.view, self.end)

    def compared(self, against: Against) -> Span:
        """Return the span to compare this one with. The same week of the year before has the same weekdays."""
        if against is Against.YEAR and self.view is View.WEEK:
            return Span(self.view, self.start - 52 * _ONE_WEEK)
        if against is Against.YEAR and self.view is View.MONTH:
            return Span(self.view, self.start.replace(year=self.start.year - 1))
        return self.before

    def days(self) -> list[date]:
        return [self.start + rank * ONE_DAY for rank in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Energy of both spans over the time that both have.

    ``number``: how many days that is, or minutes of a day. ``whole`` says that it is all of both spans.
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
    """Values of one chart. ``total`` is None where nothing is known; ``curve`` is the sum of a day's whole curve.

    ``days_set_aside``: days of which the supplier sent a value that no meter can reach. ``days``: the span's days that
    have a value of their own. ``details``: the further fields of those that have some. ``reasons``: why values are
    missing, in sentences. ``against``: with what it is compared.
    """

    span: Span
    slots: tuple[Slot, ...]
    total: int | None
    comparison: Comparison | None
    curve: int | None = None
    days_set_aside: tuple[date, ...] = ()
    days: Days = field(default_factory=dict)
    details: Mapping[date, Mapping[str, Any]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    against: Against = Against.PREVIOUS

    @property
    def other(self) -> Span:
        """The span that this one is compared with."""
        return self.span.compared(self.against)

    @property
    def empty(self) -> bool:
        return all(slot.energy is None for slot in self.slots)

    @property
    def gaps(self) -> int:
        return sum(slot.gap for slot in self.slots)

    @property
    def missing(self) -> timedelta:
        """The time of the gaps."""
        return sum((slot.length for slot in self.slots if slot.gap), timedelta())


def read_measures(
    measures: MeasureStore,
    account_id: str,
    span: Span,
    next_day: date,
    daily: Series | None = None,
    against: Against = Against.PREVIOUS,
) -> SpanMeasures:
    """Read a span and the one that it is compared with; of the consumption, or of the direction of ``daily``.

    ``next_day`` is the first unpublished day. Raises StoreUnavailable.
    """
    daily = daily or daily_of()
    other = span.compared(against)
    windows = merge_windows([DateWindow(other.start, other.end), DateWindow(span.start, span.end)])
    read = [entry for window in windows for entry in read_entries(measures, account_id, daily, window)]
    entries = {date.fromisoformat(entry.key): entry for entry in read}
    days = {day: entry.amount for day, entry in entries.items()}
    curve = find_curve(daily)
    if span.view is not View.DAY or curve is None:
        details = {day: entries[day].details or {} for day in span.days() if day in entries and entries[day].details}
        return replace(measures_by_day(span, days, next_day, against), details=details)
    steps = curve.inputs
    documents = measures.read(account_id, {steps: key_range(DateWindow(other.start, span.end), steps)})[steps]
    return measures_by_step(span, [to_reading(document, steps) for document in documents], days, next_day)


def read_days(measures: MeasureStore, account_id: str, window: DateWindow, daily: Series | None = None) -> Days:
    """Read the energy of each civil day; a day without a value has no entry. Raises StoreUnavailable."""
    doctype = (daily or daily_of()).inputs
    documents = measures.read(account_id, {doctype: key_range(window, doctype)})[doctype]
    readings = (to_reading(document, doctype) for document in documents)
    return {reading.start.date(): reading.amount for reading in readings}


def read_entries(
    measures: MeasureStore, account_id: str, series: Series, window: DateWindow | None = None
) -> list[Entry]:
    """Read the readings of a series of days in the window, or all, in order. Raises StoreUnavailable."""
    doctype = series.inputs
    keys = key_range(window, doctype) if window else ALL_KEYS
    return [to_entry(document) for document in measures.read(account_id, {doctype: keys})[doctype]]


def first_day(measures: MeasureStore, account_id: str, doctype: Doctype) -> date | None:
    """Read the first day with a document of this doctype. Raises StoreUnavailable."""
    documents = measures.read(account_id, {doctype: ALL_KEYS}, limit=1)[doctype]
    return to_reading(documents[0], doctype).start.date() if documents else None


def measures_by_day(span: Span, days: Days, next_day: date, against: Against = Against.PREVIOUS) -> SpanMeasures:
    """Return a week or month by days or a year by months; of a day only its total."""
    if span.view is View.DAY:
        return SpanMeasures(span, (), days.get(span.start), _compare_days(span, days, ()), days=_within(days, span))
    other = span.compared(against)
    slots = tuple((_month_slots if span.view is View.YEAR else _day_slots)(span, other, days, next_day))
    pairs = [(day, twin) for day in span.days() if day in days and (twin := _counterpart(span, other, day)) in days]
    comparison = Comparison(
        sum(days[day] for day, _ in pairs),
        sum(days[twin] for _, twin in pairs if twin),
        len(pairs),
        whole=len(pairs) == len(span.days()) == len(other.days()),
    )
    known = comparison if comparison.number else None
    return SpanMeasures(span, slots, _sum(days, span), known, days=_within(days, span), against=against)


def measures_by_step(span: Span, readings: Iterable[IntervalReading], days: Days, next_day: date) -> SpanMeasures:
    """Return a day by the steps of its load curve.

    The day's total is the supplier's own where there is one, because some steps may be missing.
    """
    slots = day_slots(span.start, readings, pending=span.start >= next_day)
    energies = [slot.energy for slot in slots if slot.energy is not None]
    curve = sum(energies) if energies else None
    complete = not any(slot.gap or slot.pending for slot in slots)
    total = days.get(span.start, curve)
    comparison, known = _compare_days(span, days, slots), _within(days, span)
    return SpanMeasures(span, slots, total, comparison, curve if complete else None, days=known)


def _compare_days(span: Span, days: Days, slots: tuple[Slot, ...]) -> Comparison | None:
    if span.start in days and span.before.start in days:
        return Comparison(days[span.start], days[span.before.start], 0, whole=True)
    pairs = [(slot, slot.energy, slot.before) for slot in slots if slot.energy is not None and slot.before is not None]
    if not pairs:
        return None
    minutes = sum((slot.length // _MINUTE for slot, _, _ in pairs))
    whole = minutes == day_length(span.start) // _MINUTE == day_length(span.before.start) // _MINUTE
    return Comparison(sum(energy for _, energy, _ in pairs), sum(before for *_, before in pairs), minutes, whole)


def _day_slots(span: Span, other: Span, days: Days, next_day: date) -> Iterator[Slot]:
    for day in span.days():
        before = days.get(twin) if (twin := _counterpart(span, other, day)) else None
        yield Slot(local_midnight(day), day_length(day), days.get(day), before, pending=day >= next_day)


def _month_slots(span: Span, other: Span, days: Days, next_day: date) -> Iterator[Slot]:
    month = Span.containing(View.MONTH, span.start)
    while month.start < span.end:
        before = Span(View.MONTH, month.start.replace(year=other.start.year))
        past_days = [day for day in month.days() if day < next_day]
        yield Slot(
            local_midnight(month.start),
            timedelta(days=len(month.days())),
            _sum(days, month),
            _sum(days, before),
            pending=not past_days,
            missing_days=sum(day not in days for day in past_days),
            known_days=sum(day in days for day in month.days()),
        )
        month = month.after


def _counterpart(span: Span, other: Span, day: date) -> date | None:
    """Return the same day of another week, month or year; None where there is no such day, as on 31 April."""
    if span.view is View.WEEK:
        return other.start + (day - span.start)
    try:
        return other.start.replace(day=day.day, month=other.start.month if span.view is View.MONTH else day.month)
    except ValueError:
        return None


def _sum(days: Days, span: Span) -> int | None:
    energies = [days[day] for day in span.days() if day in days]
    return sum(energies) if energies else None


def _within(days: Days, span: Span) -> Days:
    return {day: days[day] for day in span.days() if day in days}
