"""The chart of an account's page: the span to show, its figures in words, the drawings and the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from markupsafe import Markup

from worker.domain.measures.amounts import DAY_PLACES, STEP_PLACES, count_places
from worker.domain.measures.completeness import DayState
from worker.domain.measures.readings import ONE_DAY, day_length
from worker.domain.measures.series import USUAL_SERIES, Doctype, Series
from worker.runtime.process import Runtime
from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import Span, SpanMeasures, View, first_day, read_measures
from worker.web.pages.svg import NARROW, WIDE, draw_chart
from worker.web.texts import Words

_MOST_NAMED: Final = 3  # Days whose value was set aside.
_ONE_WATT_HOUR: Final = 1000  # In milliwatt-hours: daily values are told in watt-hours.


@dataclass(frozen=True, slots=True)
class TableRow:
    """A slot in words, for the table and for the line above the chart when the pointer is on the slot."""

    label: str
    energy: str
    before: str
    note: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A span in words; ``href`` is the query of its chart on the account's own page."""

    title: str
    total: str
    comparison: str
    trend: str  # Either "less", "more", "same" or empty.
    href: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template shows of one span. Addresses are queries of the account's own page."""

    view: View
    summary: Summary
    drawings: list[Markup]
    rows: list[TableRow]
    notes: list[str]
    tabs: list[tuple[View, str]]
    previous: tuple[str, str] | None  # Address and title.
    next: tuple[str, str] | None
    title_before: str


def build_chart(runtime: Runtime, account_id: str, words: Words, view: View | None, at: date | None) -> Chart | None:
    """Return the chart of the span that holds ``at``, or None while nothing is stored.

    A day outside the stored range gives the nearest stored day.
    """
    first, last = _stored_range(runtime, account_id)
    if first is None or last is None:
        return None
    view = view or View.MONTH
    span = Span.containing(view, min(max(at or last, first), last))
    measures = read_measures(runtime.measures, account_id, span, last + ONE_DAY)
    ledger = runtime.registry.completeness.load_ledger(account_id, Series.DAILY)
    set_aside = [day for day in span.days() if ledger.mark_of(day).state is DayState.SET_ASIDE]
    measures = replace(measures, days_set_aside=tuple(set_aside[:_MOST_NAMED]))
    return to_chart(measures, words, first, last)


def to_chart(measures: SpanMeasures, words: Words, first: date, last: date) -> Chart:
    """Return the chart. ``first`` and ``last`` are the stored days, between which its links lead."""
    span = measures.span
    summary, places = summarize(measures, words), listed_places(measures.slots, span.view)
    label = words("chart.told", title=summary.title, total=summary.total)
    return Chart(
        view=span.view,
        summary=summary,
        drawings=[] if measures.empty else [draw_chart(measures, words, size, label) for size in (WIDE, NARROW)],
        rows=[to_row(slot, span.view, words, places) for slot in measures.slots],
        notes=list(_notes(measures, words)),
        tabs=[(view, _query(view, min(span.end - ONE_DAY, last))) for view in View],
        previous=_link_to(span.before, words) if span.before.end > first else None,
        next=_link_to(span.after, words) if span.after.start <= last else None,
        title_before=_title(span.before, words),
    )


def summarize(measures: SpanMeasures, words: Words) -> Summary:
    span, places = measures.span, 2 if measures.span.view is View.DAY else None
    total = words("chart.unknown") if measures.total is None else words.energy(measures.total, places)
    return Summary(_title(span, words), total, *_describe_change(measures, words), _query(span.view, span.start))


def _title(span: Span, words: Words) -> str:
    if span.view is View.YEAR:
        return str(span.start.year)
    return words.weekday(span.start) if span.view is View.DAY else words.month(span.start)


def listed_places(slots: Sequence[Slot], view: View) -> int:
    """Return with how many decimals of a kWh the table shows its energies, so that they add up to the total."""
    energies = [energy for slot in slots for energy in (slot.energy, slot.before) if energy is not None]
    return count_places(energies, STEP_PLACES if view is View.DAY else DAY_PLACES)


