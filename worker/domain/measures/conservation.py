"""Do the stored documents agree with one another?  Every difference, with its likely cause.

Four laws: the steps of an hour are the hour, the curve of a whole day is the day's value to the watt-hour, the days
of a month are the month and those of a year the year.  Where a day's curve has a gap the second law says nothing.
Source: the recordings of real meters hold them (tests/integration/test_real_recordings.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.measures.aggregation import total_entries
from worker.domain.measures.completeness import civil_day, covered_by
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry, round_as_stored
from worker.domain.measures.readings import ONE_DAY, Period, Series, day_length

_ONE_WATT_HOUR: Final = 1000  # the days' own resolution, in mWh
_ONE_PERCENT: Final = 100


class Law(StrEnum):
    HOUR = "minutes make the hour"
    DAY = "the curve makes the day"
    MONTH = "days make the month"
    YEAR = "days make the year"


class Cause(StrEnum):
    """What most likely happened; ``curable`` by making the total anew, the others by asking again or not at all."""

    STALE_TOTAL = "the total was not made anew"
    MISSING_TOTAL = "the total is missing"
    ORPHAN_TOTAL = "a total without its readings"
    WATTS_AS_ENERGY = "power was taken for energy"
    FACTOR_OF_TWO = "a factor of two"
    SHIFTED = "the curve is shifted by one step"
    CLOCK_CHANGE = "the clock change"
    REPROCESSED = "one of the two was corrected by the supplier, the other not"
    UNKNOWN = "not known"

    @property
    def curable(self) -> bool:
        return self in (Cause.STALE_TOTAL, Cause.MISSING_TOTAL)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """``expected_mwh``: what the finer documents add up to; ``found_mwh``: what is stored; None where there is none."""

    law: Law
    key: str
    expected_mwh: int | None
    found_mwh: int | None
    cause: Cause


_LAWS: Final = {Period.HOUR: Law.HOUR, Period.MONTH: Law.MONTH, Period.YEAR: Law.YEAR}


def check_totals(inputs: Sequence[Entry], totals: Sequence[Entry], period: Period) -> Iterator[Discrepancy]:
    """Hours against steps, months or years against days; both of the same time.  In key order."""
    sums = {key: round_as_stored(energy, period) for key, energy in total_entries(inputs, period).items()}
    stored = {entry.key: entry.milliwatt_hours for entry in totals}
    for key in sorted(sums.keys() | stored.keys()):
        expected, found = sums.get(key), stored.get(key)
        if expected != found:
            yield Discrepancy(_LAWS[period], key, expected, found, _cause_of_total(expected, found))


def _cause_of_total(expected: int | None, found: int | None) -> Cause:
    if found is None:
        return Cause.MISSING_TOTAL
    return Cause.ORPHAN_TOTAL if expected is None else Cause.STALE_TOTAL


def check_days(
    steps: Sequence[Entry], days: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """The curve of each whole day against the day's value.

    ``steps``: in key order, of whole civil days, best with a day more at either end.  ``corrected``: days of which
    the supplier changed a value.
    """
    curve = _by_day(steps)
    covered = covered_by(Series.LOAD_CURVE, steps)
    for entry in sorted(days):
        day = date.fromisoformat(entry.key)
        if covered.get(day) != day_length(day):
            continue  # a gap, or no curve at all: the ledger of days knows
        energy = sum(step.milliwatt_hours for step in curve[day])
        if abs(energy - entry.milliwatt_hours) >= _ONE_WATT_HOUR:
            cause = _cause_of_day(day, curve, energy, entry.milliwatt_hours, corrected)
            yield Discrepancy(Law.DAY, entry.key, energy, entry.milliwatt_hours, cause)


def _cause_of_day(
    day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int, corrected: Collection[date]
) -> Cause:
    if _shifted(day, curve, energy, value):
        return Cause.SHIFTED
    steps = {entry.step or USUAL_STEP_MINUTES for entry in curve[day]}
    if any(minutes < 60 and _near(energy * minutes, value * 60) for minutes in steps):
        return Cause.WATTS_AS_ENERGY
    if _near(energy, 2 * value) or _near(2 * energy, value):
        return Cause.FACTOR_OF_TWO
    if day in corrected:
        return Cause.REPROCESSED
    return Cause.CLOCK_CHANGE if day_length(day) != timedelta(hours=24) else Cause.UNKNOWN


def _shifted(day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int) -> bool:
    """Whether the day's value comes out when the curve is read one step earlier or later."""
    mine, before, after = curve[day], curve.get(day - ONE_DAY), curve.get(day + ONE_DAY)
    later = energy - mine[0].milliwatt_hours + after[0].milliwatt_hours if after else None
    earlier = energy - mine[-1].milliwatt_hours + before[-1].milliwatt_hours if before else None
    return any(total is not None and abs(total - value) < _ONE_WATT_HOUR for total in (later, earlier))


def _near(one: int, other: int) -> bool:
    """Equal to a hundredth; two zeros are no hint."""
    return other != 0 and abs(one - other) * _ONE_PERCENT <= abs(other)


def _by_day(steps: Sequence[Entry]) -> dict[date, list[Entry]]:
    by_day: defaultdict[date, list[Entry]] = defaultdict(list)
    for entry in steps:
        by_day[civil_day(entry.key)].append(entry)
    return by_day
