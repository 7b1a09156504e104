"""Values for charts and tables: a day by its steps, a week or month by days, a year by months, each with a comparison.

Energy is in whole milliwatt-hours. Gas has no values within a day. An unknown value is None, never zero. Two spans are
compared only over the days that both have; otherwise an unfinished month would always look thrifty. Functions named
``read_…`` and ``first_day`` read the store and raise StoreUnavailable; the others are pure.

A day's slots are its steps, of any length, and its gaps. A gap is time that no step covers. Each slot is compared with
the same time of the day before: the steps of both days are added up until their bounds agree. The slots are contiguous,
and their lengths add up to 23, 24 or 25 hours. Consumption and production are shown on one grid, the coarser of the
two. If a part of a slot of this grid is a gap, the slot has the energy of its known part.

A day of gas also has a volume, a coefficient, two index readings and a status such as provisional, shown in words. An
unknown word from the supplier is shown as it was sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

from worker.accounts.spans import read_whole_days
from worker.domain.documents import ALL_KEYS, USUAL_STEP_MINUTES, Entry, key_range, round_change, to_entry, to_reading
from worker.domain.series import Doctype, Series, find_curve
from worker.domain.windows import (
    ONE_DAY,
    PARIS,
    DateWindow,
    IntervalReading,
    civil_date,
    day_length,
    find_uncovered,
    local_midnight,
    merge_windows,
)
from worker.stores.measures.measure_store import MeasureStore
from worker.web.texts import Words

_MINUTE: Final = timedelta(minutes=1)
_ONE_WEEK: Final = timedelta(days=7)
PROVISIONAL: Final = "provisional"
_UNITS: Final = {"volume": "m³", "coefficient": "kWh/m³", "index_start": "m³", "index_end": "m³"}
_WORDS: Final = ("quality", "status")
_UNSAID: Final = ("measured", "final")  # Words that a table leaves out.
Days = Mapping[date, int]  # Civil day -> energy in milliwatt-hours, or its cost in millionths of a euro.
DayDetails = Mapping[date, Mapping[str, Any]]


class View(StrEnum):
    """Length of the span that one chart shows."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


CALENDAR_VIEWS: Final = (View.DAY, View.MONTH, View.YEAR)  # Each span lies within the next one.


class Against(StrEnum):
    """What a week or month is compared with: the previous week or month, or the same one a year earlier."""

    PREVIOUS = "previous"
    YEAR = "year"


class Unit(StrEnum):
    """What bars show: energy, or what it costs, as millionths of a euro in the place of milliwatt-hours."""

    KWH = "kwh"
    EUR = "eur"

    @property
    def symbol(self) -> str:
        return "€" if self is Unit.EUR else "kWh"


