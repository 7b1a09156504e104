"""The chart part of an account's page: which span, its figures in words, the drawings and the table beneath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from markupsafe import Markup

from worker.domain.measures.readings import ONE_DAY, Period, Series, day_length
from worker.runtime.process import Runtime
from worker.web.pages.consumption import Consumption, Slot, Span, View, first_day, read_view
from worker.web.pages.svg import NARROW, WIDE, draw
from worker.web.texts import Words


@dataclass(frozen=True, slots=True)
class TableRow:
    """A slot in words: what the table shows, and the line above the chart when it is pointed at."""

    label: str
    energy: str
    before: str
    note: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the template shows of one span.  Addresses are queries of the account's own page."""

    view: View
    title: str
    total: str | None
    comparison: str
    trend: str  # less, more, same or nothing
    drawings: list[Markup]
    rows: list[TableRow]
    notes: list[str]
    tabs: list[tuple[View, str]]
    previous: tuple[str, str] | None  # address, title
    next: tuple[str, str] | None
    names: tuple[str, str]  # this span and the one before, in the legend and the table's head


def build_chart(runtime: Runtime, account_id: str, words: Words, view: View | None, at: date | None) -> Chart | None:
    """None while nothing at all is stored.  A day out of reach is brought back to the nearest there is."""
    first, last = _reach(runtime, account_id)
    if first is None or last is None:
        return None
    view = view or View.MONTH
    span = Span.holding(view, min(max(at or last, first), last))
    consumption = read_view(runtime.measures, account_id, span, last + ONE_DAY)
    return to_chart(consumption, words, first, last)


def to_chart(consumption: Consumption, words: Words, first: date, last: date) -> Chart:
    """``first`` and ``last``: the days that can be gone to."""
    span = consumption.span
    title = span_title(span, words)
    comparison, trend = compare(consumption, words)
    told = words("chart.told", title=title, total=total_words(consumption, words) or words("chart.unknown"))
    return Chart(
        view=span.view,
        title=title,
        total=total_words(consumption, words),
        comparison=comparison,
        trend=trend,
        drawings=[] if consumption.empty else [draw(consumption, words, size, told) for size in (WIDE, NARROW)],
        rows=[to_row(slot, span.view, words) for slot in consumption.slots],
        notes=list(_notes(consumption, words)),
        tabs=[(view, _query(view, _day_for(span, last))) for view in View],
        previous=_step(span.before, words) if span.before.end > first else None,
        next=_step(span.after, words) if span.after.start <= last else None,
        names=(title, span_title(span.before, words)),
    )


def span_title(span: Span, words: Words) -> str:
    if span.view is View.YEAR:
        return str(span.start.year)
    return words.weekday(span.start) if span.view is View.DAY else words.month(span.start)


def to_row(slot: Slot, view: View, words: Words) -> TableRow:
    notes = []
    if slot.gap:
        notes.append(words("chart.gap"))
    elif slot.awaited and slot.energy is None:
        notes.append(words("chart.awaited"))
    if slot.missing_days and slot.energy is not None:
        notes.append(words.count("chart.missing_days", slot.missing_days))
    if slot.again:
        notes.append(words("chart.again"))
    digits = 3 if view is View.DAY else 2
    return TableRow(
        slot_label(slot, view, words),
        "–" if slot.energy is None else words.kwh(slot.energy, digits),
        "–" if slot.before is None else words.kwh(slot.before, digits),
        ", ".join(notes),
    )


def slot_label(slot: Slot, view: View, words: Words) -> str:
    if view is View.YEAR:
        return words.month_name(slot.start.date())
    if view is View.MONTH:
        return words.short_day(slot.start.date())
    end = _clock_after(slot.start, slot.length)
    return words("chart.from_to", start=f"{slot.start:%H:%M}", end=f"{end:%H:%M}")


def _clock_after(start: datetime, length: timedelta) -> datetime:
    """What the clock on the wall shows at the end: 01:30 to 03:00 in March."""
    return datetime.fromtimestamp(start.timestamp() + length.total_seconds(), start.tzinfo)


def _reach(runtime: Runtime, account_id: str) -> tuple[date | None, date | None]:
    found = [first_day(runtime.measures, account_id, period) for period in (Period.DAY, Period.MINUTE)]
    outcomes = runtime.registry.outcomes(account_id)
    last = [outcome.last_day for name in Series if (outcome := outcomes.get(name)) and outcome.last_day]
    days = [day for day in found if day]
    return min(days, default=None), max(last, default=None)


def total_words(consumption: Consumption, words: Words) -> str | None:
    if consumption.total is None:
        return None
    return words.energy(consumption.total, 2 if consumption.span.view is View.DAY else None)


def compare(consumption: Consumption, words: Words) -> tuple[str, str]:
    """``−8 % par rapport à juin 2024, sur les 23 jours connus des deux`` and which way it goes."""
    comparison, view = consumption.comparison, consumption.span.view
    if comparison is None or comparison.change is None:
        return "", ""
    change = round(comparison.change, 2)
    trend = "same" if change == 0 else ("less" if change < 0 else "more")
    before = span_title(consumption.span.before, words)
    told = words(
        f"chart.compared.{view}", change=words("chart.equal") if change == 0 else words.change(change), before=before
    )
    if comparison.whole or (view is View.YEAR and comparison.number >= 365):
        return told, trend
    unit = "half_hours" if view is View.DAY else "days"
    return f"{told}, {words.count(f'chart.over.{unit}', comparison.number)}", trend


def _notes(consumption: Consumption, words: Words) -> Iterator[str]:
    span = consumption.span
    if span.view is View.DAY and (length := day_length(span.start)) != ONE_DAY:
        yield words("chart.long_day" if length > ONE_DAY else "chart.short_day")
    if consumption.empty and consumption.total is not None:
        yield words("chart.no_curve")
    elif consumption.empty:
        yield words("chart.nothing")
    elif consumption.gaps:
        yield words.count(f"chart.gaps.{span.view}", consumption.gaps)


def _day_for(span: Span, last: date) -> date:
    """Where a tab leads to from here: into the same span, at its end."""
    return min(span.end - ONE_DAY, last)


def _step(span: Span, words: Words) -> tuple[str, str]:
    return _query(span.view, span.start), span_title(span, words)


def _query(view: View, day: date) -> str:
    return f"?by={view}&at={day}#chart"
