"""Energy by tariff period: of a day from daily values, registers or the curve, of an hour from the curve.

A day is wholly by registers, where they are those of the option and of one sequence, or wholly by the curve. A step is
counted with the hour and the day that it starts in. A step in which a period ends is divided by minutes. What was used
while hours or colour are unknown is in no period. All amounts are exact, in mWh: whole numbers, and fractions where
steps were divided.

Off-peak hours are those of the clock in Paris: what begins at 01:00 and ends at 03:00 lasts three hours on the day of
25. The colour of Tempo holds from 06:00 to 06:00; its off-peak hours are always 22:00 to 06:00.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from worker.domain.documents import MILLIWATT_HOURS_PER_WH, USUAL_STEP_MINUTES, Entry
from worker.domain.prices import REGISTERS, Colour, Option
from worker.domain.prices.choices import DAY_MINUTES, Terms, minutes_of
from worker.domain.series import Doctype
from worker.domain.tariffs import day_energies
from worker.domain.totals import total_key
from worker.domain.windows import ONE_DAY, PARIS, local_midnight, merge_spans

Amount = int | Fraction
NO_COLOURS: Final[Mapping[date, Colour]] = MappingProxyType({})
_MWH: Final = MILLIWATT_HOURS_PER_WH
_TEMPO_PEAK: Final = (6 * 60, 22 * 60)
_FOREVER: Final = 1 << 40


class Source(StrEnum):
    """What an energy was taken from."""

    DAILY = "daily"
    REGISTERS = "registers"
    CURVE = "curve"
    MIXED = "mixed"


@dataclass(slots=True)
class PeriodEnergies:
    """What is known of an hour or a day, in mWh by period.

    ``known``: minutes of the ``expected`` ones; of an hour those of the steps that begin in it. Where no curve is
    needed, a day is 1 of 1. ``estimated``: a step was divided, or a contract that was told later has the hours.
    """

    by_period: dict[str, Amount]
    source: Source
    known: int = 1
    expected: int = 1
    estimated: bool = False

    @property
    def is_whole(self) -> bool:
        return self.known >= self.expected


@dataclass(frozen=True, slots=True)
class PeriodDifference:
    """A day and period that registers and curve tell differently, in mWh."""

    day: date
    period: str
    registers: Amount
    curve: Amount


def energies_without_curve(
    terms: Mapping[date, Terms], daily: Iterable[Entry], registers: Sequence[Entry]
) -> dict[date, PeriodEnergies]:
    """Return the days that daily values (option base) or registers tell. ``registers``: readings in key order."""
    found = {}
    for entry in daily:
        day = date.fromisoformat(entry.key)
        if day in terms and terms[day].option is Option.BASE:
            found[day] = PeriodEnergies({"base": entry.amount}, Source.CURVE if entry.is_computed else Source.DAILY)
    for energy in day_energies(registers):
        names = REGISTERS[terms[energy.day].option] if energy.day in terms else {}
        if names and energy.by_period.keys() == names.keys():
            by_period: dict[str, Amount] = {names[name]: _MWH * part for name, part in energy.by_period.items()}
            found[energy.day] = PeriodEnergies(by_period, Source.REGISTERS)
    return found


def terms_of_curve(terms: Mapping[date, Terms], found: Mapping[date, PeriodEnergies]) -> dict[date, Terms]:
    """Return the terms of the days that need the curve: neither base nor ``found`` without it."""
    return {day: one for day, one in terms.items() if day not in found and one.option is not Option.BASE}


def energies_by_day(
    terms: Mapping[date, Terms],
    daily: Iterable[Entry] = (),
    registers: Sequence[Entry] = (),
    steps: Iterable[Entry] = (),
    colours: Mapping[date, Colour] = NO_COLOURS,
) -> dict[date, PeriodEnergies]:
    """Return the days of which anything is known. ``terms`` and ``steps``: in order of time.

    ``steps``: from an hour before the first day that needs them, because a step may reach over midnight. ``colours``:
    from the day before.
    """
    found = energies_without_curve(terms, daily, registers)
    of_curve = _read_curve(terms_of_curve(terms, found), steps, colours)
    return dict(sorted({**found, **of_curve}.items()))


def energies_by_hour(
    terms: Mapping[date, Terms], steps: Iterable[Entry], colours: Mapping[date, Colour] = NO_COLOURS
) -> dict[str, PeriodEnergies]:
    """Return the hours of which anything is known, by the keys of their documents."""
    return _read_curve(terms, steps, colours, by_hour=True)


def find_differences(
    terms: Mapping[date, Terms],
    registers: Sequence[Entry],
    steps: Sequence[Entry],
    colours: Mapping[date, Colour] = NO_COLOURS,
) -> Iterator[PeriodDifference]:
    """Yield where registers and a whole curve differ by more than the steps at two changes of period hold.

    A meter's clock may be some minutes off. The steps at a change are those that it lies in, or between. Registers
    show whole Wh, so one Wh is no difference.
    """
    counted = energies_without_curve(terms, (), registers)
    compared = {day: one for day, one in terms.items() if day in counted}
    at_changes: defaultdict[date, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for plan, step, parts, _ in _divide(compared, steps, colours):
        for change in (end for end in plan.ends if parts[0].start <= end <= parts[-1].end):
            at_changes[plan.day][change] = max(step.amount, at_changes[plan.day][change])
    for day, energies in _read_curve(compared, steps, colours).items():
        held = sum(sorted(at_changes[day].values())[-2:]) + _MWH
        for period, of_registers in counted[day].by_period.items():
            of_curve = energies.by_period.get(period, 0)
            if energies.is_whole and not of_registers - held <= of_curve <= of_registers + held:
                yield PeriodDifference(day, period, of_registers, of_curve)


class _Plan(NamedTuple):
    """The tariff periods of a day, which begins and ends at these minutes since 1970.

    ``ends``: the minutes at which the periods of ``names`` end, also of the night that follows.
    """

    day: date
    start: int
    end: int
    ends: list[int]
    names: list[str | None]


class _Part(NamedTuple):
    """A part of a step, in minutes since 1970; ``period`` is None where it is unknown."""

    period: str | None
    energy: Amount
    start: int
    end: int


def _read_curve(
    terms: Mapping[date, Terms], steps: Iterable[Entry], colours: Mapping[date, Colour], *, by_hour: bool = False
) -> dict[Any, PeriodEnergies]:
    """Return what the curve tells, by day, or by the key of an hour."""
    sums: dict[Any, PeriodEnergies] = {}
    for plan, step, parts, covered in _divide(terms, steps, colours):
        key, until = (total_key(step.key, Doctype.HOUR), _FOREVER) if by_hour else (plan.day, plan.end)
        if (found := sums.get(key)) is None:
            # A step that began on the day before may cover the beginning of the day.
            known, expected = (0, 60) if by_hour else (max(0, covered - plan.start), plan.end - plan.start)
            found = sums[key] = PeriodEnergies({}, Source.CURVE, known, expected, terms[plan.day].estimated)
        for period, energy, start, end in parts:
            if period is not None:
                found.by_period[period] = found.by_period.get(period, 0) + energy
                found.known += max(0, min(end, until) - start)
        found.estimated |= len(parts) > 1
    return {key: found for key, found in sums.items() if found.by_period}


def _divide(
    terms: Mapping[date, Terms], steps: Iterable[Entry], colours: Mapping[date, Colour]
) -> Iterator[tuple[_Plan, Entry, Sequence[_Part], int]]:
    """Yield each step of these days with its day's plan, its parts, and the end of the step before."""
    plans = (_plan(day, one, colours) for day, one in terms.items())
    plan, covered = next(plans, None), 0
    for step in steps:
        start = int(datetime.fromisoformat(step.key).timestamp()) // 60
        end = start + (step.step or USUAL_STEP_MINUTES)
        while plan and start >= plan.end:
            plan = next(plans, None)
        if plan is None:
            return
        if start >= plan.start:
            place = bisect_right(plan.ends, start)
            if end <= plan.ends[place]:
                yield plan, step, [_Part(plan.names[place], step.amount, start, end)], covered
            else:
                bounds = [start, *plan.ends[place : bisect_left(plan.ends, end)], end]
                shares = (Fraction(step.amount * (after - first), end - start) for first, after in pairwise(bounds))
                parts = zip(plan.names[place:], shares, bounds, bounds[1:], strict=False)
                yield plan, step, [_Part(*part) for part in parts], covered
        covered = end


