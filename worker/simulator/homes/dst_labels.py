"""Other ways in which a supplier may label the two clock-change days.

No recorded Data Connect answer of such a day is known (upstream-apis, 1.7), so clients must stand all of these.
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
    """The points of ``day`` in one of the styles of ``MeterSwitches.dst_labels``; other days stay as they are."""
    if style not in _STYLES or day_length(day) == ONE_DAY:
        return list(points)
    return _STYLES[style](points)


def _summer_end(points: Sequence[Point]) -> list[Point]:
    """The end is the local start plus the step, so the repeated hour reads 02:30, 03:00, 02:30, 03:00."""
    return [point._replace(label=_start_plus_step(point)) for point in points]


def _start_plus_step(point: Point) -> str:
    step = timedelta(minutes=point.minutes)
    if not _second_pass(point) and not _ends_second_pass(point):
        return point.label
    start = (point.end - step).astimezone(PARIS).replace(tzinfo=None)
    return (start + step).isoformat(" ", "seconds")


def _drop_repeated(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if not _second_pass(point)]


def _wall_clock(points: Sequence[Point]) -> list[Point]:
    """48 labels on both days: the autumn hour holds the mean of its two passes, the spring hour nothing used."""
    second = {point.label: point for point in points if _second_pass(point)}
    merged = [
        point._replace(watts=(point.watts + second[point.label].watts) // 2) if point.label in second else point
        for point in _drop_repeated(points)
    ]
    filled = merged[:1]
    for earlier, later in pairwise(merged):
        filled += _skipped(earlier, later)
        filled.append(later)
    return filled


def _skipped(earlier: Point, later: Point) -> list[Point]:
    """Points for the labels that the clock skips between two neighbours."""
    step = timedelta(minutes=later.minutes)
    label, last = datetime.fromisoformat(earlier.label) + step, datetime.fromisoformat(later.label)
    if later.end - earlier.end != step or last - label >= _HOUR + step:
        return []
    skipped = []
    while label < last:
        skipped.append(later._replace(label=label.isoformat(" ", "seconds"), watts=0))
        label += step
    return skipped


def _second_pass(point: Point) -> bool:
    return point.end.astimezone(PARIS).fold == 1


def _ends_second_pass(point: Point) -> bool:
    """Whether its end is where the repeated hour ends, or where it begins again."""
    return (point.end - timedelta(minutes=point.minutes)).astimezone(PARIS).fold == 1


_STYLES: Final[Mapping[str, Callable[[Sequence[Point]], list[Point]]]] = {
    "summer_end": _summer_end,
    "wall_clock": _wall_clock,
    "drop_repeated": _drop_repeated,
}