@dataclass(frozen=True, slots=True)
class Span:
    """A day, week (from Monday), month or year. ``start``: its first day."""

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
        """Return the span with which this span is compared.

        With ``Against.YEAR``, a week is compared with the week that begins 52 weeks earlier, on the same weekday.
        """
        if against is Against.YEAR and self.view is View.WEEK:
            return Span(self.view, self.start - 52 * _ONE_WEEK)
        if against is Against.YEAR and self.view is View.MONTH:
            return Span(self.view, self.start.replace(year=self.start.year - 1))
        return self.before

    def windows(self, against: Against, unit: Unit) -> list[DateWindow]:
        """Return these days, and those with which they are compared; for a year in euros, which takes long, none."""
        shown = [self] if unit is Unit.EUR and self.view is View.YEAR else [self.compared(against), self]
        return merge_windows(DateWindow(one.start, one.end) for one in shown)

    def days(self) -> list[date]:
        return [self.start + rank * ONE_DAY for rank in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar: ``energy`` in the slot's time, and ``before`` in the same time of the compared span, in milliwatt-hours.

    ``start`` is the local time of a step, or midnight of a day or of a month's first day. ``overhang``: how long the
    slot's last step continues after the day. ``repeated`` marks a slot in the second pass of the hour that is repeated
    in autumn. ``pending`` marks a slot in the future or not yet published, where a missing value is no gap.
    ``carried``: True if a step of the previous day covers the slot or its beginning; the step's energy is counted on
    the previous day. ``uncovered``: in the common grid of two series, how much of a slot with known steps is a gap.
    ``missing_days``: how many past days of a month have no value. ``known_days``: how many days of the month have a
    value. ``incomplete``: whether the cost of a day is known only in part.
    """

    start: datetime
    length: timedelta
    energy: int | None
    before: int | None
    overhang: timedelta = timedelta()
    repeated: bool = False
    pending: bool = False
    carried: bool = False
    uncovered: timedelta = timedelta()
    missing_days: int = 0
    known_days: int = 0
    incomplete: bool = False

    @property
    def gap(self) -> bool:
        return self.energy is None and not self.pending and not self.carried

    @property
    def unfinished(self) -> bool:
        """Whether some days of a month are known and others are still to come."""
        return 0 < self.known_days < self.length.days - self.missing_days

    @property
    def partial(self) -> bool:
        """Whether the value covers only a part of the slot: some days of a month, or some steps of a day."""
        return self.missing_days > 0 or self.unfinished or self.incomplete or bool(self.uncovered)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The energy of two spans, summed only over the time for which both have values.

    ``number``: how many days are compared. Of a single day: how many minutes, or 0 if the daily values are compared.
    ``whole``: True if no part of either span is left out.
    """

    energy: int
    before: int
    number: int
    whole: bool

    @property
    def change(self) -> int | None:
        """The change in whole percent; None if the energy before was zero."""
        return round_change(self.energy, self.before) if self.before else None


@dataclass(frozen=True, slots=True)
class SpanMeasures:
    """Values of one chart. ``total``: None if nothing is known. ``curve``: the sum of a day's curve if it is complete.

    ``days_set_aside``: days for which the supplier sent a value that no meter can reach. ``days``: the daily values of
    the span. ``details``: the additional fields of each day that has any. ``reasons``: why values are missing, in
    sentences. ``computed``: the days whose value was computed as the sum of their curve. ``against``: what the span is
    compared with. ``unpriced``: the days without a price. ``costs``: in euros, the row of the span by tariff period.
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
    computed: frozenset[date] = frozenset()
    against: Against = Against.PREVIOUS
    unit: Unit = Unit.KWH
    unpriced: frozenset[date] = frozenset()
    costs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def other(self) -> Span:
        """The span with which this span is compared."""
        return self.span.compared(self.against)

    @property
    def empty(self) -> bool:
        return all(slot.energy is None for slot in self.slots)

    @property
    def gaps(self) -> int:
        return sum(slot.gap or bool(slot.uncovered) for slot in self.slots)

    @property
    def missing(self) -> timedelta:
        """The total time of the gaps."""
        return _missing_of(self.slots)


def read_measures(
    measures: MeasureStore, account_id: str, span: Span, next_day: date, daily: Series, against: Against, unit: Unit
) -> SpanMeasures:
    """Read a span and the span with which it is compared.

    ``next_day``: the first unpublished day. ``daily``: the series of daily values. ``unit``: that of the chart.
    """
    windows = span.windows(against, unit)
    read = [entry for window in windows for entry in read_entries(measures, account_id, daily, window)]
    entries = {date.fromisoformat(entry.key): entry for entry in read}
    days = {day: entry.amount for day, entry in entries.items()}
    if not days and span.view is not View.DAY:
        days = {day: total for one in windows for day, total in _read_whole(measures, account_id, one, daily).items()}
    computed = frozenset(day for day in span.days() if day in entries and entries[day].is_computed)
    curve = find_curve(daily)
    if span.view is not View.DAY or curve is None:
        details = {day: entries[day].details or {} for day in span.days() if day in entries and entries[day].details}
        return replace(measures_by_day(span, days, next_day, against), details=details, computed=computed)
    steps = curve.inputs
    documents = measures.read(account_id, {steps: key_range(DateWindow(windows[0].start, span.end), steps)})[steps]
    readings = [to_reading(document, steps) for document in documents]
    return replace(measures_by_step(span, readings, days, next_day), computed=computed)


def read_days(measures: MeasureStore, account_id: str, window: DateWindow, daily: Series) -> Days:
    """Read the energy of each civil day; a day without a value has no entry.

    Without a single daily value in the window, for example when only a curve was imported, its whole days count.
    """
    entries = read_entries(measures, account_id, daily, window)
    days = {date.fromisoformat(entry.key): entry.amount for entry in entries}
    return days or _read_whole(measures, account_id, window, daily)


def _read_whole(measures: MeasureStore, account_id: str, window: DateWindow, daily: Series) -> Days:
    """Read the days of a window without daily values that the curve covers whole."""
    curve = find_curve(daily)
    first = first_day(measures, account_id, curve.inputs) if curve else None
    if curve is None or first is None or not first < window.end < date.max:
        return {}
    wanted = list(DateWindow(max(first, window.start), window.end).dates())
    return read_whole_days(measures, account_id, curve, wanted)


def read_entries(
    measures: MeasureStore, account_id: str, series: Series, window: DateWindow | None = None
) -> list[Entry]:
    """Read the readings of a series in key order: those of the window, or all if there is no window."""
    doctype = series.inputs
    keys = key_range(window, doctype) if window else ALL_KEYS
    return [to_entry(document) for document in measures.read(account_id, {doctype: keys})[doctype]]


def first_day(measures: MeasureStore, account_id: str, doctype: Doctype) -> date | None:
    """Return the first day that has a document of this doctype; None if there is no document."""
    documents = measures.read(account_id, {doctype: ALL_KEYS}, limit=1)[doctype]
    return to_reading(documents[0], doctype).start.date() if documents else None


def measures_by_day(span: Span, days: Days, next_day: date, against: Against = Against.PREVIOUS) -> SpanMeasures:
    """Return a week or month by days, a year by months, and for a day only its total."""
    if span.view is View.DAY:
        return SpanMeasures(span, (), days.get(span.start), _compare_days(span, days, ()), days=_within(days, span))
    other = span.compared(against)
    slots = tuple((_slots_by_month if span.view is View.YEAR else _slots_by_day)(span, other, days, next_day))
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

    The day's total is the supplier's daily value if there is one, because some steps may be missing.
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


def _slots_by_day(span: Span, other: Span, days: Days, next_day: date) -> Iterator[Slot]:
    for day in span.days():
        before = days.get(twin) if (twin := _counterpart(span, other, day)) else None
        yield Slot(local_midnight(day), day_length(day), days.get(day), before, pending=day >= next_day)


def _slots_by_month(span: Span, other: Span, days: Days, next_day: date) -> Iterator[Slot]:
    month = Span.containing(View.MONTH, span.start)
    while month.start < span.end:
        before = Span(View.MONTH, month.start.replace(year=other.start.year))
        dates = month.days()
        energies = [days[day] for day in dates if day in days]
        yield Slot(
            local_midnight(month.start),
            timedelta(days=len(dates)),
            sum(energies) if energies else None,
            _sum(days, before),
            pending=month.start >= next_day,
            missing_days=sum(day not in days for day in dates if day < next_day),
            known_days=len(energies),
        )
        month = month.after


def _counterpart(span: Span, other: Span, day: date) -> date | None:
    """Return the same day of another week, month or year; None if there is no such day, for example 31 April."""
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


class _Step(NamedTuple):
    """A step in minutes since midnight of the day shown; ``overhang``: minutes beyond the day's end."""

    start: int
    end: int
    energy: int
    overhang: int = 0

    @classmethod
    def on_clock_of(cls, day: date, reading: IntervalReading) -> _Step | None:
        """Return the step at the same clock time of ``day``; None if a part of this time doesn't exist on that day."""
        overhang = _overhang(reading)
        length = reading.length // _MINUTE - overhang
        start = reading.start.astimezone(UTC)
        first = _minute_of(day, start.astimezone(PARIS))
        last = _minute_of(day, (start + (length - 1) * _MINUTE).astimezone(PARIS))
        if first is None or last is None or last + 1 - first != length:
            return None
        return cls(first, last + 1, reading.amount, overhang)


def day_slots(day: date, readings: Iterable[IntervalReading], *, pending: bool = False) -> tuple[Slot, ...]:
    """Return the slots of a day. ``readings``: the steps of that day and of the day before."""
    by_day: dict[date, list[IntervalReading]] = {day: [], day - ONE_DAY: []}
    for reading in readings:
        by_day.setdefault(civil_date(reading.start), []).append(reading)
    steps = [_Step.on_clock_of(day, reading) for reading in by_day[day]]
    now = sorted(step for step in steps if step)
    carried_until = max((_overhang(reading) for reading in by_day[day - ONE_DAY]), default=0)
    gaps = find_uncovered(carried_until, day_length(day) // _MINUTE, ((step.start, step.end) for step in now))
    on_clock = (_Step.on_clock_of(day, reading) for reading in by_day[day - ONE_DAY])
    # A step of the day before is left out if, by the clock, a gap of ``day`` begins or ends inside this step, or a step
    # carried into ``day`` ends inside it. No slot with such a step could have the same time on both days.
    edges = {carried_until, *(edge for gap in gaps for edge in gap)}
    before = [step for step in on_clock if step and not any(step.start < edge < step.end for edge in edges)]
    midnight = local_midnight(day).astimezone(UTC)
    slots = []
    for start, end in pairwise(_common_bounds(carried_until, now, before, gaps, day_length(day) // _MINUTE)):
        within = [step for step in now if start <= step.start < end]
        within_before = [step for step in before if start <= step.start < end]
        overhang = sum(step.overhang for step in within)
        same_time = (
            sum(step.end - step.start for step in within_before) == end - start
            and sum(step.overhang for step in within_before) == overhang
        )
        local = (midnight + start * _MINUTE).astimezone(PARIS)
        slots.append(
            Slot(
                local,
                (end - start) * _MINUTE,
                sum(step.energy for step in within) if within else None,
                sum(step.energy for step in within_before) if same_time else None,
                overhang=overhang * _MINUTE,
                repeated=bool(local.fold),
                pending=pending,
                carried=end <= carried_until,
            )
        )
    return tuple(slots)


def on_one_grid(one: SpanMeasures, other: SpanMeasures) -> tuple[SpanMeasures, SpanMeasures]:
    """Return two series of one day on common slots: slots of both are added up until their bounds agree."""
    starts = sorted(set.intersection(*({slot.start.timestamp() for slot in day.slots} for day in (one, other))))
    return replace(one, slots=_add_up(one.slots, starts)), replace(other, slots=_add_up(other.slots, starts))


def _add_up(slots: Iterable[Slot], starts: Sequence[float]) -> tuple[Slot, ...]:
    ranked = [(slot, bisect_right(starts, slot.start.timestamp())) for slot in slots]
    return tuple(_sum_of([slot for slot, _ in group]) for _, group in groupby(ranked, itemgetter(1)))


def _sum_of(slots: Sequence[Slot]) -> Slot:
    known = [slot.energy for slot in slots if slot.energy is not None]
    before = [slot.before for slot in slots if slot.before is not None]
    return replace(
        slots[0],
        length=sum((slot.length for slot in slots), timedelta()),
        energy=sum(known) if known else None,
        before=sum(before) if len(before) == len(slots) else None,
        overhang=slots[-1].overhang,
        carried=any(slot.carried for slot in slots),
        uncovered=timedelta() if all(slot.gap for slot in slots) else _missing_of(slots),
    )


def _missing_of(slots: Iterable[Slot]) -> timedelta:
    return sum((slot.length if slot.gap else slot.uncovered for slot in slots), timedelta())


def _common_bounds(
    carried_until: int, now: Iterable[_Step], before: Iterable[_Step], gaps: Iterable[tuple[int, int]], end: int
) -> list[int]:
    """Return the bounds of slots. No bound lies inside a step of either day. In a gap, each half-hour is a bound."""
    steps = [*now, *before]
    inside = {minute for step in steps for minute in range(step.start + 1, step.end)}
    half_hours = (minute for first, last in gaps for minute in range(first, last) if not minute % USUAL_STEP_MINUTES)
    edges = {0, end, carried_until, *half_hours, *(edge for gap in gaps for edge in gap)}
    edges.update(edge for step in steps for edge in (step.start, step.end))
    return sorted(edges - inside)


def _overhang(reading: IntervalReading) -> int:
    """Return how many minutes a step continues after the civil day on which it starts."""
    end = reading.start.astimezone(UTC) + reading.length
    midnight = local_midnight(civil_date(reading.start) + ONE_DAY).astimezone(UTC)
    return max(0, (end - midnight) // _MINUTE)


def _minute_of(day: date, clock: datetime) -> int | None:
    """Return the minutes from midnight until ``day`` has the clock time of ``clock``; None if it has no such time."""
    moment = datetime.combine(day, clock.time(), PARIS).astimezone(UTC)
    shown = moment.astimezone(PARIS)
    if (shown.time(), shown.fold) != (clock.time(), clock.fold):
        return None
    return (moment - local_midnight(day).astimezone(UTC)) // _MINUTE


def describe_day(details: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Return the known details of a day of gas in words, each with the key of its name."""
    numbers = [
        (f"gas.{name}", with_unit(details[name], unit, words)) for name, unit in _UNITS.items() if name in details
    ]
    texts = [(f"gas.{name}", in_words(name, details[name], words)) for name in _WORDS if name in details]
    return numbers + texts


def with_unit(value: Any, unit: str, words: Words) -> str:
    return f"{words.decimal(Decimal(str(value)))}\N{NO-BREAK SPACE}{unit}"


def list_marks(details: Mapping[str, Any], words: Words) -> list[str]:
    """Return a table's remarks on a value, such as ``provisoire``; empty for a measured and final value."""
    known = {name: str(details[name]) for name in reversed(_WORDS) if name in details}
    return [in_words(name, value, words) for name, value in known.items() if value not in _UNSAID]


def count_marks(details: DayDetails, words: Words) -> list[str]:
    """Return in words how many of the days have a provisional value; empty if none has."""
    provisional = _count_provisional(details)
    return [words.count("gas.days_provisional", provisional)] if provisional else []


def notes_on_marks(details: DayDetails, is_day: bool, supplier: str, words: Words) -> Iterator[str]:
    """Yield the notes below a chart of gas: when a gas day begins, and how many values may still change."""
    if is_day and details:
        yield words("gas.day")
    if provisional := _count_provisional(details):
        key = "gas.provisional.day" if is_day else "gas.provisional"
        yield words(key, supplier=supplier) if is_day else words.count(key, provisional, supplier=supplier)


def _count_provisional(details: DayDetails) -> int:
    return sum(of_day.get("status") == PROVISIONAL for of_day in details.values())


def in_words(name: str, value: Any, words: Words) -> str:
    """Return the words for a value of the field ``name``; an unknown value is returned as it was sent."""
    return words.known(f"gas.{name}.{value}", str(value))
