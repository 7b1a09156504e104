"""The chart of an account's page: the span to show, its figures in words, the drawings, the table, and the links.

The chart shows the consumption and, with solar panels, also the energy fed into the grid; for a meter that only feeds
in, it shows only the energy fed in. Gas has no values within a day, so a day of gas is shown in figures.

With panels the meter sees only the exchange with the grid: energy that the panels make and the home uses at once passes
no meter. So drawn and fed-in energy are never added up, and their difference is shown in words: more drawn than fed in,
or more fed in than drawn.

Links are queries of the account's own page, and drawings are SVG made on the server, so both work without scripts. The
drawings take their colours from the page's style sheet.

In the chart of a day, a bar is as wide as its time is long, and its height is the mean power (kW). In other charts all
bars are equally wide, and the height is the energy (kWh), its cost (€) or the maximum power (kVA). The value of the
compared span is a pale wide bar behind the narrow solid bar, so both can be read at 48 bars on a phone. Energy fed into
the grid hangs below the axis, to the same scale, because drawn and fed-in energy are not parts of one sum. A gap is
hatched; a measured zero has no bar. The second pass of the hour that is repeated in autumn has its own background, and
so have off-peak hours. In front of each slot is a target for the pointer, as high as the chart. If the slot leads to
another chart, the target is a link.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from markupsafe import Markup

from worker.domain.documents import DAY_PLACES, MILLIWATT_HOURS_PER_KWH, STEP_PLACES, count_places, round_kwh
from worker.domain.series import Series, daily_of, find_curve
from worker.domain.totals import count_days
from worker.domain.windows import ONE_DAY, DateWindow, day_length, local_midnight
from worker.web.pages.chart_values import (
    Against,
    Slot,
    Span,
    SpanMeasures,
    Unit,
    View,
    count_marks,
    describe_day,
    list_marks,
    notes_on_marks,
    on_one_grid,
)
from worker.web.rendering import ENVIRONMENT
from worker.web.texts import Words

_VIEW_WITHIN: Final = {View.WEEK: View.DAY, View.MONTH: View.DAY, View.YEAR: View.MONTH}
# In milliwatt-hours. A smaller difference between a daily value and its curve is not shown, because daily values are
# sent in whole watt-hours.
_ONE_WATT_HOUR: Final = 1000
_UNKNOWN: Final = "–"
_AN_HOUR: Final = timedelta(hours=1)
_SMALLEST_TOP: Final = 0.05  # In kW, kWh or kVA. With a lower top, a device on standby would fill the chart.
_TICKS: Final = 4
_FACTORS: Final = {Unit.KWH: (1, 2, 2.5, 5, 10), Unit.EUR: (1, 2, 5, 10)}  # Quarters of a cent are no round numbers.
_CENTS: Final = 2  # Decimals of a euro.
_BEFORE_SHARE, _NOW_SHARE = 0.84, 0.5  # The widths of the bars, as shares of their slot.
_ROUND: Final = 3.0
_TOP, _MARGIN_BOTTOM = 16, 24
_DIGIT_PX: Final = 7
Positions = list[tuple[float, float]]  # Where each slot begins, and its width.


@dataclass(frozen=True, slots=True)
class Link:
    """An address with its text. ``current``: whether its target is already shown."""

    href: str
    text: str
    current: bool = False


@dataclass(frozen=True, slots=True)
class Navigation:
    """The links of one chart.

    ``first`` and ``last``: the first and the last day to which the links lead. ``date``: the value of the date field.
    ``comparisons``: what the span can be compared with; empty if there is no choice. ``units``: those of the bars.
    """

    first: date
    last: date
    date: date
    tabs: list[Link]
    previous: Link | None
    next: Link | None
    comparisons: list[Link]
    units: list[Link]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A slot in words, for the table and for the line above the chart when the pointer is on the slot.

    ``fed`` and ``balance``: energy fed in, and energy drawn minus fed in; empty in a table without these columns.
    ``href``: the slot's link; empty for a step of a day.
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
    """A span in words; ``href``: the query of its chart on the account's own page. ``fed``: the energy fed in.

    ``known``: how many days of the span are known, in words; empty if all are.
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
    """All values of one span for the template. Addresses are queries of the account's own page.

    ``kind``: what the bars above the axis show (``consumption``, ``production`` or ``gas``); the names of their colours
    end in this word, and so do keys of texts. ``balance``: a sentence that compares the energy drawn with the
    energy fed in; empty if unknown. ``title_before``: empty if costs are compared with none. ``facts``: a day's further
    figures, with the keys of their names. ``has_bands``: whether off-peak hours are marked.
    """

    measures: SpanMeasures
    kind: str
    summary: Summary
    drawings: list[Markup]
    rows: list[TableRow]
    notes: list[str]
    navigation: Navigation
    title_before: str
    balance: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    has_bands: bool = False


