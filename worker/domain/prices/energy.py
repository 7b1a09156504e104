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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, NamedTuple

from worker.domain.documents import MILLIWATT_HOURS_PER_WH, USUAL_STEP_MINUTES, Entry
from worker.domain.prices import REGISTERS, Colour, Option
from worker.domain.prices.choices import DAY_MINUTES, Terms, minutes_of
from worker.domain.series import curve_of, daily_of
from worker.domain.tariffs import day_energies
from worker.domain.totals import total_key
from worker.domain.windows import ONE_DAY, PARIS, local_midnight, merge_spans

Amount = int | Fraction
HOURS: Final = curve_of(daily_of()).totals[0]
_FOREVER: Final = 1 << 40
# A part of a step: its period, None where it is unknown, its energy, and its first minute and end since 1970.
_Part = tuple[str | None, Amount, int, int]


class EnergySource(StrEnum):
    """What an energy was taken from."""

    DAILY = "daily"
    REGISTERS = "registers"
    CURVE = "curve"
    MIXED = "mixed"


@dataclass(slots=True)
class PeriodEnergies:
    """What is known of some time, in mWh by period; ``source`` is None where that is nothing.

    ``known`` of ``expected``: whole days; of an hour the minutes of the steps that begin in it. ``estimated``: a step
    was divided, or a contract that was told later has the hours. ``parts`` by period and ``subscription``: what it
    costs, once it is priced, in parts of a euro (``cost.EURO``).
    """

    by_period: dict[str, Amount]
    source: EnergySource | None
    known: int = 1
    expected: int = 1
    estimated: bool = False
    parts: dict[str, Amount] = field(default_factory=dict)
    subscription: Amount = 0

    @property
    def total(self) -> Amount:
        """What the energy and the subscription cost, in parts of a euro."""
        return sum(self.parts.values(), self.subscription)


def energies_of_days(daily: Iterable[Entry], period: str) -> dict[date, PeriodEnergies]:
    """Return the energies of days that have one period."""
    sources = {True: EnergySource.CURVE, False: EnergySource.DAILY}
    return {
        date.fromisoformat(entry.key): PeriodEnergies({period: entry.amount}, sources[entry.is_computed])
        for entry in daily
    }


def energies_by_day(
    terms: Mapping[date, Terms],
    daily: Iterable[Entry],
    registers: Sequence[Entry],
    read_steps: Callable[[Collection[date]], Iterable[Entry]],
    colours: Mapping[date, Colour],
) -> dict[date, PeriodEnergies]:
    """Return the days of which anything is known: by daily values (option base) or registers, else by the curve.

    ``terms``: in order of time. ``registers``: readings in key order. ``read_steps``: for ``energies_of_curve``, gets
    the days that need the curve. ``colours``: from the day before.
    """
    days = energies_of_days(daily, "base")
    found = {day: one for day, one in days.items() if day in terms and terms[day].option is Option.BASE}
    for energy in day_energies(registers):
        names = REGISTERS[terms[energy.day].option] if energy.day in terms else {}
        if names and energy.by_period.keys() == names.keys():
            found[energy.day] = PeriodEnergies(
                {names[name]: MILLIWATT_HOURS_PER_WH * part for name, part in energy.by_period.items()},
                EnergySource.REGISTERS,
            )
    lacking = {day: one for day, one in terms.items() if day not in found}
    return dict(sorted({**found, **energies_of_curve(lacking, read_steps(lacking), colours)}.items()))


def add_energies(parts: Iterable[PeriodEnergies], expected: int) -> PeriodEnergies:
    """Return what is known of ``expected`` days and what it costs, from those of which anything is known."""
    found = PeriodEnergies({}, None, 0, expected)
    for part in parts:
        for sums, amounts in ((found.by_period, part.by_period), (found.parts, part.parts)):
            for period, amount in amounts.items():
                sums[period] = sums.get(period, 0) + amount
        found.subscription += part.subscription
        if part.source and part.source is not found.source:
            found.source = EnergySource.MIXED if found.source else part.source
        found.known += part.known
        found.estimated |= part.estimated
    return found


def off_peak_minutes(day: date, terms: Terms) -> list[tuple[int, int]]:
    """Return the off-peak hours of a day, whatever its colour, in minutes since it began; end excluded."""
    plan = _plan(day, terms, dict.fromkeys((day - ONE_DAY, day), Colour.BLUE))
    spans = zip([plan.start, *plan.ends], plan.ends, plan.names, strict=False)
    return [
        (start - plan.start, min(end, plan.end) - plan.start)
        for start, end, name in spans
        if name and name.endswith("hc") and start < plan.end
    ]


