"""Contracts of pretend homes: subscribed power, tariff, and the tariff period of each half-hour.

Names of calendars and periods as Enedis' index files have them; the distributor's tariffs as contract answers do.  The
identifier of the supplier's calendar without periods is invented, as are the labels that no source shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.simulator.homes.series import HALF_HOUR, Point, step_ends
from worker.simulator.homes.weather import outside_celsius

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
    """What holds from the day ``since`` on; ``off_peak_hours`` is None where the tariff has none."""

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
    """Return BU (blue), BC (white) or R (red): invented, by the cold; red on weekdays from November to March alone."""
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
