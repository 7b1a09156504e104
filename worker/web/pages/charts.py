"""The chart of an account's page: the span to show, its figures in words, the drawings and the table.

It shows the consumption, with panels also what was fed into the grid; of a meter that only feeds in, that alone. Of
gas, which has no values within a day, a day is told in figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

from markupsafe import Markup

from worker.domain.documents import DAY_PLACES, STEP_PLACES, count_places
from worker.domain.series import Quantity, Series, daily_of, find_curve
from worker.domain.windows import ONE_DAY, day_length
from worker.web.pages.balance import balance_of, describe_balance, rows_of_both
from worker.web.pages.day_slots import Slot
from worker.web.pages.gas.details import count_marks, describe_day, list_marks, notes_on_marks
from worker.web.pages.measures import Span, SpanMeasures, View
from worker.web.pages.navigation import Navigation, build_navigation, list_slot_queries, query_of, title_of
from worker.web.pages.svg import NARROW, WIDE, BarLink, draw_chart
from worker.web.texts import Words

_ONE_WATT_HOUR: Final = 1000  # In milliwatt-hours: daily values are told in watt-hours.
_UNKNOWN: Final = "–"
_SIZES: Final = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A slot in words, for the table and for the line above the chart when the pointer is on the slot.

    ``fed`` and ``balance``: what was fed in, and drawn less fed in; empty in a table without these columns. ``href``:
    where it leads, empty for a step of a day.
    """

    label: str
    energy: str
    before: str
    note: str
    fed: str = ""
    balance: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A span in words; ``href`` is the query of its chart on the account's own page. ``fed``: what was fed in.

    ``known``: how many of its days are known, empty where all are.
    """

    title: str
    total: str
    comparison: str
    trend: str  # Either "less", "more", "same" or empty.
    href: str
    fed: str = ""
    known: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template shows of one span. Addresses are queries of the account's own page.

    ``kind``: what its bars above the axis are, as the names of its colours end. ``balance``: a sentence, empty where it
    is not known. ``facts``: the keys of the names of a day's further figures, and these.
    """

    view: View
    kind: str
    span: Span
    summary: Summary
    drawings: list[Markup]
    rows: list[TableRow]
    notes: list[str]
    navigation: Navigation
    title_before: str
    balance: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)


def to_chart(
    measures: SpanMeasures,
    words: Words,
    first: date,
    last: date,
    *,
    daily: Series | None = None,
    fed: SpanMeasures | None = None,
) -> Chart:
    """Return the chart. ``first`` and ``last`` are the stored days, between which its links lead.

    ``daily``: the series of its daily values, the consumption of electricity without it. ``fed``: what was fed into
    the grid, where both are stored.
    """
    daily = daily or daily_of()
    span = measures.span
    summary = summarize(measures, words, fed)
    label = _describe_chart(summary, daily, fed, words)
    balance = balance_of(measures, fed) if fed else None
    empty = measures.empty and (fed is None or fed.empty)
    queries = list_slot_queries(measures.slots, span.view, measures.against, first, last)
    rows = [replace(row, href=href or "") for row, href in zip(to_rows(measures, fed, words), queries, strict=True)]
    links = [BarLink(row.href, _describe_bar(row, words)) if row.href else None for row in rows]
    return Chart(
        view=span.view,
        kind=_kind_of(daily),
        span=span,
        summary=summary,
        drawings=[] if empty else [draw_chart(measures, words, size, label, fed=fed, links=links) for size in _SIZES],
        rows=rows,
        notes=list(_notes(measures, daily, fed, words)),
        navigation=build_navigation(span, measures.against, first, last, words),
        title_before=title_of(measures.other, words),
        balance=describe_balance(balance, span.view, words) if balance else "",
        facts=describe_day(measures.details.get(span.start, {}), words) if span.view is View.DAY else [],
    )


def _kind_of(daily: Series) -> str:
    """Return what a chart of these values is called in texts and colours: ``consumption``, ``production``, ``gas``."""
    described = daily.description
    return "gas" if described.quantity is Quantity.GAS else described.direction.value


def _describe_chart(summary: Summary, daily: Series, fed: SpanMeasures | None, words: Words) -> str:
    if fed is not None:
        return words("chart.told.both", title=summary.title, total=summary.total, fed=summary.fed)
    return words(f"chart.told.{_kind_of(daily)}", title=summary.title, total=summary.total)


def summarize(measures: SpanMeasures, words: Words, fed: SpanMeasures | None = None) -> Summary:
    """Return a span in words. ``fed``: what was fed in during it, which is told where it is known."""
    span = measures.span
    comparison, trend = _describe_change(measures, words)
    total = _describe_total(measures, words)
    fed_total = "" if fed is None else _describe_total(fed, words)
    href, known = query_of(span.view, span.start), _describe_known_days(measures, words)
    return Summary(title_of(span, words), total, comparison, trend, href, fed_total, known)


def _describe_known_days(measures: SpanMeasures, words: Words) -> str:
    """Return how many days of a week, month or year are known; empty where all are, or none."""
    number, whole = len(measures.days), len(measures.span.days())
    return words.count("chart.known_days", number, whole=whole) if 0 < number < whole else ""


def _describe_total(measures: SpanMeasures, words: Words) -> str:
    if measures.total is None:
        return words("chart.unknown")
    return words.energy(measures.total, 2 if measures.span.view is View.DAY else None)


