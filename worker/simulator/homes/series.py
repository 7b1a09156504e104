"""Points of a meter's load curve, and arithmetic on the points of one day.

A *point* is the mean power over one step, stamped with its end.  All arithmetic keeps the energy of a day: the parts
add up to the total, to the watt-hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from worker.domain.measures.readings import PARIS, day_length, local_midnight

Number = int | float
HALF_HOUR: Final = 30
STEPS: Final = (5, 10, 15, 30, 60)  # In minutes: the step lengths that Enedis publishes.


class Point(NamedTuple):
    """Point of a load curve.

    ``end`` is in UTC; ``label`` is the same moment as answers write it, in naive local time.  ``nature``,
    ``likelihood`` and ``state`` are Enedis' quality marks.
    """

    end: datetime
    label: str
    minutes: int
    watts: Number
    nature: str = "B"
    likelihood: str = "0"
    state: str = "0"


def to_label(end: datetime) -> str:
    """Return a moment as answers write it; without an offset, so the labels of the autumn hour come twice."""
    return end.astimezone(PARIS).replace(tzinfo=None).isoformat(" ", "seconds")


@lru_cache(maxsize=8192)
def step_ends(day: date, minutes: int) -> tuple[tuple[datetime, str], ...]:
    """Return end and label of every step of a day: 46, 48 or 50 half-hours."""
    first = local_midnight(day).astimezone(UTC)
    ends = (
        first + timedelta(minutes=minutes * rank)
        for rank in range(1, day_length(day) // timedelta(minutes=minutes) + 1)
    )
    return tuple((end, to_label(end)) for end in ends)


def energy_wh(points: Sequence[Point]) -> Number:
    """Return the energy of the points in Wh, as an int where it is whole."""
    total = sum(point.watts * point.minutes for point in points) / 60
    return int(total) if total == int(total) else total


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return ``total`` divided in proportion to ``weights``, in whole numbers that add up to it exactly."""
    whole = sum(weights)
    if not whole:
        return apportion(total, [1] * len(weights)) if weights else []
    bounds = [total * mark // whole for mark in accumulate(weights, initial=0)]
    return [later - earlier for earlier, later in pairwise(bounds)]


def rescale(points: Sequence[Point], wh: int) -> list[Point]:
    """Return the points with the same shape and the energy ``wh``."""
    shares = apportion(wh, [int(point.watts * point.minutes) for point in points])
    return [point._replace(watts=_watts(share, point.minutes)) for point, share in zip(points, shares, strict=True)]


def regroup(day: date, points: Sequence[Point], minutes: int) -> list[Point]:
    """Return half-hours as steps of another length."""
    regrouped: list[Point] = []
    for hour in range(len(points) // 2):
        pair = points[2 * hour : 2 * hour + 2]
        ends = step_ends(day, minutes)[hour * 60 // minutes : (hour + 1) * 60 // minutes]
        shares = _split_hour([int(point.watts) // 2 for point in pair], len(ends))
        for (end, label), share in zip(ends, shares, strict=True):
            regrouped.append(Point(end, label, minutes, _watts(share, minutes)))
    return regrouped


def _split_hour(halves: Sequence[int], parts: int) -> list[int]:
    """Divide the energy of two half-hours into ``parts`` equal spans."""
    if parts == 1:
        return [sum(halves)]
    return [share for half in halves for share in apportion(half, [1] * (parts // 2))]


def _watts(wh: int, minutes: int) -> Number:
    return wh * (60 // minutes)
