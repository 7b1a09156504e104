"""Pretend homes: a meter number and a seed always give the same household with the same measures.

The energy of a day is the sum of its uses (base load, meals and evenings, heating, hot water); the curve distributes
it over the hours in which French households use it.  So the curve adds up to the daily value exactly, and a year of
daily values takes a few milliseconds because it needs no curve.  A *point* of the curve is the mean power over one
step, stamped with its end.  All arithmetic keeps the energy of a day: the parts add up to the total, to the watt-hour.

The weather is the same for all homes: a French year with spells of about a week.  All that the panels make is fed in,
so consumption and production do not depend on each other.  The sun's height goes by the instant, not by the clock: a
change of the clock moves no energy.

A contract has subscribed power, tariff, and the tariff period of each half-hour.  Names of calendars and periods are as
Enedis' index files have them; the distributor's tariffs as contract answers do.  The identifier of the supplier's
calendar without periods is invented, as are the labels that no source shows.

The registers of a meter show sums of its half-hours by tariff period, to the watt-hour.  The months that no correction
touches are summed once a home, for a meter counts over years.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from worker.domain.series import Direction
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length, local_midnight

Number = int | float
HALF_HOUR: Final = 30
STEPS: Final = (5, 10, 15, 30, 60)  # In minutes: the step lengths that Enedis publishes.
_LATITUDE: Final = math.radians(47.0)  # The middle of France.
_LONGITUDE_HOURS: Final = 2.4 / 15  # How much earlier than in Greenwich the sun is highest.
_EFFICIENCY: Final = 0.8  # Of panels, cables and inverter.
SMALLEST_WP: Final = 100  # Below it, a dark day would round to nothing.
LARGEST_WP: Final = 36_000
SUBSCRIBED_KVA: Final = (3, 6, 9, 12)
OFF_PEAK_HOURS: Final = (
    "HC (22H00-6H00)",
    "HC (23h00-7h00)",
    "HC (2H00-7H00;12h30-15h30)",
    "HC (1H30-8H00;12H30-14H00)",
)
TEMPO_HOURS: Final = "HC (22H00-6H00)"
_RANGES: Final = re.compile(r"HC \((?P<ranges>[^)]+)\)")
_RANGE: Final = re.compile(r"(\d{1,2})[Hh](\d{2})?-(\d{1,2})[Hh](\d{2})?")
_DAY_BEGINS: Final = time(6)  # A Tempo colour holds from 06:00 to 06:00.


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
    """Return a number from 0 to 1 that depends only on the text."""
    return blake2b(text.encode(), digest_size=8).digest()[0] / 255


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
    """Return the energy of the points in Wh, as an int if it is whole."""
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


class Tariff(StrEnum):
    """Options of a supplier's offer."""

    BASE = "base"
    OFF_PEAK = "off_peak"
    TEMPO = "tempo"


class Calendar(NamedTuple):
    """Calendar of tariff periods; ``periods``: their identifiers and labels, in the order of the meter's registers."""

    number: str
    label: str
    periods: tuple[tuple[str, str], ...]
    tariff_code: str  # The distribution tariff, as v4 and v5 name it.
    tariff_label: str  # The same, as Data Connect 2026 names it.


CALENDARS: Final = {
    Tariff.BASE: Calendar(
        "FC000010",
        "Base",
        (("BASE", "Base"),),
        "BTINFCUST",
        "Tarif BT<=36kVA Courte Utilisation sans différenciation temporelle",
    ),
    Tariff.OFF_PEAK: Calendar(
        "FC000040",
        "Heures Pleines/Creuses",
        (("HC", "Heures Creuses"), ("HP", "Heures Pleines")),
        "BTINFMUDT",
        "Tarif BT<=36kVA Moyenne Utilisation heures pleines heures creuses",
    ),
    Tariff.TEMPO: Calendar(
        "FC000050",
        "6 cadrans",
        (
            ("BUHC", "Bleu Heures Creuses"),
            ("BUHP", "Bleu Heures Pleines"),
            ("BCHC", "Blanc Heures Creuses"),
            ("BCHP", "Blanc Heures Pleines"),
            ("RHC", "Rouge Heures Creuses"),
            ("RHP", "Rouge Heures Pleines"),
        ),
        "BTINFMU4",
        "Tarif BT<=36kVA Moyenne Utilisation heures pleines heures creuses associées à deux saisons",
    ),
}