def to_chart(
    measures: SpanMeasures,
    words: Words,
    first: date,
    last: date,
    *,
    daily: Series | None = None,
    fed: SpanMeasures | None = None,
    off_peak: Sequence[tuple[int, int]] = (),
) -> Chart:
    """Return the chart. ``first`` and ``last``: the first and the last day to which the chart's links lead.

    ``daily``: the series of the daily values, by default electricity consumption. ``fed``: the energy fed into the
    grid, if the account has stored both directions. ``off_peak``: the off-peak hours of a day, in minutes since it
    began.
    """
    daily = daily or daily_of()
    span = measures.span
    if fed is not None and span.view is View.DAY:
        measures, fed = on_one_grid(measures, fed)
    summary = summarize(measures, words, fed)
    kind = "gas" if daily.is_gas else daily.description.direction.value
    told = "both" if fed else "cost" if measures.unit is Unit.EUR else kind
    label = words(f"chart.told.{told}", title=summary.title, total=summary.total, fed=summary.fed)
    balance = balance_of(measures, fed) if fed else None
    empty = measures.empty and (fed is None or fed.empty)
    queries = list_slot_queries(measures, first, last)
    rows = [replace(row, href=href) for row, href in zip(to_rows(measures, fed, words), queries, strict=True)]
    links = [Link(row.href, _describe_bar(row, measures.unit, words)) if row.href else None for row in rows]
    compares = measures.unit is Unit.KWH or any(slot.before is not None for slot in measures.slots)
    details = measures.details.get(span.start, {}) if span.view is View.DAY else {}
    draw = partial(draw_chart, measures, words, fed=fed, links=links, bands=off_peak)
    return Chart(
        measures=measures,
        kind=kind,
        summary=summary,
        drawings=[] if empty else [draw(size, label) for size in SIZES],
        rows=rows,
        notes=list(_notes(measures, daily, fed, words)),
        navigation=build_navigation(measures, first, last, words),
        title_before=title_of(measures.other, words) if compares else "",
        balance=describe_balance(balance, span.view, words) if balance else "",
        facts=[*_list_off_peak(span.start, off_peak, words), *describe_day(details, words)],
        has_bands=bool(off_peak),
    )


def _list_off_peak(day: date, off_peak: Sequence[tuple[int, int]], words: Words) -> Iterator[tuple[str, str]]:
    midnight, minute = local_midnight(day), timedelta(minutes=1)
    slots = [Slot(_later(midnight, start * minute), (end - start) * minute, None, None) for start, end in off_peak]
    if slots:
        yield "cost.off_peak", ", ".join(slot_label(slot, View.DAY, words) for slot in slots)


def summarize(measures: SpanMeasures, words: Words, fed: SpanMeasures | None = None, unit: Unit = Unit.KWH) -> Summary:
    """Return a span in words. ``fed``: the energy fed in during the span; None if unknown. ``unit``: the chart's."""
    span = measures.span
    comparison, trend = _describe_change(measures, words)
    total = _describe_total(measures, words)
    fed_total = "" if fed is None else _describe_total(fed, words)
    href, known = query_of(span.view, span.start, unit=unit), _describe_known_days(measures, words)
    return Summary(title_of(span, words), total, comparison, trend, href, fed_total, known)


