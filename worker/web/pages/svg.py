"""Charts as SVG, drawn on the server: they need no script and take their colours from the page's style sheet.

A bar is as wide as its time is long; of a day it is as high as the mean power (kW), else as the energy (kWh) or the
maximum power (kVA). The span before is a pale wide bar behind a solid narrow one: both can be read at 48 bars on a
phone. What is fed into the grid hangs below the axis, to the same scale: drawn and fed in are no parts of one sum. A
gap is hatched and a measured zero is a line. The second pass of the autumn hour has a background of its own. In front
of each slot stands a target for the pointer, as high as the chart; a link, where the slot leads somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from markupsafe import Markup

from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, count_places
from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import SpanMeasures, View
from worker.web.render import ENVIRONMENT
from worker.web.texts import Words

_AN_HOUR: Final = timedelta(hours=1)
_SMALLEST_TOP: Final = 0.05  # In thousands of the unit, so that a standby consumption doesn't fill the chart.
_TICKS: Final = 4
_BEFORE_SHARE, _NOW_SHARE = 0.84, 0.5  # Widths of the bars in a slot.
_ROUND: Final = 3.0
_TOP, _MARGIN_BOTTOM = 16, 24
_DIGIT_PX: Final = 7
Positions = list[tuple[float, float]]  # Where each slot begins, and its width.


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a chart in CSS pixels. ``labels`` is the number of labels that fit side by side."""

    name: str
    width: int
    height: int
    labels: int


WIDE: Final = Size("wide", 920, 320, 13)
NARROW: Final = Size("narrow", 358, 250, 7)


