"""Sun and panels: what a pretend home feeds in, by season, time of day and weather.

All that the panels make is fed in, so consumption and production do not depend on each other.  The sun's height goes by
the instant, not by the clock: a change of the clock moves no energy.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from worker.simulator.homes.series import HALF_HOUR, Point, apportion, step_ends
from worker.simulator.homes.weather import clearness

_LATITUDE: Final = math.radians(47.0)  # The middle of France.
_LONGITUDE_HOURS: Final = 2.4 / 15  # How much earlier than in Greenwich the sun is highest.
_EFFICIENCY: Final = 0.8  # Of panels, cables and inverter.
SMALLEST_WP: Final = 100  # Below it, a dark day would round to nothing.
LARGEST_WP: Final = 36_000


def fed_in(panels_wp: int, day: date) -> int:
    """Return the Wh that panels of this peak power (in W) feed in on a day."""
    sun_hours = sum(_sun_heights(day)) / 2 / 1_000
    return int(panels_wp * sun_hours * _EFFICIENCY * clearness(day))


def production_curve(wh: int, day: date, noise: bytes) -> list[Point]:
    """Return the half-hours of a day that add up to ``wh``; their watts are even, and 0 while the sun is down.

    ``noise``: numbers from 0 to 255, which stand for passing clouds.
    """
    weights = [height * (192 + noise[rank % len(noise)]) for rank, height in enumerate(_sun_heights(day))]
    shares = apportion(wh, weights)
    ends = step_ends(day, HALF_HOUR)
    return [Point(end, label, HALF_HOUR, 2 * share) for (end, label), share in zip(ends, shares, strict=True)]


@lru_cache(maxsize=8192)
def _sun_heights(day: date) -> tuple[int, ...]:
    """Return the sine of the sun's height in the middle of each half-hour, in thousandths; 0 while it is down."""
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (day.timetuple().tm_yday + 10) / 365.25)
    middles = (end - timedelta(minutes=HALF_HOUR / 2) for end, _ in step_ends(day, HALF_HOUR))
    return tuple(_sun_height(middle, declination) for middle in middles)


def _sun_height(moment: datetime, declination: float) -> int:
    """Return the sine of the sun's height at a moment in UTC, in thousandths; 0 while it is down."""
    hours = moment.hour + moment.minute / 60 + _LONGITUDE_HOURS
    hour_angle = math.radians(15 * (hours - 12))
    at_noon = math.cos(_LATITUDE) * math.cos(declination)
    sine = math.sin(_LATITUDE) * math.sin(declination) + at_noon * math.cos(hour_angle)
    return max(0, round(1_000 * sine))
