"""Charts as SVG, drawn on the server: they need no script and take their colours from the page's style sheet.

A bar is as wide as its time is long; of a day it is as high as the mean power (kW), else as the energy (kWh). The span
before is a pale wide bar behind a solid narrow one: both can be read at 48 bars on a phone. A gap is hatched and a
measured zero is a line. The second pass of the autumn hour has a background of its own. In front of each slot
stands a target for the pointer, as high as the chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from markupsafe import Markup

from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_KWH, count_places
from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import SpanMeasures, View
from worker.web.render import ENVIRONMENT
from worker.web.texts import Words

_AN_HOUR: Final = timedelta(hours=1)
_SMALLEST_TOP: Final = 0.05  # In kWh or kW, so that a standby consumption doesn't fill the chart.
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
    heights = [_heights(slot, measures.span.view) for slot in slots]
    highest, step = axis_scale([height for pair in heights for height in pair if height is not None])
    energies = [step * rank for rank in range(round(highest / step) + 1)]
    step_energy = round(step * MILLIWATT_HOURS_PER_KWH)  # A round number in floats, and exact in mWh.
    places = count_places([step_energy], least=0)
    labels = [words.kwh(step_energy * rank, places if rank else 0) for rank in range(len(energies))]
    left = 10 + _DIGIT_PX * max(map(len, labels))
    bottom, positions = size.height - _MARGIN_BOTTOM, _positions(measures, left, size.width)

    def height_of(value: float) -> float:
        return bottom - value / highest * (bottom - _TOP)

    def bars(which: int, share: float) -> list[tuple[str, bool]]:
        return [
            (_bar(x + (1 - share) / 2 * width, min(height_of(value), bottom - 1), width * share, bottom), partial)
            for (x, width), pair, slot in zip(positions, heights, slots, strict=True)
            for value, partial in [(pair[which], which == 0 and slot.missing_days > 0)]
            if value is not None
        ]

    svg = ENVIRONMENT.get_template("chart.html").render(
        size=size,
        title=title,
        left=left,
        top=_TOP,
        bottom=bottom,
        ticks=[(round(height_of(energy), 1), label) for energy, label in zip(energies, labels, strict=True)],
        slots=[
            (round(x, 2), round(width, 2), slot, label)
            for (x, width), slot, label in zip(positions, slots, _labels(measures, words, size), strict=True)
        ],
        series=[bars(1, _BEFORE_SHARE), bars(0, _NOW_SHARE)],
    )
    return Markup(svg)  # noqa: S704 - The template escapes every text.


def _bar(left: float, top: float, width: float, bottom: float) -> str:
    """Return the path of a bar with a round top."""
    radius = min(_ROUND, width / 2, bottom - top)
    return (
        f"M{left:.1f} {bottom:.1f}V{top + radius:.1f}q0 {-radius:.1f} {radius:.1f} {-radius:.1f}"
        f"h{width - 2 * radius:.1f}q{radius:.1f} 0 {radius:.1f} {radius:.1f}V{bottom:.1f}z"
    )


def _heights(slot: Slot, view: View) -> tuple[float | None, float | None]:
    """Return how high the bars of now and before are: in kW of mean power for a day, else in kWh."""
    hours = (slot.length + slot.overhang) / _AN_HOUR if view is View.DAY else 1.0
    now, before = (
        None if value is None else value / MILLIWATT_HOURS_PER_KWH / hours for value in (slot.energy, slot.before)
    )
    return now, before


def _positions(measures: SpanMeasures, left: float, right: float) -> list[tuple[float, float]]:
    """Return where each slot begins, and its width: a day's slots by their time, else all alike."""
    weights = [slot.length / _AN_HOUR if measures.span.view is View.DAY else 1.0 for slot in measures.slots]
    scale, x = (right - left) / sum(weights), left
    places = []
    for weight in weights:
        places.append((x, weight * scale))
        x += weight * scale
    return places


def axis_scale(values: Sequence[float]) -> tuple[float, float]:
    """Return the top of the axis and its step, in the unit of the values: round numbers, about four steps."""
    largest = max(values, default=0.0)
    smallest_step = max(largest, _SMALLEST_TOP) / _TICKS
    power = 10.0 ** math.floor(math.log10(smallest_step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= smallest_step * 0.999)
    return step * max(1, math.ceil(max(largest, _SMALLEST_TOP) / step - 1e-9)), step


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
