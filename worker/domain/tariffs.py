"""Tariff periods: the energy of each local day by period, from a meter's registers, and the off-peak hours.

An entry of a series of registers has the meter's values at the midnight that begins its day. A day's energy is the
difference between two consecutive midnights; it is unknown if one of these midnights is missing. While the meter and
its calendar of tariff periods stay the same, the registers only count upwards: this is one *sequence*. A new sequence
begins if a register falls, if the calendar changes, or if the total rises by more than a meter can deliver. No
difference is computed across two sequences, so no energy is negative or invented. ``find_breaks`` reports the breaks.

Off-peak hours come in many forms and are stored in one form; a range may span midnight.

    sent        HC (22H00-6H00)    HC (2H00-7H00;12h30-14h00)    HC (23h00-7h30)    hc(22H-6H)
    text form   HC (22H00-6H00)    HC (2H00-7H00;12H30-14H00)    HC (23H00-7H30)    HC (22H00-6H00)

Source: Enedis, swagger customers_upc v5, and answers of v5 and SGE seen in public.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from worker.domain.answers import Json, parse_text
from worker.domain.documents import DAILY_LIMIT_KWH, MILLIWATT_HOURS_PER_WH, Entry
from worker.domain.windows import ONE_DAY

TimeRange = tuple[time, time]  # Start and end; a range whose end comes before its start spans midnight.
# The tariff periods that a Linky displays, by kind of contract.
# Source: the Enedis files and the answers that are listed in docs/reference/simulator.md.
DISPLAYED_PERIODS: Final[Mapping[str, tuple[str, ...]]] = {
    "base": ("BASE",),
    "peak": ("HC", "HP"),
    "tempo": ("BUHC", "BUHP", "BCHC", "BCHP", "RHC", "RHP"),
}
_MOST_WATT_HOURS_A_DAY: Final = 1000 * DAILY_LIMIT_KWH
_OFF_PEAK_HOURS: Final = re.compile(r"(?:HC)? ?\(?([^()]*)\)?", re.IGNORECASE | re.ASCII)
_TIME_RANGE: Final = re.compile(r"(\d{1,2})[H:](\d{2})? ?- ?(\d{1,2})[H:](\d{2})?", re.IGNORECASE | re.ASCII)


class BreakCause(StrEnum):
    """Why a new sequence of registers begins."""

    FELL_BACK = "a register fell back"
    CALENDAR_CHANGED = "the calendar of tariff periods changed"
    METER_REPLACED = "the meter was replaced"  # The total fell, or rose by more than a meter can deliver.


@dataclass(frozen=True, slots=True)
class SequenceBreak:
    """The end of a sequence and the beginning of the next.

    ``last``: the day that begins with the last midnight of the old sequence. ``day``: the day that begins with the
    first midnight of the new sequence. No energy is computed for ``last`` and the following days before ``day``.
    """

    last: date
    day: date
    cause: BreakCause


class DayEnergy(NamedTuple):
    """The energy of one local day in Wh.

    ``by_period``: the energy of each tariff period, in the order of the registers; empty if the supplier only sends the
    total. ``total``: the energy that the meter's total register counted.
    """

    day: date
    by_period: Mapping[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class MonthEnergy:
    """The sums of the days of a month, such as "2024-07", in Wh.

    ``days``: the number of days whose energy is known. ``lacking``: the number of past days whose energy is unknown.
    """

    month: str
    by_period: Mapping[str, int]
    total: int
    days: int
    lacking: int


def day_energies(entries: Sequence[Entry]) -> Iterator[DayEnergy]:
    """Yield the energy of each day whose midnights are both known and in one sequence; ``entries`` in key order."""
    for first, second in pairwise(entries):
        day = date.fromisoformat(first.key)
        if second.key == str(day + ONE_DAY):
            cause, by_period = _compare(first, second)
            if cause is None:
                yield DayEnergy(day, by_period, _watt_hours(second) - _watt_hours(first))


def find_breaks(entries: Sequence[Entry]) -> Iterator[SequenceBreak]:
    """Yield the breaks between sequences, oldest first; ``entries`` in key order, maybe with missing midnights."""
    for first, second in pairwise(entries):
        if cause := _compare(first, second)[0]:
            yield SequenceBreak(date.fromisoformat(first.key), date.fromisoformat(second.key), cause)


def month_energies(days: Iterable[DayEnergy], today: date) -> list[MonthEnergy]:
    """Return the sums of each month that has a day in ``days``, oldest first. ``days`` must be in order.

    Days from ``today`` on don't count as lacking.
    """
    months = []
    for month, of_month in groupby(days, key=lambda energy: energy.day.isoformat()[:7]):
        energies = list(of_month)
        by_period: Counter[str] = Counter()
        for energy in energies:
            by_period.update(energy.by_period)
        first = energies[0].day.replace(day=1)
        over = min(monthrange(first.year, first.month)[1], max((today - first).days, 0))
        total = sum(energy.total for energy in energies)
        months.append(MonthEnergy(month, dict(by_period), total, len(energies), max(over - len(energies), 0)))
    return months


def read_registers(entry: Entry) -> Mapping[str, int]:
    """Return the value of each register in Wh by tariff period; empty if the supplier only sends the total."""
    return (entry.details or {}).get("registers") or {}


def _compare(first: Entry, second: Entry) -> tuple[BreakCause | None, dict[str, int]]:
    """Return why two consecutive readings belong to different sequences, None if they don't, and each register's Wh.

    A missing calendar differs from no other.
    """
    before, after = read_registers(first), read_registers(second)
    calendars = [(entry.details or {}).get("calendar") for entry in (first, second)]
    if before.keys() != after.keys() or (all(calendars) and calendars[0] != calendars[1]):
        return BreakCause.CALENDAR_CHANGED, {}
    risen, days = _watt_hours(second) - _watt_hours(first), (_day_of(second) - _day_of(first)).days
    if risen < 0 or risen > days * _MOST_WATT_HOURS_A_DAY:
        return BreakCause.METER_REPLACED, {}
    counted = {period: after[period] - amount for period, amount in before.items()}
    return BreakCause.FELL_BACK if any(amount < 0 for amount in counted.values()) else None, counted


def _watt_hours(entry: Entry) -> int:
    return entry.amount // MILLIWATT_HOURS_PER_WH


def _day_of(entry: Entry) -> date:
    return date.fromisoformat(entry.key)


def parse_off_peak_hours(raw: Json) -> tuple[TimeRange, ...]:
    """Return the ranges of local time in the order of their starts; empty if the text can't be parsed completely."""
    text = parse_text(raw)
    whole = _OFF_PEAK_HOURS.fullmatch(text) if text else None
    if whole is None:
        return ()
    ranges = [_parse_range(part.strip()) for part in re.split(r"[;,]", whole[1])]
    return tuple(sorted({found for found in ranges if found})) if all(ranges) else ()


def format_off_peak_hours(ranges: tuple[TimeRange, ...]) -> str | None:
    """Return the text form of the ranges, such as ``HC (2H00-7H00;12H30-14H00)``; None without a range."""
    parts = (f"{_format_time(start)}-{_format_time(end)}" for start, end in ranges)
    return f"HC ({';'.join(parts)})" if ranges else None


def _parse_range(text: str) -> TimeRange | None:
    match = _TIME_RANGE.fullmatch(text)
    if match is None:
        return None
    start, end = _parse_time(match[1], match[2]), _parse_time(match[3], match[4])
    return (start, end) if start is not None and end is not None and start != end else None


def _parse_time(hours: str, minutes: str | None) -> time | None:
    hour, minute = int(hours), int(minutes or 0)
    if (hour, minute) == (24, 0):
        return time()
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _format_time(moment: time) -> str:
    return f"{moment.hour}H{moment.minute:02}"