@dataclass(frozen=True, slots=True)
class BarLink:
    """Where a bar leads. ``label`` is what a screen reader says of it."""

    href: str
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The vertical axis: ``zero`` is the place of its zero, ``unit_px`` the height of a thousand units (kWh, kW, kVA).

    ``ticks``: place and label of each line, zero first. ``margin``: the width of the labels.
    """

    zero: float
    unit_px: float
    ticks: list[tuple[float, str]]
    margin: int

    @classmethod
    def over(cls, up: Sequence[float], down: Sequence[float], bottom: int, words: Words) -> Scale:
        """Return the scale of values above and below the axis; without values below, zero is at the bottom."""
        _, step = axis_scale([*up, *down])
        steps_up = _steps_to(max([*up, 0.0 if down else _SMALLEST_TOP]), step)
        steps_down = _steps_to(max(down), step) if down else 0
        unit_px = (bottom - _TOP) / ((steps_up + steps_down) * step)
        zero = _TOP + steps_up * step * unit_px
        step_energy = round(step * MILLIWATT_HOURS_PER_KWH)  # A round number in floats, and exact in mWh.
        places = count_places([step_energy], least=0)
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
    links: Sequence[BarLink | None] = (),
) -> Markup:
    """Return a chart as an ``<svg>`` element. ``title`` is its text for screen readers.

    ``fed``: what is drawn below the axis. ``limits``: the level of a line across each slot, in the unit of the slots.
    ``links``: where each slot leads.
    """
    view, slots = measures.span.view, measures.slots
    heights = [_heights(slot, view) for slot in slots]
    fed_heights = [_heights(slot, view)[0] for slot in fed.slots] if fed else []
    levels = [None if limit is None else limit / MILLIWATT_HOURS_PER_KWH for limit in limits]
    up = [height for group in (*heights, levels) for height in group if height is not None]
    bottom = size.height - _MARGIN_BOTTOM
    # Without a value below the axis it still has room there, or bars would change their scale with the first one.
    scale = Scale.over(up, [height or 0.0 for height in fed_heights], bottom, words)
    positions = _positions(measures, scale.margin, size.width)
    fed_positions = _positions(fed, scale.margin, size.width) if fed else []

    def bars(which: int, share: float) -> list[tuple[str, bool]]:
        values = [pair[which] for pair in heights]
        partial = [which == 0 and slot.partial for slot in slots]
        return _bars(values, positions, partial, share, scale)

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
        fed_gaps=[
            (round(x, 2), round(width, 2))
            for (x, width), slot in zip(fed_positions, fed.slots if fed else (), strict=True)
            if slot.gap
        ],
        links=links or [None] * len(slots),
        series=[bars(1, _BEFORE_SHARE), bars(0, _NOW_SHARE)],
        fed=_fed_bars(fed, fed_heights, fed_positions, scale),
        limit=_limit_path(levels, positions, scale),
    )
    return Markup(svg)  # noqa: S704 - The template escapes every text.


def _fed_bars(
    fed: SpanMeasures | None, heights: Sequence[float | None], positions: Positions, scale: Scale
) -> list[tuple[str, bool]]:
    if fed is None:
        return []
    downward = [None if height is None else -height for height in heights]
    return _bars(downward, positions, [slot.partial for slot in fed.slots], _NOW_SHARE, scale)


def _bars(
    values: Sequence[float | None], positions: Positions, partial: Sequence[bool], share: float, scale: Scale
) -> list[tuple[str, bool]]:
    """Return the path of each known value's bar, and whether it stands for a part only; below zero for negative ones.

    ``-0.0`` is a zero below the axis.
    """
    paths = []
    for (x, width), value, is_partial in zip(positions, values, partial, strict=True):
        if value is None:
            continue
        down = math.copysign(1.0, value) < 0
        tip = max(abs(value) * scale.unit_px, 1.0)
        paths.append((_bar(x + (1 - share) / 2 * width, scale.zero, width * share, tip, down=down), is_partial))
    return paths


def _bar(left: float, zero: float, width: float, height: float, *, down: bool) -> str:
    """Return the path of a bar whose far end is round."""
    radius = min(_ROUND, width / 2, height)
    tip, bend = (zero + height - radius, radius) if down else (zero - height + radius, -radius)
    return (
        f"M{left:.1f} {zero:.1f}V{tip:.1f}q0 {bend:.1f} {radius:.1f} {bend:.1f}"
        f"h{width - 2 * radius:.1f}q{radius:.1f} 0 {radius:.1f} {-bend:.1f}V{zero:.1f}z"
    )


def _limit_path(levels: Sequence[float | None], positions: Positions, scale: Scale) -> str:
    """Return the path of a line across the slots, in steps where the level changes; empty where there is none."""
    path, last = "", None
    for level, (x, width) in zip(levels, positions[: len(levels)], strict=True):
        if level is not None:
            y = scale.zero - level * scale.unit_px
            path += (f"M{x:.1f} {y:.1f}" if last is None else f"V{y:.1f}") + f"H{x + width:.1f}"
        last = level
    return path


def _heights(slot: Slot, view: View) -> tuple[float | None, float | None]:
    """Return how high the bars of now and before are: in kW of mean power for a day, else in kWh or kVA."""
    hours = (slot.length + slot.overhang) / _AN_HOUR if view is View.DAY else 1.0
    now, before = (
        None if value is None else value / MILLIWATT_HOURS_PER_KWH / hours for value in (slot.energy, slot.before)
    )
    return now, before


def _positions(measures: SpanMeasures, left: float, right: float) -> Positions:
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
    return step * _steps_to(max(largest, _SMALLEST_TOP), step), step


def _steps_to(value: float, step: float) -> int:
    """Return how many steps of the axis reach the value, at least one."""
    return max(1, math.ceil(value / step - 1e-9))


def _labels(measures: SpanMeasures, words: Words, size: Size) -> list[str]:
    """Return a label for each slot; most are empty where they would crowd the axis."""
    view, slots = measures.span.view, measures.slots
    if view is View.YEAR:
        width = "abbreviated" if size.labels >= len(slots) else "narrow"
        return [words.month_name(slot.start.date(), width) for slot in slots]
    if view is View.WEEK:
        return [words.day_of_week(slot.start.date(), with_number=size is WIDE) for slot in slots]
    if view is View.MONTH:
        every = 1 if size.labels >= len(slots) else (2 if size is WIDE else 5)
        return [str(slot.start.day) if (slot.start.day - 1) % every == 0 else "" for slot in slots]
    hours = 2 if size is WIDE else 6  # In the autumn night the label of 2 h comes twice.
    return [
        words("chart.hour", hour=slot.start.hour) if slot.start.minute == 0 and slot.start.hour % hours == 0 else ""
        for slot in slots
    ]
