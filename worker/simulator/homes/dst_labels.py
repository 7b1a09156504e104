"""Other labels that a supplier may give to the points of the two clock-change days.

No recorded Data Connect answer of such a day is known, so clients must accept all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

from worker.domain.measures.readings import ONE_DAY, PARIS, day_length
from worker.simulator.homes.series import Point

_HOUR: Final = timedelta(hours=1)


def relabel(style: str, day: date, points: Sequence[Point]) -> list[Point]:
    """Return the points of ``day`` in a style of ``MeterSwitches.dst_labels``; other days stay as they are."""
    if style not in _STYLES or day_length(day) == ONE_DAY:
        return list(points)
    return _STYLES[style](points)


def _label_summer_end(points: Sequence[Point]) -> list[Point]:
    """Label each end as local start plus step, so that the repeated hour reads 02:30, 03:00, 02:30, 03:00."""
    return [point._replace(label=_start_plus_step(point)) for point in points]


def _start_plus_step(point: Point) -> str:
    step = timedelta(minutes=point.minutes)
    if not _is_second_pass(point) and not _starts_in_second_pass(point):
        return point.label
    start = (point.end - step).astimezone(PARIS).replace(tzinfo=None)
    return (start + step).isoformat(" ", "seconds")


def _drop_repeated_hour(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if not _is_second_pass(point)]


def _label_wall_clock(points: Sequence[Point]) -> list[Point]:
    """Return 48 labels on both days: the autumn hour has the mean of its two passes, the spring hour 0 W."""
    second = {point.label: point for point in points if _is_second_pass(point)}
    merged = [
        point._replace(watts=(point.watts + second[point.label].watts) // 2) if point.label in second else point
        for point in _drop_repeated_hour(points)
    ]
    filled = merged[:1]
    for earlier, later in pairwise(merged):
        filled += _fill_skipped_labels(earlier, later)
        filled.append(later)
    return filled


def _fill_skipped_labels(earlier: Point, later: Point) -> list[Point]:
    """Return points of 0 W for the labels that the clock skips between two neighbours."""
    step = timedelta(minutes=later.minutes)
    label, last = datetime.fromisoformat(earlier.label) + step, datetime.fromisoformat(later.label)
    if later.end - earlier.end != step or last - label >= _HOUR + step:
        return []
    skipped = []
    while label < last:
        skipped.append(later._replace(label=label.isoformat(" ", "seconds"), watts=0))
        label += step
    return skipped


def _is_second_pass(point: Point) -> bool:
    return point.end.astimezone(PARIS).fold == 1


def _starts_in_second_pass(point: Point) -> bool:
    """Return whether the point's step starts in the second pass of the repeated hour."""
    return (point.end - timedelta(minutes=point.minutes)).astimezone(PARIS).fold == 1


_STYLES: Final[Mapping[str, Callable[[Sequence[Point]], list[Point]]]] = {
    "summer_end": _label_summer_end,
    "wall_clock": _label_wall_clock,
    "drop_repeated": _drop_repeated_hour,
}
