"""Pretend homes: a meter number and a seed always give the same household with the same measures.

The energy of a day is the sum of its uses (base load, meals and evenings, heating, hot water); the curve distributes
it over the hours in which French households use it.  So the curve adds up to the daily value exactly, and a year of
daily values takes a few milliseconds because it needs no curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from worker.domain.measures.readings import day_length
from worker.simulator.homes.contracts import OFF_PEAK_HOURS, SUBSCRIBED_KVA, TEMPO_HOURS, Contract, Tariff
from worker.simulator.homes.panels import fed_in, production_curve
from worker.simulator.homes.series import HALF_HOUR, Point, apportion, step_ends
from worker.simulator.homes.weather import outside_celsius

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
_COLD_DAY: Final = date(2024, 1, 10)


@dataclass(frozen=True, slots=True)
class _Household:
    """Size of each use of one household.

    ``base_w`` covers stand-by and fridge.  The others are in Wh: meals per day, heating per degree and day, hot
    water per day.  ``away_from`` is the day of the year on which two weeks of holiday begin.  ``panels_wp``: peak power
    of the panels, in W.
    """

    base_w: int
    meals_wh: int
    heating_wh: int
    water_wh: int
    activated_on: date
    away_from: int
    panels_wp: int
    meter_installed_on: date


class HighestPower(NamedTuple):
    """Maximum power of a day: VA, and its instant in UTC."""

    volt_amperes: int
    at: datetime


@dataclass(frozen=True)
class PretendHome:
    """One pretend household.

    ``consumes``: whether its meter measures what it draws.  ``panels_wp``: peak power of its panels in W; None for what
    the draw gives it, which is panels for one home in eight.
    """

    usage_point: str
    seed: int
    consumes: bool = True
    panels_wp: int | None = None

    @property
    def activated_on(self) -> date:
        """Start of the contract; no measures exist before."""
        return self._household.activated_on

    @property
    def meter_installed_on(self) -> date:
        """The day on which its communicating meter began to count, from zero."""
        return self._household.meter_installed_on

    @property
    def feeds_in(self) -> bool:
        """Whether it has panels."""
        return self._peak_power_wp > 0

    @cached_property
    def contract(self) -> Contract:
        """The contract of the start; its power is what the home needs on a cold day."""
        digest = blake2b(self._key + b" contract", digest_size=4).digest()
        tariff = (Tariff.BASE, Tariff.BASE, Tariff.OFF_PEAK, Tariff.OFF_PEAK, Tariff.TEMPO)[digest[0] % 5]
        hours = {
            Tariff.BASE: None,
            Tariff.OFF_PEAK: OFF_PEAK_HOURS[digest[1] % len(OFF_PEAK_HOURS)],
            Tariff.TEMPO: TEMPO_HOURS,
        }
        highest_w = max((point.watts for point in self.curve(_COLD_DAY)), default=0)
        power = next((kva for kva in SUBSCRIBED_KVA if highest_w * 2.2 + 1_000 <= kva * 1_000), SUBSCRIBED_KVA[-1])
        return Contract(self.activated_on, power, tariff, hours[tariff])

    def daily(self, day: date) -> int | None:
        """Return the Wh of a day; None before the contract."""
        if not self.consumes or day < self.activated_on:
            return None
        return sum(wh for wh, _ in self._parts(day, self._noise(day)))

    def production(self, day: date) -> int | None:
        """Return the Wh fed in on a day; None without panels and before the contract."""
        if not self.feeds_in or day < self.activated_on:
            return None
        return fed_in(self._peak_power_wp, day)

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

    def production_curve(self, day: date) -> list[Point]:
        """Return the half-hours of what is fed in on a day; their watts are even, and 0 at night."""
        wh = self.production(day)
        return [] if wh is None else production_curve(wh, day, self._noise(day))

    def peak(self, day: date, half_hours: Sequence[Point], subscribed_kva: int) -> HighestPower:
        """Return the maximum power of a day with these half-hours, at an instant inside the highest of them.

        It is at least the mean of that half-hour, and as a rule no more than the subscribed power.
        """
        noise = self._noise(day)
        highest = max(half_hours, key=lambda point: point.watts)
        mean = int(highest.watts)
        volt_amperes = max(mean, min(mean + mean * noise[62] // 200, subscribed_kva * 1_000))
        before_end = 1 + (noise[59] * 256 + noise[63]) % (HALF_HOUR * 60 - 1)
        return HighestPower(volt_amperes, highest.end - timedelta(seconds=before_end))

    @property
    def _key(self) -> bytes:
        return f"{self.seed}:{self.usage_point}".encode()

    @cached_property
    def _household(self) -> _Household:
        return _draw_household(blake2b(self._key, digest_size=8).digest(), self._key)

    @property
    def _peak_power_wp(self) -> int:
        return self._household.panels_wp if self.panels_wp is None else self.panels_wp

    def _noise(self, day: date) -> bytes:
        """Return 64 numbers from 0 to 255 that depend on this home and day alone."""
        return blake2b(_day_traits(day).name, key=self._key[:64]).digest()

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


def _draw_household(digest: bytes, key: bytes) -> _Household:
    further = blake2b(key + b" panels and meter", digest_size=4).digest()
    people = 1 + digest[0] % 5
    electric_heating = digest[1] < 100  # About four homes in ten.
    return _Household(
        base_w=60 + digest[2] % 120,
        meals_wh=1_200 + people * (900 + digest[3] * 2),
        heating_wh=500 + digest[4] * 3 if electric_heating else 30,
        water_wh=people * (500 + digest[5] * 2) if digest[6] < 128 else 0,
        activated_on=date(2007 + digest[2] % 6, 1 + digest[3] % 12, 1 + digest[4] % 28),
        away_from=190 + digest[5] % 40,
        panels_wp=3_000 + further[1] % 5 * 1_500 if further[0] % 8 == 0 else 0,
        meter_installed_on=date(2018 + further[2] % 3, 1 + further[3] % 12, 1),
    )


@lru_cache(maxsize=4096)
def _clock_slots(day: date) -> Sequence[int]:
    """Return for each half-hour of the day its half-hour of the clock; the autumn hour comes twice."""
    slots = []
    for _, label in step_ends(day, HALF_HOUR):
        hour, minute = int(label[11:13]), int(label[14:16])
        slots.append((hour * 2 + minute // 30 - 1) % 48)
    return tuple(slots)
