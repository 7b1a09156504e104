"""Rules that answer "is this much?": base load, the highest days, and the maximum power beside the subscribed power.

The *base load* is what a home always uses: of a night, the lowest mean power of any 2.5 hours in a row between 00:00
and 06:00; of a month, the median of its nights, which a few unusual nights don't change. A night counts if steps of at
most 30 minutes cover it without a hole. Where the clock is changed, it lasts 5 or 7 hours.

A year isn't judged if a season lacks: other days would look high, or a small subscription would look enough.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fractions import Fraction
from itertools import accumulate, groupby
from statistics import median
from typing import Final

from worker.domain.completeness import civil_day
from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, USUAL_STEP_MINUTES, Entry, interval_of, round_half_up
from worker.domain.prices.compare import LEAST_DAYS
from worker.domain.totals import Peak, find_highest, is_near
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, local_midnight

NIGHTS: Final = 30
LEAST_NIGHTS: Final = 20
SUBSCRIPTIONS: Final = (3, 6, 9, 12, 15, 18, 24, 30, 36)  # Of homes, in kVA.
HOURS_A_YEAR: Final = 8766
_RUN_MINUTES: Final = 150
_SIX: Final = time(6)


@dataclass(frozen=True, slots=True)
class BaseLoad:
    """What a home always uses. ``nights``: how many are known; ``kwh_year``: what ``watts`` are in 8 766 hours."""

    watts: int
    nights: int
    kwh_year: int


def lowest_by_night(steps: Iterable[Entry], window: DateWindow) -> dict[date, Fraction]:
    """Return the lowest mean power of the nights in which these days begin, in mW; a night that doesn't count lacks.

    ``steps``: in order of time, from an hour before the first day.
    """
    by_day = {day: list(group) for day, group in groupby(steps, key=lambda step: civil_day(step.key))}
    lowest = (
        (day, _find_lowest([*by_day.get(day - ONE_DAY, ())[-1:], *by_day.get(day, ())], day)) for day in window.dates()
    )
    return {day: power for day, power in lowest if power is not None}


def to_base_load(nights: Mapping[date, Fraction]) -> BaseLoad | None:
    """Return the base load of these nights; None if they are too few."""
    if len(nights) < LEAST_NIGHTS:
        return None
    watts = round_half_up(median(nights.values()), 1000) // 1000
    return BaseLoad(watts, len(nights), round_half_up(watts * HOURS_A_YEAR, 1000) // 1000)


def _find_lowest(steps: Sequence[Entry], day: date) -> Fraction | None:
    six = datetime.combine(day, _SIX, PARIS)
    first, end = (int(moment.astimezone(UTC).timestamp()) // 60 for moment in (local_midnight(day), six))
    within = [(span, step.amount) for step in steps if (span := interval_of(step)).end > first and span.start < end]
    bounds = [*(span.start for span, _ in within), *(span.end for span, _ in within[-1:])]
    is_whole = bool(within) and bounds[0] <= first and bounds[-1] >= end
    if not is_whole or any(
        span.end != after or span.end - span.start > USUAL_STEP_MINUTES
        for (span, _), after in zip(within, bounds[1:], strict=True)
    ):
        return None
    sums = list(accumulate((amount for _, amount in within), initial=0))

    def used_until(minute: int) -> Fraction:
        place = min(bisect_right(bounds, minute), len(within)) - 1
        share = Fraction(minute - bounds[place], bounds[place + 1] - bounds[place])
        return sums[place] + share * within[place][1]

    # Power is constant within a step, so the lowest run begins or ends where a step does.
    begins = {first, end - _RUN_MINUTES, *bounds, *(bound - _RUN_MINUTES for bound in bounds)}
    runs = (
        used_until(begin + _RUN_MINUTES) - used_until(begin) for begin in begins if first <= begin <= end - _RUN_MINUTES
    )
    return min(runs) * 60 / _RUN_MINUTES


@dataclass(frozen=True, slots=True)
class HighestDays:
    """The tenth of the ``known`` days on which most was used: their share of all in mWh, and the first few."""

    known: int
    number: int
    energy: int
    total: int
    first: Sequence[tuple[date, int]]


def find_highest_days(days: Mapping[date, int], shown: int = 5) -> HighestDays | None:
    """Return the highest days of a year, of equal days the earliest; None if too few are known or nothing was used."""
    if len(days) < LEAST_DAYS or not any(days.values()):
        return None
    ranked = sorted(days.items(), key=lambda one: (-one[1], one[0]))
    number = len(days) // 10
    energy = sum(amount for _, amount in ranked[:number])
    return HighestDays(len(days), number, energy, sum(days.values()), ranked[:shown])


@dataclass(frozen=True, slots=True)
class PowerNeed:
    """What maximum powers of a year say. ``near``: on how many days within 10 % of the subscribed power, or above it.

    ``compared``: on how many of the ``known`` days that power is known. ``subscription``: the smallest in kVA that
    would have held on all of them; None if too few are known, or if none would have.
    """

    known: int
    compared: int
    near: int
    highest: Peak
    subscription: int | None


def judge_power(peaks: Sequence[Peak]) -> PowerNeed | None:
    """Return what the maximum powers say; None without any."""
    if not (highest := find_highest(peaks)):
        return None
    holding = (kva for kva in SUBSCRIPTIONS if highest.amount <= kva * MILLIWATT_HOURS_PER_KWH)
    return PowerNeed(
        len(peaks),
        sum(peak.subscribed is not None for peak in peaks),
        sum(is_near(peak.amount, peak.subscribed) for peak in peaks if peak.subscribed is not None),
        highest,
        next(holding, None) if len(peaks) >= LEAST_DAYS else None,
    )