def to_rows(measures: SpanMeasures, fed: SpanMeasures | None, words: Words) -> list[TableRow]:
    """Return the rows of the table, one for each slot, all with as many decimals."""
    slots, view = measures.slots, measures.span.view
    if fed is None:
        places = listed_places(slots, view)
        return [_with_marks(to_row(slot, view, words, places), slot, measures, words) for slot in slots]
    places = listed_places([*slots, *fed.slots], view)
    rows = []
    for slot, (energy, balance) in zip(slots, rows_of_both(measures, fed), strict=True):
        row = to_row(slot, view, words, places)
        rows.append(replace(row, fed=_in_table(energy, words, places), balance=_in_table(balance, words, places)))
    return rows


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
    if slot.unfinished:
        notes.append(words.count("chart.known_days", slot.known_days, whole=slot.length.days))
    if slot.missing_days and slot.energy is not None:
        notes.append(words.count("chart.missing_days", slot.missing_days))
    if slot.repeated:
        notes.append(words("chart.again"))
    energy, before = _in_table(slot.energy, words, places), _in_table(slot.before, words, places)
    return TableRow(slot_label(slot, view, words), energy, before, ", ".join(notes))


def _with_marks(row: TableRow, slot: Slot, measures: SpanMeasures, words: Words) -> TableRow:
    """Return the row with what the details of its day, or days, say of the value."""
    day, by_day = slot.start.date(), measures.span.view is not View.YEAR
    within = {other: details for other, details in measures.details.items() if by_day or other.month == day.month}
    marks = list_marks(measures.details.get(day, {}), words) if by_day else count_marks(within, words)
    return replace(row, note=", ".join(filter(None, [row.note, *marks])))


def _describe_bar(row: TableRow, words: Words) -> str:
    if row.energy == _UNKNOWN:
        return words("chart.bar.unknown", label=row.label, note=row.note or words("chart.unknown"))
    return words("chart.bar.both" if row.fed else "chart.bar", label=row.label, energy=row.energy, fed=row.fed)


def _in_table(energy: int | None, words: Words, places: int) -> str:
    return _UNKNOWN if energy is None else words.kwh(energy, places)


def slot_label(slot: Slot, view: View, words: Words) -> str:
    if view is View.YEAR:
        return words.month_name(slot.start.date())
    if view is not View.DAY:
        return words.short_day(slot.start.date())
    end = _wall_clock_end(slot.start, slot.length + slot.overhang)
    return words("chart.from_to", start=f"{slot.start:%H:%M}", end=f"{end:%H:%M}")


def _wall_clock_end(start: datetime, length: timedelta) -> datetime:
    """Return the local time at the end of a step: the step from 01:30 ends at 03:00 in the night of March."""
    return datetime.fromtimestamp(start.timestamp() + length.total_seconds(), start.tzinfo)


def _describe_change(measures: SpanMeasures, words: Words) -> tuple[str, str]:
    """Return the comparison to the span before in words, and the trend.

    Such as ``−8 % par rapport à juin 2024 (23 jours comparés)`` and ``less``.
    """
    comparison, view = measures.comparison, measures.span.view
    if comparison is None or (change := comparison.change) is None:
        return "", ""
    trend = "same" if change == 0 else ("less" if change < 0 else "more")
    before = title_of(measures.other, words)
    sentence = (
        words(f"chart.equal.{view}", before=before)
        if change == 0
        else words(f"chart.compared.{view}", change=words.change(change), before=before)
    )
    if comparison.whole or (view is View.YEAR and comparison.number >= 365):
        return sentence, trend
    if view is View.DAY:
        return f"{sentence} ({words('chart.over.time', time=_time_text(comparison.number, words))})", trend
    return f"{sentence} ({words.count('chart.over.days', comparison.number)})", trend


def _notes(measures: SpanMeasures, daily: Series, fed: SpanMeasures | None, words: Words) -> Iterator[str]:
    span = measures.span
    has_curve, supplier = find_curve(daily) is not None, words(f"supplier.{daily.description.supplier}")
    if has_curve and span.view is View.DAY and (length := day_length(span.start)) != ONE_DAY:
        yield words("chart.long_day" if length > ONE_DAY else "chart.short_day")
    yield from _notes_on_values(measures, words, supplier, has_curve=has_curve)
    yield from notes_on_marks(measures.details, span.view is View.DAY, supplier, words)
    if fed is not None:
        yield words("balance.grid_alone")
        lacking = len(measures.days.keys() - fed.days.keys())
        if lacking and span.view is not View.DAY:
            yield words.count("balance.fed_unknown", lacking)
        notes = _notes_on_values(fed, words, supplier, has_curve=has_curve)
        yield from (words("balance.fed_note", note=note) for note in notes if not fed.empty)


def _notes_on_values(measures: SpanMeasures, words: Words, supplier: str, *, has_curve: bool) -> Iterator[str]:
    span = measures.span
    if measures.empty and measures.total is not None:
        if has_curve:
            yield words("chart.no_curve")
    elif measures.empty:
        yield words("chart.nothing")
    elif measures.gaps and span.view is View.DAY:
        yield words("chart.gaps.day", time=_time_text(measures.missing // timedelta(minutes=1), words))
    elif measures.gaps and not measures.reasons:
        yield words.count(f"chart.gaps.{'year' if span.view is View.YEAR else 'days'}", measures.gaps)
    yield from measures.reasons
    if measures.curve is not None and abs(measures.curve - (measures.total or 0)) >= _ONE_WATT_HOUR:
        totals = {"day": words.energy(measures.total or 0, 3), "curve": words.energy(measures.curve, 3)}
        yield words("chart.differs", supplier=supplier, **totals)
    for day in measures.days_set_aside:
        yield words("chart.set_aside", day=words.short_day(day), supplier=supplier)


def _time_text(minutes: int, words: Words) -> str:
    hours, rest = divmod(minutes, 60)
    if not hours:
        return words("chart.time.minutes", minutes=rest)
    return words("chart.time.both" if rest else "chart.time.hours", hours=hours, minutes=f"{rest:02}")