USUAL_HOURS: Final = {Tariff.BASE: None, Tariff.OFF_PEAK: OFF_PEAK_HOURS[0], Tariff.TEMPO: TEMPO_HOURS}


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract from the day ``since`` on; ``off_peak_hours`` is None if the tariff has none."""

    since: date
    subscribed_kva: int
    tariff: Tariff
    off_peak_hours: str | None

    @property
    def calendar(self) -> Calendar:
        """The supplier's calendar of this tariff."""
        return CALENDARS[self.tariff]

    @property
    def periods(self) -> tuple[str, ...]:
        """The identifiers of the tariff periods."""
        return tuple(name for name, _ in self.calendar.periods)

    def split(self, day: date, points: Sequence[Point]) -> tuple[int, ...]:
        """Return the Wh of each period of a day from its half-hours, in the order of ``periods``."""
        energies = dict.fromkeys(self.periods, 0)
        for point, period in zip(points, _periods_of_day(self.tariff, self.off_peak_hours or "", day), strict=True):
            energies[period] += int(point.watts) // 2
        return tuple(energies.values())


@lru_cache(maxsize=8192)
def _periods_of_day(tariff: Tariff, off_peak_hours: str, day: date) -> tuple[str, ...]:
    """Return the tariff period in force at the beginning of each half-hour of a day."""
    starts = [(end - timedelta(minutes=HALF_HOUR)).astimezone(PARIS) for end, _ in step_ends(day, HALF_HOUR)]
    if tariff is Tariff.BASE:
        return ("BASE",) * len(starts)
    ranges = read_off_peak_hours(off_peak_hours)
    hours = ["HC" if _is_within(ranges, start.time()) else "HP" for start in starts]
    if tariff is Tariff.OFF_PEAK:
        return tuple(hours)
    return tuple(_colour_in_force(start) + hour for start, hour in zip(starts, hours, strict=True))


def _colour_in_force(moment: datetime) -> str:
    day = moment.date()
    return tempo_colour(day if moment.time() >= _DAY_BEGINS else day - ONE_DAY)


def tempo_colour(day: date) -> str:
    """Return BU (blue), BC (white) or R (red): invented, by the cold; red only on weekdays from November to March."""
    cold = outside_celsius(day)
    if day.month in (11, 12, 1, 2, 3) and day.weekday() < 5 and cold < 4.5:
        return "R"
    return "BC" if day.weekday() < 6 and cold < 7.5 else "BU"


def read_off_peak_hours(text: str) -> list[tuple[time, time]]:
    """Return the ranges of a text such as ``HC (2H00-7H00;12h30-14h00)``.  Raises ValueError."""
    match = _RANGES.fullmatch(text)
    ranges = [_RANGE.fullmatch(part.strip()) for part in match["ranges"].split(";")] if match else [None]
    if not all(ranges):
        raise ValueError("off-peak hours look like HC (22H00-6H00) or HC (2H00-7H00;12h30-14h00)")
    numbers = [[int(number or 0) for number in found.groups()] for found in ranges if found]
    return [(time(first, second), time(third, fourth)) for first, second, third, fourth in numbers]


def _is_within(ranges: Sequence[tuple[time, time]], moment: time) -> bool:
    return any(
        start <= moment < end if start < end else moment >= start or moment < end  # It may pass midnight.
        for start, end in ranges
    )


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
        """Return 64 numbers from 0 to 255 that depend only on this home and day."""
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


