"""Pretend homes: a meter number and a seed always give the same household with the same measures.

The energy of a day is the sum of its uses (base load, meals and evenings, heating, hot water); the curve distributes
it over the hours in which French households use it.  So the curve adds up to the daily value exactly, and a year of
daily values takes a few milliseconds because it needs no curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from worker.domain.measures.readings import day_length
from worker.simulator.homes.series import HALF_HOUR, Point, apportion, step_ends

_MORNING, _NOON, _EVENING = (7.5, 1.2), (12.6, 1.0), (20.0, 2.2)  # Hour and width of the day's peaks.


def _bell_curve(centre: float, width: float) -> list[float]:
    return [math.exp(-(((half_hour / 2 + 0.25 - centre) / width) ** 2)) for half_hour in range(48)]


def _weights_of_day(*peaks: tuple[float, tuple[float, float]]) -> tuple[int, ...]:
    """Return weights of the 48 half-hours of the clock, which add up to a million."""
    curves = [(weight, _bell_curve(*peak)) for weight, peak in peaks]
    raw = [sum(weight * curve[slot] for weight, curve in curves) for slot in range(48)]
    return tuple(round(1_000_000 * value / sum(raw)) for value in raw)


_WORKDAY: Final = _weights_of_day((1.0, _MORNING), (0.5, _NOON), (2.0, _EVENING))
_WEEKEND: Final = _weights_of_day((0.9, (9.5, 1.6)), (1.3, (13.0, 1.5)), (1.8, _EVENING))
_HEATING: Final = _weights_of_day((1.5, (7.0, 2.0)), (2.0, (20.5, 3.0)), (1.0, (13.0, 9.0)))
_OFF_PEAK: Final = _weights_of_day((1.0, (1.5, 0.9)), (0.6, (23.6, 0.5)))
_FLAT: Final = (20_833,) * 48


@dataclass(frozen=True, slots=True)
class _Household:
    """Size of each use of one household.

    ``base_w`` covers stand-by and fridge.  The others are in Wh: meals per day, heating per degree and day, hot
    water per day.  ``away_from`` is the day of the year on which two weeks of holiday begin.
    """

    base_w: int
    meals_wh: int
    heating_wh: int
    water_wh: int
    activated_on: date
    away_from: int


class PretendHome:
    """One pretend household; one that does not consume only feeds in, without any values of it."""

    def __init__(self, usage_point: str, seed: int, consumes: bool = True) -> None:
        self.consumes = consumes
        self._seed = f"{seed}:{usage_point}".encode()
        self._household = _draw_household(blake2b(self._seed, digest_size=8).digest())

    @property
    def activated_on(self) -> date:
        """Start of the contract; no measures exist before."""
        return self._household.activated_on

    @property
    def feeds_in(self) -> bool:
        """Whether it is a meter of production."""
        return not self.consumes

    def production(self, day: date) -> None:
        """Return None: no production is invented."""

    def daily(self, day: date) -> int | None:
        """Return the Wh of a day; None before the contract."""
        if not self.consumes or day < self.activated_on:
            return None
        return sum(wh for wh, _ in self._parts(day, self._noise(day)))

    def curve(self, day: date) -> list[Point]:
        """Return the half-hours of a day; their watts are even, so that each is a whole number of watt-hours."""
        wh = self.daily(day)
        if wh is None:
            return []
        noise = self._noise(day)
        parts = self._parts(day, noise)
        ends = step_ends(day, HALF_HOUR)
        slots = _clock_slots(day)
        # Noise is 0 to 255, so adding 192 keeps the largest factor below 2.4 times the smallest.
        weights = [
            sum(part * shape[slot] for part, shape in parts) * (192 + noise[rank % len(noise)])
            for rank, slot in enumerate(slots)
        ]
        shares = apportion(wh, weights)
        return [Point(end, label, HALF_HOUR, 2 * share) for (end, label), share in zip(ends, shares, strict=True)]

    def _noise(self, day: date) -> bytes:
        """Return 64 numbers from 0 to 255 that depend on this home and day alone."""
        return blake2b(_day_traits(day).name, key=self._seed[:64]).digest()

    def _parts(self, day: date, noise: bytes) -> list[tuple[int, tuple[int, ...]]]:
        """Return the energy of each use, in Wh, with its weights of the 48 half-hours."""
        home, traits = self._household, _day_traits(day)
        on_holiday = 0 <= traits.of_year - home.away_from < 14
        daily_variation = 205 + noise[60] * 102 // 255  # In 256ths: 0.80 to 1.20.
        meals = 0 if on_holiday else home.meals_wh * daily_variation * (5 if traits.weekend else 4) // 1024
        heating = int(home.heating_wh * traits.cold * (0.4 if on_holiday else 1.0)) * daily_variation // 256
        water = 0 if on_holiday else home.water_wh * (205 + noise[61] * 102 // 255) // 256
        return [
            (home.base_w * traits.hours, _FLAT),
            (meals, _WEEKEND if traits.weekend else _WORKDAY),
            (heating, _HEATING),
            (water, _OFF_PEAK),
        ]


class _DayTraits(NamedTuple):
    """Facts of a day that all homes share; ``cold``: degrees below the temperature at which heating begins."""

    name: bytes
    of_year: int
    hours: int
    weekend: bool
    cold: float


@lru_cache(maxsize=4096)
def _day_traits(day: date) -> _DayTraits:
    return _DayTraits(
        name=day.isoformat().encode(),
        of_year=day.timetuple().tm_yday,
        hours=day_length(day) // timedelta(hours=1),
        weekend=day.weekday() >= 5,
        cold=max(0.0, 16.5 - outside_celsius(day)),
    )


def outside_celsius(day: date) -> float:
    """Return the mean outside temperature, the same for all homes: a French year with spells of about a week."""
    season = 12.0 - 8.0 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 18) / 365.25)
    week, rest = divmod(day.toordinal(), 7)
    weekly_change = _warmth_of_week(week) * (7 - rest) / 7 + _warmth_of_week(week + 1) * rest / 7
    return season + weekly_change + (_hash(f"day {day.toordinal()}")[0] / 255 - 0.5) * 3


def _warmth_of_week(week: int) -> float:
    return (_hash(f"week {week}")[0] / 255 - 0.5) * 9


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def _draw_household(digest: bytes) -> _Household:
    people = 1 + digest[0] % 5
    electric_heating = digest[1] < 100  # About four homes in ten.
    return _Household(
        base_w=60 + digest[2] % 120,
        meals_wh=1_200 + people * (900 + digest[3] * 2),
        heating_wh=500 + digest[4] * 3 if electric_heating else 30,
        water_wh=people * (500 + digest[5] * 2) if digest[6] < 128 else 0,
        activated_on=date(2007 + digest[2] % 6, 1 + digest[3] % 12, 1 + digest[4] % 28),
        away_from=190 + digest[5] % 40,
    )


@lru_cache(maxsize=4096)
def _clock_slots(day: date) -> Sequence[int]:
    """Return for each half-hour of the day its half-hour of the clock; the autumn hour comes twice."""
    slots = []
    for _, label in step_ends(day, HALF_HOUR):
        hour, minute = int(label[11:13]), int(label[14:16])
        slots.append((hour * 2 + minute // 30 - 1) % 48)
    return tuple(slots)
