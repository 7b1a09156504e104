"""Charts as SVG, drawn on the server with pygal: they need no script and take their colours from the page.

pygal draws scales, axes and labels. Its style sheets and scripts are removed, so that the page's own style sheet sets
light and dark colours and the content security policy stays strict. The span before is a pale wide bar behind a solid
narrow one: both can be read at 48 bars on a phone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

from markupsafe import Markup
from pygal import Bar
from pygal.style import Style

from worker.web.pages.measures import Slot, SpanMeasures, View
from worker.web.texts import Words

# pygal leaves an import hook for old plugins behind, about which Python warns at every later import.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

_MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
_SMALLEST_TOP: Final = 0.05  # In kWh, so that a standby consumption doesn't fill the chart.
_TICKS: Final = 4
_LABEL_PX: Final = 12
_SHARES: Final = (0.84, 0.5)  # Widths of the bars in a slot: the span before, this span.
_ROUND: Final = 3.0


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a chart in CSS pixels. ``labels`` is the number of labels that fit side by side."""

    name: str
    width: int
    height: int
    labels: int


WIDE: Final = Size("wide", 920, 320, 13)
NARROW: Final = Size("narrow", 358, 250, 7)
_STYLE: Final = Style(background="none", plot_background="none", label_font_size=_LABEL_PX, font_family="inherit")


def draw_chart(measures: SpanMeasures, words: Words, size: Size, title: str) -> Markup:
    """Return a chart as an ``<svg>`` element. ``title`` is its text for screen readers."""
    top, step = axis_scale(measures.slots)
    chart = _OverlaidBars(
        measures.slots,
        width=size.width,
        height=size.height,
        margin=4,
        margin_bottom=6,
        margin_top=12,
        spacing=6,
        style=_STYLE,
        show_legend=False,
        js=(),
        disable_xml_declaration=True,
        classes=("chart", f"chart-{size.name}"),
        title=None,
        no_prefix=True,
        range=(0, top),
        y_labels=[step * rank for rank in range(round(top / step) + 1)],
        value_formatter=lambda value: words.number(value, _decimals(step) if value else 0),
        x_labels=_labels(measures, words, size),
        truncate_label=-1,
        zero=0,
    )
    chart.add("before", [_kwh(slot.before) for slot in measures.slots])
    chart.add("now", [_kwh(slot.energy) for slot in measures.slots])
    root: Element = chart.render_tree()
    _strip_styles(root)
    root.set("role", "img")
    root.set("aria-label", title)
    root.set("viewBox", f"0 0 {size.width} {size.height}")
    return Markup(tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree escapes every text.


def axis_scale(slots: Sequence[Slot]) -> tuple[float, float]:
    """Return the top of the axis and its step in kWh: round numbers, about four steps."""
    largest = max((value for slot in slots for value in (slot.energy, slot.before) if value is not None), default=0)
    smallest_step = max(largest / _MILLIWATT_HOURS_PER_KWH, _SMALLEST_TOP) / _TICKS
    power = 10.0 ** math.floor(math.log10(smallest_step))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= smallest_step * 0.999)
    return step * max(1, math.ceil(max(largest / _MILLIWATT_HOURS_PER_KWH, _SMALLEST_TOP) / step - 1e-9)), step


def _decimals(step: float) -> int:
    """Return the number of decimals that tells the steps of the axis apart."""
    return next(digits for digits in range(6) if abs(round(step, digits) - step) < step / 1000)


def _kwh(milliwatt_hours: int | None) -> float | None:
    return None if milliwatt_hours is None else milliwatt_hours / _MILLIWATT_HOURS_PER_KWH


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


class _OverlaidBars(Bar):  # type: ignore[misc]  # pygal has no types.
    """Bar chart of two series at the same places, one behind the other.

    A gap is hatched and a measured zero is a line. The second pass of the autumn hour has a background of its own.
    """

    def __init__(self, slots: Sequence[Slot], **options: Any) -> None:
        super().__init__(**options)
        self._slots = slots

    def _bar(
        self, serie: Any, parent: Any, x: float, y: float, i: int, zero: float, secondary: bool = False
    ) -> tuple[float, float, float, float]:
        place, share = self._left_of(i), _SHARES[serie.index]
        left, width = place + self._width * (1 - share) / 2, self._width * share
        top, bottom = self.view.y(y), self.view.y(zero)
        top = min(top, bottom - 1)
        radius = min(_ROUND, width / 2, bottom - top)
        path = (
            f"M{left:.1f} {bottom:.1f}V{top + radius:.1f}q0 {-radius:.1f} {radius:.1f} {-radius:.1f}"
            f"h{width - 2 * radius:.1f}q{radius:.1f} 0 {radius:.1f} {radius:.1f}V{bottom:.1f}z"
        )
        partial = " partial" if serie.index and self._slots[i].missing_days else ""
        self.svg.node(parent, "path", d=path, class_=f"column{partial}")
        return left, top, width, bottom - top

    def _plot(self) -> None:
        """Draw backgrounds behind the bars, and in front of them a target for the pointer as high as the chart."""
        top, height = self.view.y(self._box.ymax), self.view.y(0) - self.view.y(self._box.ymax)
        repeats = self.svg.node(self.nodes["plot"], class_="agains")
        gaps = self.svg.node(self.nodes["plot"], class_="gaps")
        for rank, slot in enumerate(self._slots):
            if slot.repeated:
                self._column(repeats, rank, top, height, "again")
            if slot.gap:
                self._column(gaps, rank, top, height, "gap").set(
                    "fill", "url(#hatch)"
                )  # The page defines this pattern.
        super()._plot()
        hits = self.svg.node(self.nodes["overlay"], class_="hits")
        for rank, _ in enumerate(self._slots):
            hit = self._column(hits, rank, top, height, "hit")
            hit.set("data-slot", str(rank))

    def _column(self, parent: Any, rank: int, y: float, height: float, kind: str) -> Element:
        x = f"{self._left_of(rank):.1f}"
        box: Element = self.svg.node(
            parent, "rect", x=x, y=f"{y:.1f}", width=f"{self._width:.1f}", height=f"{height:.1f}", class_=kind
        )
        return box

    @property
    def _width(self) -> float:
        return float(self.view.x(1) - self.view.x(0)) / len(self._slots)

    def _left_of(self, rank: int) -> float:
        return float(self.view.x(0)) + rank * self._width

    def _tooltip_data(self, *_: Any, **__: Any) -> None:
        """Do nothing: the page's script takes the words of a slot from the table."""


def _strip_styles(root: Element) -> None:
    """Remove pygal's style sheet, scripts and titles: the page has its own."""
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
            if not tag or tag in ("style", "script", "title", "desc", "defs"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib.pop("style", None)
        element.attrib.pop("id", None)
        if element.tag == "text" and not (element.text or "").strip():
            element.text = ""