def to_row(slot: Slot, view: View, words: Words, places: int) -> TableRow:
    """Return a row of the table; ``places``: decimals of a kWh, the same in the whole table."""
    notes = []
    if slot.gap:
        notes.append(words("chart.gap"))
    elif slot.pending and slot.energy is None:
        notes.append(words("chart.awaited"))
    elif slot.carried:
        notes.append(words("chart.carried"))
    if slot.missing_days and slot.energy is not None:
        notes.append(words.count("chart.missing_days", slot.missing_days))
    if slot.repeated:
        notes.append(words("chart.again"))
    return TableRow(
        slot_label(slot, view, words),
        "–" if slot.energy is None else words.kwh(slot.energy, places),
        "–" if slot.before is None else words.kwh(slot.before, places),
        ", ".join(notes),
    )


def slot_label(slot: Slot, view: View, words: Words) -> str:
    if view is View.YEAR:
        return words.month_name(slot.start.date())
    if view is View.MONTH:
        return words.short_day(slot.start.date())
    end = _wall_clock_end(slot.start, slot.length + slot.overhang)
    return words("chart.from_to", start=f"{slot.start:%H:%M}", end=f"{end:%H:%M}")


def _wall_clock_end(start: datetime, length: timedelta) -> datetime:
    """Return the local time at the end of a step: the step from 01:30 ends at 03:00 in the night of March."""
    return datetime.fromtimestamp(start.timestamp() + length.total_seconds(), start.tzinfo)


def _stored_range(runtime: Runtime, account_id: str) -> tuple[date | None, date | None]:
    """Return the first and the last day with values, from the store and from the outcomes of syncs."""
    first_days = [first_day(runtime.measures, account_id, doctype) for doctype in (Doctype.DAY, Doctype.MINUTE)]
    outcomes = runtime.registry.outcomes.load(account_id)
    last_days = [outcome.last_day for name in USUAL_SERIES if (outcome := outcomes.get(name)) and outcome.last_day]
    return min(filter(None, first_days), default=None), max(last_days, default=None)


def _describe_change(measures: SpanMeasures, words: Words) -> tuple[str, str]:
    """Return the comparison to the span before in words, and the trend.

    Such as ``−8 % par rapport à juin 2024, sur les 23 jours connus des deux`` and ``less``.
    """
    comparison, view = measures.comparison, measures.span.view
    if comparison is None or (change := comparison.change) is None:
        return "", ""
    trend = "same" if change == 0 else ("less" if change < 0 else "more")
    before = _title(measures.span.before, words)
    sentence = words(
        f"chart.compared.{view}", change=words("chart.equal") if change == 0 else words.change(change), before=before
    )
    if comparison.whole or (view is View.YEAR and comparison.number >= 365):
        return sentence, trend
    if view is View.DAY:
        return f"{sentence}, {words('chart.over.time', time=_time_text(comparison.number, words))}", trend
    return f"{sentence}, {words.count('chart.over.days', comparison.number)}", trend


def _notes(measures: SpanMeasures, words: Words) -> Iterator[str]:
    span = measures.span
    if span.view is View.DAY and (length := day_length(span.start)) != ONE_DAY:
        yield words("chart.long_day" if length > ONE_DAY else "chart.short_day")
    if measures.empty and measures.total is not None:
        yield words("chart.no_curve")
    elif measures.empty:
        yield words("chart.nothing")
    elif measures.gaps and span.view is View.DAY:
        yield words("chart.gaps.day", time=_time_text(measures.missing // timedelta(minutes=1), words))
    elif measures.gaps:
        yield words.count(f"chart.gaps.{span.view}", measures.gaps)
    if measures.curve is not None and abs(measures.curve - (measures.total or 0)) >= _ONE_WATT_HOUR:
        yield words("chart.differs", day=words.energy(measures.total or 0, 3), curve=words.energy(measures.curve, 3))
    for day in measures.days_set_aside:
        yield words("chart.set_aside", day=words.short_day(day))


def _time_text(minutes: int, words: Words) -> str:
    hours, rest = divmod(minutes, 60)
    if not hours:
        return words("chart.time.minutes", minutes=rest)
    return words("chart.time.both" if rest else "chart.time.hours", hours=hours, minutes=f"{rest:02}")


def _link_to(span: Span, words: Words) -> tuple[str, str]:
    return _query(span.view, span.start), _title(span, words)


def _query(view: View, day: date) -> str:
    return f"?by={view}&at={day}#chart"