def _describe_known_days(measures: SpanMeasures, words: Words) -> str:
    """Return how many days of a week, month or year are known; empty if all are, or none is.

    For a day whose daily value has not been sent yet, but some steps have been, return a note that says so. Empty
    for any other day.
    """
    if measures.span.view is View.DAY:
        is_whole = measures.days or measures.total is None or measures.unit is Unit.EUR
        return "" if is_whole else words("chart.of_steps")
    number, whole = count_days(DateWindow(measures.span.start, measures.span.end), measures.days)
    return words.count("chart.known_days", number, whole=whole) if 0 < number < whole else ""


def _describe_total(measures: SpanMeasures, words: Words) -> str:
    if measures.total is None:
        return words("chart.unknown")
    if measures.unit is Unit.EUR:
        return words.euros(round_kwh(measures.total, _CENTS))
    return words.energy(measures.total, 2 if measures.span.view is View.DAY else None)


def to_rows(measures: SpanMeasures, fed: SpanMeasures | None, words: Words) -> list[TableRow]:
    """Return the rows of the table, one per slot, all with the same number of decimals."""
    slots, view = measures.slots, measures.span.view
    places = _CENTS if measures.unit is Unit.EUR else listed_places([*slots, *(fed.slots if fed else ())], view)
    rows = [to_row(slot, view, words, places) for slot in slots]
    if fed is None:
        return [_with_marks(row, slot, measures, words) for row, slot in zip(rows, slots, strict=True)]
    both = ([_in_table(energy, words, places) for energy in pair] for pair in rows_of_both(measures, fed))
    return [replace(row, fed=energy, balance=balance) for row, (energy, balance) in zip(rows, both, strict=True)]


def listed_places(slots: Sequence[Slot], view: View) -> int:
    """Return the number of decimals of a kWh that the table needs for its energies to add up to the total."""
    energies = [energy for slot in slots for energy in (slot.energy, slot.before) if energy is not None]
    return count_places(energies, STEP_PLACES if view is View.DAY else DAY_PLACES)