class DayPlan(NamedTuple):
    """The tariff periods of a day, which begins and ends at these minutes since 1970.

    ``ends``: the minutes at which the periods of ``names`` end, also of the night that follows.
    """

    day: date
    start: int
    end: int
    ends: list[int]
    names: list[str | None]


def divide_steps(
    terms: Mapping[date, Terms], steps: Iterable[Entry], colours: Mapping[date, Colour]
) -> Iterator[tuple[DayPlan, Entry, Sequence[_Part], int]]:
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
                yield plan, step, [(plan.names[place], step.amount, start, end)], covered
            else:
                bounds = [start, *plan.ends[place : bisect_left(plan.ends, end)], end]
                shares = (Fraction(step.amount * (after - first), end - start) for first, after in pairwise(bounds))
                yield plan, step, list(zip(plan.names[place:], shares, bounds, bounds[1:], strict=False)), covered
        covered = end


def energies_of_curve(
    terms: Mapping[date, Terms], steps: Iterable[Entry], colours: Mapping[date, Colour], *, by_hour: bool = False
) -> dict[Any, PeriodEnergies]:
    """Return the days of which the curve tells anything, or the hours by the keys of their documents.

    ``terms`` and ``steps``: in order of time; ``steps`` from an hour before, as one may reach over midnight.
    """
    sums: dict[Any, PeriodEnergies] = {}
    for plan, step, parts, covered in divide_steps(terms, steps, colours):
        key, until = (total_key(step.key, HOURS), _FOREVER) if by_hour else (plan.day, plan.end)
        if (found := sums.get(key)) is None:
            # A step that began on the day before may cover the beginning of the day.
            hours = terms[plan.day].hours
            known, expected = (0, 60) if by_hour else (max(0, covered - plan.start), plan.end - plan.start)
            found = sums[key] = PeriodEnergies({}, EnergySource.CURVE, known, expected, bool(hours and hours.estimated))
        for period, energy, start, end in parts:
            if period is not None:
                found.by_period[period] = found.by_period.get(period, 0) + energy
                found.known += max(0, min(end, until) - start)
        found.estimated |= len(parts) > 1
    for found in () if by_hour else sums.values():
        found.known, found.expected = int(found.known >= found.expected), 1
    return {key: found for key, found in sums.items() if found.by_period}


def _plan(day: date, terms: Terms, colours: Mapping[date, Colour]) -> DayPlan:
    start, end = (int(local_midnight(midnight).timestamp()) // 60 for midnight in (day, day + ONE_DAY))
    begins, periods = zip(*_periods(day, terms, colours), strict=True)
    # Where the clock is changed, it is read at each hour of the day and the one that follows.
    width = _FOREVER if end - start == DAY_MINUTES else 60
    changes: list[tuple[int, str | None]] = []
    for hour in range(start, end + 60, width):
        local = datetime.fromtimestamp(60 * hour, PARIS)
        clock = 60 * local.hour + DAY_MINUTES * (local.date() > day)
        for minute in (clock, *(begin for begin in begins if clock < begin < clock + width)):
            period = periods[bisect_right(begins, minute) - 1]
            if not changes or period != changes[-1][1]:
                changes.append((hour + minute - clock, period))
    return DayPlan(day, start, end, [*(begin for begin, _ in changes[1:]), _FOREVER], [name for _, name in changes])


def _periods(day: date, terms: Terms, colours: Mapping[date, Colour]) -> list[tuple[int, str | None]]:
    """Return at which minutes of the clock periods begin, from midnight on; None where hours or colour are unknown."""
    if terms.option is Option.BASE:
        return [(0, "base")]
    if terms.option is Option.TEMPO:
        before, colour = colours.get(day - ONE_DAY), colours.get(day)
        begins = zip((0, 6 * 60, 22 * 60), (before, colour, colour), ("hc", "hp", "hc"), strict=True)
        return [(minute, f"{colour}_{hours}" if colour else None) for minute, colour, hours in begins]
    if terms.hours is None or not terms.hours.ranges:
        return [(0, None)]
    changes = {0: "hp"}
    spans = list(minutes_of(terms.hours.ranges))
    for start, end in merge_spans([*spans, *((start + DAY_MINUTES, end + DAY_MINUTES) for start, end in spans)]):
        changes.update({start: "hc", end: "hp"})
    return list(changes.items())
