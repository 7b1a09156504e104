"""Where a chart leads: other views, the spans beside it, what each bar stands for, a day by its date.

Addresses are queries of the account's own page, so they work without scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from worker.domain.windows import ONE_DAY
from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import Against, Span, View
from worker.web.texts import Words

_VIEW_WITHIN: Final = {View.WEEK: View.DAY, View.MONTH: View.DAY, View.YEAR: View.MONTH}


@dataclass(frozen=True, slots=True)
class Link:
    """An address with its words. ``current``: what it leads to is shown already."""

    href: str
    text: str
    current: bool = False


@dataclass(frozen=True, slots=True)
class Navigation:
    """The links of one chart.

    ``first`` and ``last``: the days between which they lead. ``date``: what the field for a date shows.
    ``comparisons``: what the span can be compared with; empty where there is no choice.
    """

    view: View
    against: Against
    first: date
    last: date
    date: date
    tabs: list[Link]
    previous: Link | None
    next: Link | None
    comparisons: list[Link]


def build_navigation(span: Span, against: Against, first: date, last: date, words: Words) -> Navigation:
    """Return the links of a chart; ``first`` and ``last``: the days between which they lead."""
    day = min(span.end - ONE_DAY, last)
    return Navigation(
        view=span.view,
        against=against,
        first=first,
        last=last,
        date=max(span.start, first),
        tabs=[Link(query_of(view, day, against), words(f"chart.view.{view}"), view is span.view) for view in View],
        previous=_link_to(span.before, against, words) if span.before.end > first else None,
        next=_link_to(span.after, against, words) if span.after.start <= last else None,
        comparisons=_list_comparisons(span, against, first, words),
    )


def list_slot_queries(slots: Sequence[Slot], view: View, against: Against, first: date, last: date) -> list[str | None]:
    """Return what each slot leads to: a day of a week or month, a month of a year; None where that has nothing."""
    within = _VIEW_WITHIN.get(view)
    return [
        query_of(within, slot.start.date(), against) if within and _meets(slot, first, last) else None for slot in slots
    ]


def query_of(view: View, day: date, against: Against = Against.PREVIOUS) -> str:
    compared = f"&compare={against}" if against is not Against.PREVIOUS else ""
    return f"?by={view}&at={day}{compared}#chart"


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


def _meets(slot: Slot, first: date, last: date) -> bool:
    start = slot.start.date()
    return start <= last and start + timedelta(days=max(1, slot.length.days)) > first


def _link_to(span: Span, against: Against, words: Words) -> Link:
    return Link(query_of(span.view, span.start, against), title_of(span, words))


def _list_comparisons(span: Span, against: Against, first: date, words: Words) -> list[Link]:
    if span.view not in (View.WEEK, View.MONTH):
        return []
    if span.compared(Against.YEAR).end <= first and against is Against.PREVIOUS:
        return []
    return [
        Link(
            query_of(span.view, max(span.start, first), one), words(f"chart.against.{one}.{span.view}"), one is against
        )
        for one in Against
    ]