class RegisterReading(NamedTuple):
    """What a meter shows at the midnight that begins a day.

    ``contract``: that of the registers, whose Wh are in the order of its periods; None if a meter of production
    counts only a total.
    """

    contract: Contract | None
    registers: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one direction of a home's meter.

    ``contracts`` in time order: a change of the tariff starts new registers, the total counts on.  From ``replaced_on``
    a new meter counts from zero.  ``corrected``: the Wh of each of ``corrected_days`` by tariff period; a correction
    moves the registers from that day on.
    """

    home: PretendHome
    direction: Direction
    contracts: Sequence[Contract]
    replaced_on: date | None
    corrected_days: frozenset[date]
    corrected: Callable[[Contract, date], tuple[int, ...]]

    def read(self, window: DateWindow) -> Iterator[tuple[date, RegisterReading]]:
        """Yield the readings of the midnights that begin these days, as far as there is a meter."""
        restarts = {contract.since for contract in self.contracts} | {self.replaced_on}
        reading: RegisterReading | None = None
        for day in window.dates():
            if day < self._first_day:
                continue
            if reading is None or day in restarts:
                reading = self._index(day)
            else:
                energy = self._energy(self._contract_of(day - ONE_DAY), day - ONE_DAY, day)
                registers = _add([reading.registers, energy])
                reading = reading._replace(registers=registers, total=reading.total + sum(energy))
            yield day, reading if self.direction is Direction.CONSUMPTION else reading._replace(contract=None)

    @property
    def _first_day(self) -> date:
        return max(self.home.meter_installed_on, self.contracts[0].since)

    def _contract_of(self, day: date) -> Contract:
        return next(contract for contract in reversed(self.contracts) if contract.since <= day)

    def _index(self, day: date) -> RegisterReading:
        """Return the reading of a midnight, counted from the start of the meter and of its calendar."""
        is_replaced = self.replaced_on is not None and self.replaced_on <= day
        meter_start = self.replaced_on if is_replaced and self.replaced_on else self._first_day
        contract = self._contract_of(day)
        registers, total = (0,) * self._width(contract), 0
        end = day
        same_calendar = True
        for part in reversed([part for part in self.contracts if part.since <= day]):
            same_calendar = same_calendar and part.tariff is contract.tariff
            start = max(part.since, meter_start)
            if start < end:
                energy = self._energy(part, start, end)
                total += sum(energy)
                registers = _add([registers, energy]) if same_calendar else registers
            end = min(end, part.since)
        return RegisterReading(contract, registers, total)

    def _width(self, contract: Contract) -> int:
        return len(contract.periods) if self.direction is Direction.CONSUMPTION else 1

    def _energy(self, contract: Contract, start: date, end: date) -> tuple[int, ...]:
        """Return the Wh between two midnights by tariff period, with the corrections."""
        parts = [energy_between(self.home, self.direction, contract, start, end)]
        for day in self.corrected_days:
            if start <= day < end:
                before = energy_of_day(self.home, self.direction, contract, day)
                after = self.corrected(contract, day)
                parts.append(tuple(new - old for new, old in zip(after, before, strict=True)))
        return _add(parts)


def energy_of_day(home: PretendHome, direction: Direction, contract: Contract, day: date) -> tuple[int, ...]:
    """Return the uncorrected Wh of a day by tariff period; what is fed in has one register."""
    if direction is Direction.PRODUCTION:
        return (home.production(day) or 0,)
    if len(contract.periods) == 1:
        return (home.daily(day) or 0,)
    points = home.curve(day)
    return contract.split(day, points) if points else (0,) * len(contract.periods)


@lru_cache(maxsize=32_768)
def _energy_of_month(
    home: PretendHome, direction: Direction, contract: Contract, year: int, month: int
) -> tuple[int, ...]:
    first = date(year, month, 1)
    return _energy(home, direction, contract, first, _next_month(first))


def _energy(home: PretendHome, direction: Direction, contract: Contract, start: date, end: date) -> tuple[int, ...]:
    """Return the uncorrected Wh of the days from ``start`` to ``end`` (excluded) by tariff period."""
    days = (start + rank * ONE_DAY for rank in range((end - start).days))
    energies = [energy_of_day(home, direction, contract, day) for day in days]
    width = 1 if direction is Direction.PRODUCTION else len(contract.periods)
    return _add([(0,) * width, *energies])


def energy_between(
    home: PretendHome, direction: Direction, contract: Contract, start: date, end: date
) -> tuple[int, ...]:
    """Return the uncorrected Wh between two midnights by tariff period, whole months from memory."""
    parts = []
    while (month := _next_month(start)) <= end:
        if start.day == 1:
            parts.append(_energy_of_month(home, direction, contract, start.year, start.month))
        else:
            parts.append(_energy(home, direction, contract, start, month))
        start = month
    return _add([*parts, _energy(home, direction, contract, start, end)])


def _add(energies: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*energies, strict=True)))


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
