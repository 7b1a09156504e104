"""The maximum powers on the account's page, against the subscribed one: of each day, of the month and of the year.

A day's chart is that of its month: a day has one maximum power.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from markupsafe import Markup

from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.domain.totals import Peak, find_highest, subscribed_on, to_peaks
from worker.domain.windows import ONE_DAY, DateWindow, day_length, local_midnight
from worker.stores.measures.measure_store import MeasureStore
from worker.web.pages.charts import slot_label
from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import Span, SpanMeasures, View, read_entries
from worker.web.pages.navigation import title_of
from worker.web.pages.svg import NARROW, WIDE, draw_chart
from worker.web.texts import Words

_PLACES: Final = 3  # The supplier sends whole VA.


@dataclass(frozen=True, slots=True)
class PowerRow:
    """A day, or a month, in words."""

    label: str
    power: str
    at: str
    subscribed: str


@dataclass(frozen=True, slots=True)
class PowerCard:
    """Everything that the template shows. ``highest``: title of a time, and its maximum power with the instant."""

    series: Series
    view: View
    title: str
    subscribed: str
    highest: list[tuple[str, str]]
    above: str
    drawings: list[Markup]
    rows: list[PowerRow]
    notes: list[str]


def build_power(
    measures: MeasureStore, account_id: str, series: Series, contracts: Sequence[Entry], at: Span, words: Words
) -> PowerCard | None:
    """Return the maximum powers of the span's year; None where none is stored."""
    year = Span.containing(View.YEAR, at.start)
    entries = read_entries(measures, account_id, series, DateWindow(year.start, year.end))
    return to_power(series, to_peaks(entries, contracts), contracts, at, words) if entries else None


def to_power(series: Series, peaks: Sequence[Peak], contracts: Sequence[Entry], at: Span, words: Words) -> PowerCard:
    """Return the card of ``at``; ``peaks``: those of its year."""
    span = at if at.view is View.YEAR else Span.containing(View.MONTH, at.start)
    by_slot = _peaks_by_slot(span, peaks)
    slots = _slots(by_slot, peaks[-1].day + ONE_DAY)
    limits = [subscribed_on(slot_span.end - ONE_DAY, contracts) for slot_span in by_slot]
    shown = SpanMeasures(span, slots, None, None)
    highest = find_highest(peak for peak in by_slot.values() if peak is not None)
    title = title_of(span, words)
    if highest is None:
        drawings, notes = [], [words("chart.nothing")]
    else:
        label = words("power.told", title=title, power=words.power(highest.amount, _PLACES))
        drawings, notes = [draw_chart(shown, words, size, label, limits=limits) for size in (WIDE, NARROW)], []
    return PowerCard(
        series=series,
        view=span.view,
        title=title,
        subscribed="" if limits[-1] is None else words.power(limits[-1]),
        highest=list(_highest_in_words(at, peaks, words)),
        above=_days_above(peaks, at.start.year, words),
        drawings=drawings,
        rows=[
            _to_row(slot_label(slot, span.view, words), peak, limit, span.view, words)
            for slot, peak, limit in zip(slots, by_slot.values(), limits, strict=True)
        ],
        notes=notes,
    )


def _peaks_by_slot(span: Span, peaks: Sequence[Peak]) -> dict[Span, Peak | None]:
    """Return the maximum power of each day of a month, or of each month of a year."""
    view = View.DAY if span.view is View.MONTH else View.MONTH
    slots = dict.fromkeys(Span.containing(view, day) for day in span.days())
    return {slot: _find_highest_within(slot, peaks) for slot in slots}


def _find_highest_within(span: Span, peaks: Sequence[Peak]) -> Peak | None:
    return find_highest(peak for peak in peaks if span.start <= peak.day < span.end)


def _slots(by_slot: Mapping[Span, Peak | None], next_day: date) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            local_midnight(span.start),
            day_length(span.start) if span.view is View.DAY else timedelta(days=len(span.days())),
            None if peak is None else peak.amount,
            None,
            pending=span.start >= next_day,
        )
        for span, peak in by_slot.items()
    )


def _highest_in_words(at: Span, peaks: Sequence[Peak], words: Words) -> Iterator[tuple[str, str]]:
    """Yield the maximum power of the day, its month and its year, as far as the span tells them."""
    longer = [view for view in (View.MONTH, View.YEAR) if len(Span.containing(view, at.start).days()) > len(at.days())]
    for view in (at.view, *longer):
        span = Span.containing(view, at.start)
        highest = _find_highest_within(span, peaks)
        if highest is not None:
            yield title_of(span, words), _in_words(highest, words, with_day=view is not View.DAY)


def _in_words(peak: Peak, words: Words, *, with_day: bool) -> str:
    power = words.power(peak.amount, _PLACES)
    if peak.at is None:
        return f"{power}, {words.day(peak.day)}" if with_day else power
    return words(
        f"power.at.{'day' if with_day else 'clock'}", power=power, day=words.day(peak.day), clock=words.clock(peak.at)
    )


def _days_above(peaks: Sequence[Peak], year: int, words: Words) -> str:
    """Return on how many days more than the subscribed power was drawn; empty where that is not known."""
    if all(peak.subscribed is None for peak in peaks):
        return ""
    number = sum(peak.exceeds for peak in peaks)
    return words.count("power.above", number, year=year) if number else words("power.never_above", year=year)


def _to_row(label: str, peak: Peak | None, limit: int | None, view: View, words: Words) -> PowerRow:
    subscribed = "–" if limit is None else words.power(limit)
    if peak is None:
        return PowerRow(label, "–", "", subscribed)
    clock = words.clock(peak.at) if peak.at else ""
    day = f"{words.short_day(peak.day)} " if view is View.YEAR else ""
    return PowerRow(label, words.kwh(peak.amount, _PLACES), f"{day}{clock}".strip(), subscribed)
