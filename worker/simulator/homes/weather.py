"""Pretend weather, the same for all homes: a French year with spells of about a week."""

from __future__ import annotations

import math
from datetime import date
from functools import lru_cache
from hashlib import blake2b


def outside_celsius(day: date) -> float:
    """Return the mean outside temperature of a day."""
    season = 12.0 - 8.0 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 18) / 365.25)
    week, rest = divmod(day.toordinal(), 7)
    weekly_change = _warmth_of_week(week) * (7 - rest) / 7 + _warmth_of_week(week + 1) * rest / 7
    return season + weekly_change + (_draw(f"day {day.toordinal()}") - 0.5) * 3


def clearness(day: date) -> float:
    """Return the share of the sun's light that the clouds let through: 0.1 to 1."""
    week, rest = divmod(day.toordinal(), 7)
    spell = (_draw(f"clouds week {week}") * (7 - rest) + _draw(f"clouds week {week + 1}") * rest) / 7
    return 0.1 + 0.9 * (0.6 * spell + 0.4 * _draw(f"clouds day {day.toordinal()}"))


def _warmth_of_week(week: int) -> float:
    return (_draw(f"week {week}") - 0.5) * 9


@lru_cache(maxsize=8192)
def _draw(text: str) -> float:
    """Return a number from 0 to 1 that depends on the text alone."""
    return blake2b(text.encode(), digest_size=8).digest()[0] / 255
