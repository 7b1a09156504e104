"""A simulated week as one SVG: what used the quota hour by hour, and how old the fleet's readings were."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

import pygal
from pygal.style import Style

from benchmarks.simulated.week import FIRST_DAY, Week
from worker.domain.fleet.lanes import QuotaLane
from worker.domain.measures.readings import ONE_DAY, Series
from worker.ops.capacity import describe_policy

# Pygal leaves an import hook for plugins of its first version, about which Python warns at every later import.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

WIDTH, USE_HEIGHT, AGE_HEIGHT = 1000, 380, 300
_NAMES: Final = {
    QuotaLane.NIGHTLY: "nights",
    QuotaLane.HISTORY: "histories",
    QuotaLane.REPAIR: "repairs",
    QuotaLane.FIRST_SCREEN: "first screens",
}
_LANE_COLORS: Final = ("#2f6f9f", "#8fbcd4", "#e0a84e", "#3f9b6c", "#e3b3b3")
_AGE_COLORS: Final = ("#2f6f9f", "#2f6f9f", "#c2623f", "#c2623f")
_SVG: Final = "{http://www.w3.org/2000/svg}"


def save(week: Week, path: Path) -> None:
    register_namespace("", _SVG.strip("{}"))
    height = USE_HEIGHT + AGE_HEIGHT
    picture = Element(f"{_SVG}svg", {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"})
    SubElement(picture, f"{_SVG}rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    for chart, top, chart_height in ((_use(week), 0, USE_HEIGHT), (_ages(week), USE_HEIGHT, AGE_HEIGHT)):
        drawing: Element = chart.render_tree()
        _strip(drawing)
        drawing.attrib.update(x="0", y=str(top), width=str(WIDTH), height=str(chart_height))
        picture.append(drawing)
    path.write_text(tostring(picture, encoding="unicode") + "\n")


def _use(week: Week) -> Any:
    options = week.options
    title = f"{_number(options.accounts)} accounts, {_number(options.per_hour)} calls an hour: {_policy(week)}"
    chart = pygal.StackedBar(
        **_common(week, USE_HEIGHT, title, _LANE_COLORS),
        legend_at_bottom_columns=5,
        range=(0, options.per_hour),
        y_labels=[options.per_hour * rank // 4 for rank in range(5)],
    )
    for lane, name in _NAMES.items():
        chart.add(name, [hour[lane] or None for hour in week.supplier.by_hour])
    calls_by_hour = [sum(hour.values()) for hour in week.supplier.by_hour]
    unused = [
        max(0, options.per_hour - calls) if hour in week.troubled_hours else None
        for hour, calls in enumerate(calls_by_hour)
    ]
    chart.add("supplier down or refusing", unused)
    return chart


def _ages(week: Week) -> Any:
    oldest = 1 + max(hour["max"] for ages in week.freshness.values() for hour in ages)
    chart = pygal.Line(
        **_common(week, AGE_HEIGHT, "Days since the newest reading of an account", _AGE_COLORS),
        legend_at_bottom_columns=4,
        show_dots=False,
        range=(0, oldest),
        y_labels=list(range(0, oldest + 1, 1 + oldest // 8)),
    )
    for series, name in ((Series.DAILY, "daily values"), (Series.LOAD_CURVE, "load curve")):
        ages = week.freshness[series]
        chart.add(f"{name}: median", [hour["p50"] for hour in ages], stroke_style={"width": 2})
        chart.add(f"{name}: oldest", [hour["max"] for hour in ages], stroke_style={"width": 2, "dasharray": "5, 4"})
    return chart


def _common(week: Week, height: int, title: str, colors: tuple[str, ...]) -> dict[str, Any]:
    hours = week.options.hours
    labels = [f"{FIRST_DAY + hour // 24 * ONE_DAY:%a}" if hour % 24 == 0 else "" for hour in range(hours)]
    style = Style(
        background="#ffffff",
        plot_background="#ffffff",
        colors=colors,
        opacity="1",
        guide_stroke_color="#dddddd",
        major_guide_stroke_color="#dddddd",
        font_family="sans-serif",
        title_font_size=15,
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=12,
    )
    return {
        "width": WIDTH,
        "height": height,
        "title": title,
        "style": style,
        "js": (),
        "x_labels": labels,
        "truncate_label": -1,
        "truncate_legend": -1,
        "show_x_guides": False,
        "legend_at_bottom": True,
        "legend_box_size": 10,
        "spacing": 4,
        "margin": 10,
        "value_formatter": _number,
        "disable_xml_declaration": True,
    }


def _strip(drawing: Element) -> None:
    """Remove comments and what only scripts would use, such as the values under each bar."""
    for parent in drawing.iter():
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in ("desc", "script"):
                parent.remove(child)


def _policy(week: Week) -> str:
    text = describe_policy(week.plan.policy)
    return text if week.plan.fits else f"{text}, and still too many"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")