def _plan(day: date, terms: Terms, colours: Mapping[date, Colour]) -> _Plan:
    start, end = (int(local_midnight(midnight).timestamp()) // 60 for midnight in (day, day + ONE_DAY))
    clocks = [(start, 0)]  # A minute, and what the clock shows then: at midnight, and where it was changed.
    if end - start != DAY_MINUTES:
        shown = [datetime.fromtimestamp(60 * start + 3600 * hour, PARIS).hour for hour in range(24)]
        change = next(hour for hour in range(24) if shown[hour] != hour)
        clocks.append((start + 60 * change, 60 * shown[change]))
    ends: list[int] = []
    names: list[str | None] = []
    for (begin, clock), (until, _) in pairwise([*clocks, (_FOREVER, 0)]):
        for (first, name), (after, _) in pairwise([*_periods(day, terms, colours), (_FOREVER, None)]):
            if after > clock and begin + first - clock < until:
                if names and names[-1] == name:
                    del ends[-1], names[-1]
                ends.append(min(begin + after - clock, until))
                names.append(name)
    return _Plan(day, start, end, ends, names)


def _periods(day: date, terms: Terms, colours: Mapping[date, Colour]) -> list[tuple[int, str | None]]:
    """Return at which minutes of the clock periods begin, from midnight on; None where hours or colour are unknown."""
    if terms.option is Option.BASE:
        return [(0, "base")]
    if terms.option is Option.TEMPO:
        before, colour = colours.get(day - ONE_DAY), colours.get(day)
        begins = zip((0, *_TEMPO_PEAK), (before, colour, colour), ("hc", "hp", "hc"), strict=True)
        return [(minute, f"{colour}_{hours}" if colour else None) for minute, colour, hours in begins]
    if terms.hours is None:
        return [(0, None)]
    changes = {0: "hp"}
    spans = list(minutes_of(terms.hours))
    for start, end in merge_spans([*spans, *((start + DAY_MINUTES, end + DAY_MINUTES) for start, end in spans)]):
        changes.update({start: "hc", end: "hp"})
    return list(changes.items())
