"""Pretend homes: for any meter number the same household, day after day and run after run.

A day's energy is the sum of its parts (base load, meals and evenings, heating, hot water); the
curve shares it out by the hours in which French households use it.  So the curve adds up to the daily value exactly,
and a year of daily values costs a few milliseconds, for no curve is made.
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
from worker.simulator.homes.series import HALF_HOUR, Direction, Point, apportion, step_ends

_MORNING, _NOON, _EVENING = (7.5, 1.2), (12.6, 1.0), (20.0, 2.2)  # hour and width of the day's peaks


def _bell(centre: float, width: float) -> list[float]:
    return [math.exp(-(((half_hour / 2 + 0.25 - centre) / width) ** 2)) for half_hour in range(48)]


def _shape(*weighted: tuple[float, tuple[float, float]]) -> tuple[int, ...]:
    """Weights of the 48 half-hours of the clock, a million in all."""
    bells = [(weight, _bell(*peak)) for weight, peak in weighted]
    raw = [sum(weight * bell[slot] for weight, bell in bells) for slot in range(48)]
    return tuple(round(1_000_000 * value / sum(raw)) for value in raw)


_WORKDAY: Final = _shape((1.0, _MORNING), (0.5, _NOON), (2.0, _EVENING))
_WEEKEND: Final = _shape((0.9, (9.5, 1.6)), (1.3, (13.0, 1.5)), (1.8, _EVENING))
_HEATING: Final = _shape((1.5, (7.0, 2.0)), (2.0, (20.5, 3.0)), (1.0, (13.0, 9.0)))
_OFF_PEAK: Final = _shape((1.0, (1.5, 0.9)), (0.6, (23.6, 0.5)))
_FLAT: Final = (20_833,) * 48


@dataclass(frozen=True, slots=True)
class _Household:
    """``base_w``: stand-by and fridge; the others in Wh: meals a day, heating a degree and day, hot water a day."""

    base_w: int
    meals_wh: int
    heating_wh: int
    water_wh: int
    panels_wh: int
    activated_on: date
    away_from: int  # day of the year on which two weeks of holiday begin


class PretendHome:
    """One pretend household; ``directions`` says whether it consumes, produces or does both."""

    def __init__(
        self,
        usage_point: str,
        seed: int,
        directions: frozenset[Direction] = frozenset({Direction.CONSUMPTION}),
    ) -> None:
        self._directions = directions
        self._seed = f"{seed}:{usage_point}".encode()
        self._household = _household(blake2b(self._seed, digest_size=8).digest())

    @property
    def activated_on(self) -> date:
        return self._household.activated_on

    def measures(self, direction: Direction) -> bool:
        return direction in self._directions

    def daily(self, direction: Direction, day: date) -> int | None:
        if not self.measures(direction) or day < self.activated_on:
            return None
        noise = self._noise(day)
        if direction is Direction.PRODUCTION:
            return self._panels_wh(day, noise)
        return sum(wh for wh, _ in self._parts(day, noise))

    def curve(self, direction: Direction, day: date) -> list[Point]:
        """Half-hours; even watts, so that each is a whole number of watt-hours."""
        wh = self.daily(direction, day)
        if wh is None:
            return []
        noise = self._noise(day)
        parts = [(wh, _daylight(day))] if direction is Direction.PRODUCTION else self._parts(day, noise)
        ends = step_ends(day, HALF_HOUR)
        slots = _clock_slots(day)
        # +192: the noisiest half-hour is at most a bit more than twice the calmest
        weights = [
            sum(part * shape[slot] for part, shape in parts) * (192 + noise[rank % len(noise)])
            for rank, slot in enumerate(slots)
        ]
        shares = apportion(wh, weights)
        return [Point(end, label, HALF_HOUR, 2 * share) for (end, label), share in zip(ends, shares, strict=True)]

    def _noise(self, day: date) -> bytes:
        """64 numbers from 0 to 255 that belong to this home and day."""
        return blake2b(_calendar(day).name, key=self._seed[:64]).digest()

    def _parts(self, day: date, noise: bytes) -> list[tuple[int, tuple[int, ...]]]:
        """Energy of each use, in Wh, with the hours it falls into."""
        home, today = self._household, _calendar(day)
        away = 0 <= today.of_year - home.away_from < 14
        mood = 205 + noise[60] * 102 // 255  # 0.80 to 1.20 of 256
        meals = 0 if away else home.meals_wh * mood * (5 if today.weekend else 4) // 1024
        heating = int(home.heating_wh * today.cold * (0.4 if away else 1.0)) * mood // 256
        water = 0 if away else home.water_wh * (205 + noise[61] * 102 // 255) // 256
        return [
            (home.base_w * today.hours, _FLAT),
            (meals, _WEEKEND if today.weekend else _WORKDAY),
            (heating, _HEATING),
            (water, _OFF_PEAK),
        ]

    def _panels_wh(self, day: date, noise: bytes) -> int:
        season = 0.62 - 0.45 * math.cos(2 * math.pi * (day.timetuple().tm_yday + 10) / 365.25)
        sky = 0.15 + 0.85 * noise[62] / 255
        return int(self._household.panels_wh * season * sky)


class _Day(NamedTuple):
    """What is the same for all homes; ``cold``: degrees below the warmth at which heating begins."""

    name: bytes
    of_year: int
    hours: int
    weekend: bool
    cold: float


@lru_cache(maxsize=4096)
def _calendar(day: date) -> _Day:
    return _Day(
        name=day.isoformat().encode(),
        of_year=day.timetuple().tm_yday,
        hours=day_length(day) // timedelta(hours=1),
        weekend=day.weekday() >= 5,
        cold=max(0.0, 16.5 - outside_celsius(day)),
    )


def outside_celsius(day: date) -> float:
    """The same weather for all: a French year with mild and cold spells of about a week."""
    season = 12.0 - 8.0 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 18) / 365.25)
    week, rest = divmod(day.toordinal(), 7)
    spell = _spell(week) * (7 - rest) / 7 + _spell(week + 1) * rest / 7
    return season + spell + (_hash(f"day {day.toordinal()}")[0] / 255 - 0.5) * 3


def _spell(week: int) -> float:
    return (_hash(f"week {week}")[0] / 255 - 0.5) * 9


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def _household(luck: bytes) -> _Household:
    people = 1 + luck[0] % 5
    electric_heating = luck[1] < 100  # about four homes in ten
    return _Household(
        base_w=60 + luck[2] % 120,
        meals_wh=1_200 + people * (900 + luck[3] * 2),
        heating_wh=500 + luck[4] * 3 if electric_heating else 30,
        water_wh=people * (500 + luck[5] * 2) if luck[6] < 128 else 0,
        panels_wh=9_000 + luck[7] * 40,
        activated_on=date(2007 + luck[2] % 6, 1 + luck[3] % 12, 1 + luck[4] % 28),
        away_from=190 + luck[5] % 40,
    )


@lru_cache(maxsize=4096)
def _clock_slots(day: date) -> Sequence[int]:
    """Which half-hour of the clock each half-hour of the day is; the autumn hour counts twice."""
    slots = []
    for _, label in step_ends(day, HALF_HOUR):
        hour, minute = int(label[11:13]), int(label[14:16])
        slots.append((hour * 2 + minute // 30 - 1) % 48)
    return tuple(slots)


@lru_cache(maxsize=4096)
def _daylight(day: date) -> tuple[int, ...]:
    half_width = 2.6 - 0.9 * math.cos(2 * math.pi * (day.timetuple().tm_yday + 10) / 365.25)
    shape = _shape((1.0, (13.5, half_width)))
    return tuple(weight if weight > 500 else 0 for weight in shape)