def to_row(slot: Slot, view: View, words: Words, places: int) -> TableRow:
    """Return a row of the table; ``places``: decimals of a kWh, the same in the whole table."""
    notes = []
    if slot.incomplete:
        notes.append(words("cost.incomplete"))
    if slot.gap:
        # In a week or month, only the day's total is called missing: a part of its curve may be known.
        notes.append(words("chart.gap.total" if view in (View.WEEK, View.MONTH) else "chart.gap"))
    elif slot.uncovered:
        notes.append(words("chart.uncovered", time=_time_text(slot.uncovered // timedelta(minutes=1), words)))
    elif slot.pending and slot.energy is None:
        notes.append(words("chart.awaited" if view is View.DAY else "chart.awaited.total"))
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
    """Return the row with remarks, such as ``provisoire``, on the slot's day or days."""
    day, by_day = slot.start.date(), measures.span.view is not View.YEAR
    within = {other: details for other, details in measures.details.items() if by_day or other.month == day.month}
    marks = list_marks(measures.details.get(day, {}), words) if by_day else count_marks(within, words)
    if measures.span.view in (View.WEEK, View.MONTH) and day in measures.computed:
        marks.append(words("chart.computed"))
    if by_day and day in measures.unpriced:
        return replace(row, note=words("cost.no_price"))
    if measures.unit is Unit.EUR and slot.gap:
        return replace(row, note=words("cost.none"))
    return replace(row, note=", ".join(filter(None, [row.note, *marks])))


def _describe_bar(row: TableRow, unit: Unit, words: Words) -> str:
    if row.energy == _UNKNOWN:
        return words("chart.bar.unknown", label=row.label, note=row.note or words("chart.unknown"))
    key = "chart.bar.cost" if unit is Unit.EUR else "chart.bar.both" if row.fed else "chart.bar"
    return words(key, label=row.label, energy=row.energy, fed=row.fed)


def _in_table(energy: int | None, words: Words, places: int) -> str:
    return _UNKNOWN if energy is None else words.kwh(energy, places)


def slot_label(slot: Slot, view: View, words: Words) -> str:
    if view is View.YEAR:
        return words.month_name(slot.start.date())
    if view is not View.DAY:
        return words.short_day(slot.start.date())
    end = _later(slot.start, slot.length + slot.overhang)
    return words("chart.from_to", start=f"{slot.start:%H:%M}", end=f"{end:%H:%M}")


def _later(start: datetime, time: timedelta) -> datetime:
    """Return the local time after a time; when clocks go forward, a step of half an hour from 01:30 ends at 03:00."""
    return (start.astimezone(UTC) + time).astimezone(start.tzinfo)


def _describe_change(measures: SpanMeasures, words: Words) -> tuple[str, str]:
    """Return the comparison with the other span in words, and the trend; both are empty if nothing can be compared.

    For example ``−8 % par rapport à juin 2024 (23 jours comparés)`` and ``less``.
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
    if measures.unit is Unit.KWH:
        yield from _notes_on_values(measures, words, supplier, has_curve=has_curve)
    else:
        yield from measures.reasons or ([words("chart.nothing")] if measures.total is None else [])
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
    if measures.computed and span.view is View.DAY:
        yield words("chart.computed.day")
    elif measures.computed:
        yield words.count("chart.computed.days", len(measures.computed))
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


@dataclass(frozen=True, slots=True)
class Balance:
    """Energy drawn minus energy fed in (mWh), over the days for which both are known; negative if more was fed in.

    ``whole``: True if no day is left out, that is, every day known for one direction is known for the other too.
    """

    energy: int
    days: int
    whole: bool


def balance_of(drawn: SpanMeasures, fed: SpanMeasures) -> Balance | None:
    """Return the energy drawn minus the energy fed in; None if no day is known for both."""
    both = drawn.days.keys() & fed.days.keys()
    if not both:
        return None
    energy = sum(drawn.days[day] - fed.days[day] for day in both)
    return Balance(energy, len(both), whole=drawn.days.keys() == fed.days.keys())


def describe_balance(balance: Balance, view: View, words: Words) -> str:
    """Return the balance as a sentence, such as ``Vous avez injecté 88 kWh de plus que vous n’en avez soutiré``."""
    places = 2 if view is View.DAY else None
    key = "equal" if balance.energy == 0 else ("drawn" if balance.energy > 0 else "fed")
    sentence = words(f"balance.{key}", energy=words.energy(abs(balance.energy), places))
    if balance.whole:
        return f"{sentence}."
    return f"{sentence} ({words.count('chart.over.days', balance.days)})."


def rows_of_both(drawn: SpanMeasures, fed: SpanMeasures) -> list[tuple[int | None, int | None]]:
    """Return, for each slot of ``drawn``, the energy fed in during its time, and the energy drawn minus energy fed in.

    The slots of both must have the same times (``on_one_grid``). The difference is None if it would compare unequal
    times: some days of a month, or some steps of a slot, may be known for only one direction.
    """
    rows: list[tuple[int | None, int | None]] = []
    for slot, other in zip(drawn.slots, fed.slots, strict=True):
        balance = None
        if slot.energy is not None and other.energy is not None and _have_same_time(slot, other, drawn, fed):
            balance = slot.energy - other.energy
        rows.append((other.energy, balance))
    return rows


def _have_same_time(slot: Slot, other: Slot, drawn: SpanMeasures, fed: SpanMeasures) -> bool:
    if drawn.span.view is not View.YEAR:
        return not any(one.carried or one.uncovered or one.overhang != slot.overhang for one in (slot, other))
    month = slot.start.month
    return [day for day in drawn.days if day.month == month] == [day for day in fed.days if day.month == month]


def build_navigation(
    measures: SpanMeasures, first: date, last: date, words: Words, views: Iterable[View] = View
) -> Navigation:
    """Return the links of a chart, which lead to days from ``first`` to ``last``. ``views``: the lengths of spans."""
    span, against, unit = measures.span, measures.against, measures.unit
    day = min(span.end - ONE_DAY, last)
    units = [Link(query_of(span.view, max(span.start, first), against, one), one.symbol, one is unit) for one in Unit]
    after = span.after if span.after.end > first else Span.containing(span.view, first)
    return Navigation(
        first=first,
        last=last,
        date=max(span.start, first),
        tabs=[Link(query_of(one, day, against, unit), words(f"chart.view.{one}"), one is span.view) for one in views],
        previous=_link_to(span.before, against, unit, words) if span.before.end > first else None,
        next=_link_to(after, against, unit, words) if after.start <= last else None,
        comparisons=_list_comparisons(span, against, unit, first, words),
        units=units,
    )


def list_slot_queries(measures: SpanMeasures, first: date, last: date) -> Iterator[str]:
    """Yield the query of each slot's link, which leads to the slot's day or month.

    Empty for a step of a day, and for a slot without a day from ``first`` to ``last``.
    """
    within = _VIEW_WITHIN.get(measures.span.view)
    for slot in measures.slots:
        day = slot.start.date()
        is_shown = day <= last and day + timedelta(days=max(1, slot.length.days)) > first
        yield query_of(within, day, measures.against, measures.unit) if within and is_shown else ""


def query_of(view: View, day: date, against: Against = Against.PREVIOUS, unit: Unit = Unit.KWH) -> str:
    compared = f"&compare={against}" if against is not Against.PREVIOUS else ""
    return f"?by={view}&at={day}{compared}{f'&unit={unit}' if unit is not Unit.KWH else ''}#chart"


def title_of(span: Span, words: Words) -> str:
    match span.view:
        case View.YEAR:
            return str(span.start.year)
        case View.MONTH:
            return words.month(span.start)
        case View.WEEK:
            return words.week(span.start, span.end - ONE_DAY)
        case View.DAY:
            return words.weekday(span.start)


def _link_to(span: Span, against: Against, unit: Unit, words: Words) -> Link:
    return Link(query_of(span.view, span.start, against, unit), title_of(span, words))


def _list_comparisons(span: Span, against: Against, unit: Unit, first: date, words: Words) -> list[Link]:
    view, at = span.view, max(span.start, first)
    if view not in (View.WEEK, View.MONTH) or (
        span.compared(Against.YEAR).end <= first and against is Against.PREVIOUS
    ):
        return []
    return [
        Link(query_of(view, at, one, unit), words(f"chart.against.{one}.{view}"), one is against) for one in Against
    ]


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a chart in CSS pixels. ``labels``: how many labels fit side by side."""

    name: str
    width: int
    height: int
    labels: int


WIDE: Final = Size("wide", 920, 320, 13)
NARROW: Final = Size("narrow", 358, 250, 7)
SIZES: Final = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class Scale:
    """The vertical axis. ``zero``: the position of its zero. ``unit_px``: the height of 1000 units (kWh, kW, kVA).

    ``ticks``: position and label of each line, zero first. ``margin``: the width of the labels.
    """

    zero: float
    unit_px: float
    ticks: list[tuple[float, str]]
    margin: int

    @classmethod
    def over(cls, up: Sequence[float], down: Sequence[float], bottom: int, unit: Unit, words: Words) -> Scale:
        """Return the scale for values above and below the axis; without values below, zero is at the bottom."""
        step = axis_step([*up, *down], _FACTORS[unit])
        steps_up = _steps_to(max([*up, 0.0 if down else _SMALLEST_TOP]), step)
        steps_down = _steps_to(max(down), step) if down else 0
        unit_px = (bottom - _TOP) / ((steps_up + steps_down) * step)
        zero = _TOP + steps_up * step * unit_px
        step_energy = round(step * MILLIWATT_HOURS_PER_KWH)  # Whole mWh are exact, unlike the float.
        places = count_places([step_energy], least=0)
        places = _CENTS if places and unit is Unit.EUR else places
        ranks = [*range(steps_up + 1), *range(-1, -steps_down - 1, -1)]
        labels = [words.kwh(step_energy * abs(rank), places if rank else 0) for rank in ranks]
        ticks = [(round(zero - rank * step * unit_px, 1), label) for rank, label in zip(ranks, labels, strict=True)]
        return cls(zero, unit_px, ticks, 10 + _DIGIT_PX * max(map(len, labels)))


def draw_chart(
    measures: SpanMeasures,
    words: Words,
    size: Size,
    title: str,
    *,
    fed: SpanMeasures | None = None,
    limits: Sequence[int | None] = (),
    links: Sequence[Link | None] = (),
    bands: Sequence[tuple[int, int]] = (),
) -> Markup:
    """Return a chart as an ``<svg>`` element. ``title`` is the chart's text for screen readers.

    ``fed``: the series drawn below the axis. ``limits``: for each slot, the level of a line across it, in the unit of
    the slots; None for no line. ``links``: where each slot leads, with its text for screen readers. ``bands``: the
    minutes of a day that have a background.
    """
    view, slots = measures.span.view, measures.slots
    heights = [_heights(slot, view) for slot in slots]
    fed_slots = fed.slots if fed else ()
    fed_heights = [_heights(slot, view)[0] for slot in fed_slots]
    levels = [None if limit is None else limit / MILLIWATT_HOURS_PER_KWH for limit in limits]
    up = [height for group in (*heights, levels) for height in group if height is not None]
    bottom = size.height - _MARGIN_BOTTOM
    # Space is kept below the axis even if no value is there yet; otherwise the first value would change the scale.
    scale = Scale.over(up, [height or 0.0 for height in fed_heights], bottom, measures.unit, words)
    positions = _positions(measures, scale.margin, size.width)
    fed_positions = _positions(fed, scale.margin, size.width) if fed else []
    downward = [None if height is None else -height for height in fed_heights]
    minute_px = (size.width - scale.margin) * timedelta(minutes=1) / day_length(measures.span.start)

    svg = ENVIRONMENT.get_template("chart.html").render(
        size=size,
        title=title,
        left=scale.margin,
        top=_TOP,
        zero=round(scale.zero, 1),
        bottom=bottom,
        ticks=scale.ticks,
        slots=[
            (round(x, 2), round(width, 2), slot, label)
            for (x, width), slot, label in zip(positions, slots, _labels(measures, words, size), strict=True)
        ],
        below=words("balance.below") if fed else "",
        fed_gaps=[
            (round(x, 2), round(width, 2))
            for (x, width), slot in zip(fed_positions, fed_slots, strict=True)
            if slot.gap
        ],
        bands=[
            (round(scale.margin + start * minute_px, 2), round((end - start) * minute_px, 2)) for start, end in bands
        ],
        links=links or [None] * len(slots),
        series=[
            _bars([before for _, before in heights], positions, [False] * len(slots), _BEFORE_SHARE, scale),
            _bars([now for now, _ in heights], positions, [slot.partial for slot in slots], _NOW_SHARE, scale),
        ],
        fed=_bars(downward, fed_positions, [slot.partial for slot in fed_slots], _NOW_SHARE, scale),
        limit=_limit_path(levels, positions, scale),
    )
    return Markup(svg)  # noqa: S704 - The template escapes every text.


def _bars(
    values: Sequence[float | None], positions: Positions, partial: Sequence[bool], share: float, scale: Scale
) -> list[tuple[str, bool]]:
    """Return the path of each known value's bar, and whether the value is only partial.

    Negative values hang below the axis.
    """
    paths = []
    for (x, width), value, is_partial in zip(positions, values, partial, strict=True):
        if not value:  # Nothing is drawn for zero; the table and the link say it.
            continue
        down = value < 0
        tip = max(abs(value) * scale.unit_px, 1.0)
        paths.append((_bar(x + (1 - share) / 2 * width, scale.zero, width * share, tip, down=down), is_partial))
    return paths


def _bar(left: float, zero: float, width: float, height: float, *, down: bool) -> str:
    """Return the path of a bar with a rounded tip."""
    radius = min(_ROUND, width / 2, height)
    tip, bend = (zero + height - radius, radius) if down else (zero - height + radius, -radius)
    return (
        f"M{left:.1f} {zero:.1f}V{tip:.1f}q0 {bend:.1f} {radius:.1f} {bend:.1f}"
        f"h{width - 2 * radius:.1f}q{radius:.1f} 0 {radius:.1f} {-bend:.1f}V{zero:.1f}z"
    )


def _limit_path(levels: Sequence[float | None], positions: Positions, scale: Scale) -> str:
    """Return the path of a line across the slots, with a step where the level changes; empty if there are no levels."""
    path, last = "", None
    for level, (x, width) in zip(levels, positions[: len(levels)], strict=True):
        if level is not None:
            y = scale.zero - level * scale.unit_px
            path += (f"M{x:.1f} {y:.1f}" if last is None else f"V{y:.1f}") + f"H{x + width:.1f}"
        last = level
    return path


def _heights(slot: Slot, view: View) -> tuple[float | None, float | None]:
    """Return the heights of a slot's two bars, now and before: in kW of mean power for a day, else in kWh or kVA."""
    hours = (slot.length + slot.overhang) / _AN_HOUR if view is View.DAY else 1.0
    now, before = (
        None if value is None else value / MILLIWATT_HOURS_PER_KWH / hours for value in (slot.energy, slot.before)
    )
    return now, before


def _positions(measures: SpanMeasures, left: float, right: float) -> Positions:
    """Return where each slot begins, and its width: by time for a day, otherwise the same width for all slots."""
    weights = [slot.length / _AN_HOUR if measures.span.view is View.DAY else 1.0 for slot in measures.slots]
    scale, x = (right - left) / sum(weights), left
    places = []
    for weight in weights:
        places.append((x, weight * scale))
        x += weight * scale
    return places


def axis_step(values: Iterable[float], factors: Iterable[float] = _FACTORS[Unit.KWH]) -> float:
    """Return the step of the axis in the unit of the values: a round number, for about four steps."""
    smallest_step = max([*values, _SMALLEST_TOP]) / _TICKS
    power = 10.0 ** math.floor(math.log10(smallest_step))
    return next(factor * power for factor in factors if factor * power >= smallest_step * 0.999)


def _steps_to(value: float, step: float) -> int:
    """Return how many steps of the axis cover the value, at least one."""
    return max(1, math.ceil(value / step - 1e-9))


def _labels(measures: SpanMeasures, words: Words, size: Size) -> list[str]:
    """Return a label for each slot; where labels would crowd the axis, most of them are empty."""
    view, slots = measures.span.view, measures.slots
    if view is View.YEAR:
        width = "abbreviated" if size.labels >= len(slots) else "narrow"
        return [words.month_name(slot.start.date(), width) for slot in slots]
    if view is View.WEEK:
        return [words.day_of_week(slot.start.date(), with_number=size is WIDE) for slot in slots]
    if view is View.MONTH:
        every = 1 if size.labels >= len(slots) else (2 if size is WIDE else 5)
        return [str(slot.start.day) if (slot.start.day - 1) % every == 0 else "" for slot in slots]
    hours = 2 if size is WIDE else 6  # When clocks go back in autumn, the label of 2 h comes twice.
    return [
        words("chart.hour", hour=slot.start.hour) if slot.start.minute == 0 and slot.start.hour % hours == 0 else ""
        for slot in slots
    ]
