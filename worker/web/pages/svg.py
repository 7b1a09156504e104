"""Charts as SVG, drawn on the server: they need no script and take their colours from the page's style sheet.

The span before is a pale wide bar behind a solid narrow one: both can be read at 48 bars on a phone. A gap is hatched
and a measured zero is a line. The second pass of the autumn hour has a background of its own. In front of each slot
stands a target for the pointer, as high as the chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_KWH, count_places
from worker.web.pages.measures import Slot, SpanMeasures, View
from worker.web.render import ENVIRONMENT
from worker.web.texts import Words

_SMALLEST_TOP: Final = 0.05  # In kWh, so that a standby consumption doesn't fill the chart.
_TICKS: Final = 4
_BEFORE_SHARE, _NOW_SHARE = 0.84, 0.5  # Widths of the bars in a slot.
_ROUND: Final = 3.0
_TOP, _MARGIN_BOTTOM = 16, 24
_DIGIT_PX: Final = 7


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a chart in CSS pixels. ``labels`` is the number of labels that fit side by side."""

    name: str
    width: int
    height: int
    labels: int


WIDE: Final = Size("wide", 920, 320, 13)
NARROW: Final = Size("narrow", 358, 250, 7)


def draw_chart(measures: SpanMeasures, words: Words, size: Size, title: str) -> Markup:
    """Return a chart as an ``<svg>`` element. ``title`` is its text for screen readers."""
    slots = measures.slots
    highest, step = axis_scale(slots)
    energies = [step * rank for rank in range(round(highest / step) + 1)]
    step_energy = round(step * MILLIWATT_HOURS_PER_KWH)  # A round number in floats, and exact in mWh.
    places = count_places([step_energy], least=0)
    labels = [words.kwh(step_energy * rank, places if rank else 0) for rank in range(len(energies))]
    left = 10 + _DIGIT_PX * max(map(len, labels))
    bottom, width = size.height - _MARGIN_BOTTOM, (size.width - left) / len(slots)

    def height_of(energy: float) -> float:
        return bottom - energy / highest * (bottom - _TOP)

    def bar(rank: int, milliwatt_hours: int, share: float) -> str:
        top = min(height_of(milliwatt_hours / MILLIWATT_HOURS_PER_KWH), bottom - 1)
        return _bar(left + (rank + (1 - share) / 2) * width, top, width * share, bottom)

    before = [
        (bar(rank, slot.before, _BEFORE_SHARE), False) for rank, slot in enumerate(slots) if slot.before is not None
    ]
    now = [
        (bar(rank, slot.energy, _NOW_SHARE), slot.missing_days > 0)
        for rank, slot in enumerate(slots)
        if slot.energy is not None
    ]
    svg = ENVIRONMENT.get_template("chart.html").render(
        size=size,
        title=title,
        left=left,
        top=_TOP,
        bottom=bottom,
        width=round(width, 2),
        ticks=[(round(height_of(energy), 1), label) for energy, label in zip(energies, labels, strict=True)],
        slots=[
            (round(left + rank * width, 2), slot, label)
            for rank, (slot, label) in enumerate(zip(slots, _labels(measures, words, size), strict=True))
        ],
        series=[before, now],
    )
    return Markup(svg)  # noqa: S704 - The template escapes every text.


def _bar(left: float, top: float, width: float, bottom: float) -> str:
    """Return the path of a bar with a round top."""
    radius = min(_ROUND, width / 2, bottom - top)
    return (
        f"M{left:.1f} {bottom:.1f}V{top + radius:.1f}q0 {-radius:.1f} {radius:.1f} {-radius:.1f}"
        f"h{width - 2 * radius:.1f}q{radius:.1f} 0 {radius:.1f} {radius:.1f}V{bottom:.1f}z"
    )


def axis_scale(slots: Sequence[Slot]) -> tuple[float, float]:
    """Return the top of the axis and its step in kWh: round numbers, about four steps."""
    largest = max((value for slot in slots for value in (slot.energy, slot.before) if value is not None), default=0)
    smallest_step = max(largest / MILLIWATT_HOURS_PER_KWH, _SMALLEST_TOP) / _TICKS
    power = 10.0 ** math.floor(math.log10(smallest_step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= smallest_step * 0.999)
    return step * max(1, math.ceil(max(largest / MILLIWATT_HOURS_PER_KWH, _SMALLEST_TOP) / step - 1e-9)), step


def _labels(measures: SpanMeasures, words: Words, size: Size) -> list[str]:
    """Return a label for each slot; most are empty where they would crowd the axis."""
    view, slots = measures.span.view, measures.slots
    if view is View.YEAR:
        width = "abbreviated" if size.labels >= len(slots) else "narrow"
        return [words.month_name(slot.start.date(), width) for slot in slots]
    if view is View.MONTH:
        every = 1 if size.labels >= len(slots) else (2 if size is WIDE else 5)
        return [str(slot.start.day) if (slot.start.day - 1) % every == 0 else "" for slot in slots]
    hours = 2 if size is WIDE else 6  # In the autumn night the label of 2 h comes twice.
    return [
        words("chart.hour", hour=slot.start.hour) if slot.start.minute == 0 and slot.start.hour % hours == 0 else ""
        for slot in slots
    ]
