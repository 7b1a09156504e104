"""Why a day has no load curve: a comparison of the ledgers of days of daily values and curve, of each direction.

Enedis collects a load curve only if the holder has switched its collection on; daily values are always collected. The
answer is ``no_data_found`` both for a curve that is not collected and for a gap, so the ledgers are compared:

* many days in a row up to the newest with a daily value and no curve: the collection is not switched on;
* a single day without a curve between days with one: a gap in the transmission;
* a day without a daily value either: the supplier has published nothing, yet or ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from worker.domain.measures.completeness import DayLedger, DayState
from worker.domain.measures.readings import ONE_DAY
from worker.domain.measures.series import Series, curve_of, daily_of

# How many days with a daily value and without a curve show that the collection is not switched on.
MIN_EMPTY_DAYS: Final = 3
# After a first curve the next ones may only be late for days because of the supplier. Nobody should be asked to switch
# on what is on already.
MIN_EMPTY_DAYS_AFTER_CURVE: Final = 8
# Of the usual series, the ledgers of these two are compared, in this order.
COMPARED_SERIES: Final = (daily_of(), curve_of(daily_of()))
_EMPTY: Final = frozenset({DayState.LATE, DayState.ABSENT})
_CURVE: Final = frozenset({DayState.COMPLETE, DayState.FILE, DayState.PARTIAL, DayState.AGAIN})


class Hole(StrEnum):
    """Reasons why a day has no load curve."""

    NOT_ACTIVATED = "not_activated"  # The holder must switch the collection on.
    NOT_YET_ACTIVATED = "not_yet_activated"  # The collection was switched on later; these days never come.
    TRANSMISSION = "transmission"  # The gap lies between two curves.
    LATE = "late"  # These are the newest days, and too few to decide.
    NOTHING = "nothing"  # There is no daily value either: it is late or absent.


@dataclass(frozen=True, slots=True)
class MissingCurve:
    """A collection that is not switched on: the first day without a curve, and the last day before it with one."""

    since: date
    last_curve: date | None


def find_missing_curve(daily: DayLedger, curve: DayLedger) -> MissingCurve | None:
    """Return since when the curve is missing; None unless enough of the newest days have a daily value and no curve."""
    newest = max((day for day, mark in curve.days() if mark.state is not DayState.UNKNOWN), default=None)
    if newest is None or curve.start is None:
        return None
    count, since, day = 0, newest, newest
    while day >= curve.start and curve.mark_of(day).state in _EMPTY:
        if daily.mark_of(day).complete:  # A day without a value is skipped: it proves nothing.
            count, since = count + 1, day
        day -= ONE_DAY
    last_curve = max(_days_in(curve, _CURVE), default=None)
    needed = MIN_EMPTY_DAYS if last_curve is None else MIN_EMPTY_DAYS_AFTER_CURVE
    return MissingCurve(since, last_curve) if count >= needed else None


def find_holes(daily: DayLedger, curve: DayLedger) -> dict[date, Hole]:
    """Return why each day that was asked for has no curve."""
    missing, with_curve, empty = find_missing_curve(daily, curve), _days_in(curve, _CURVE), _days_in(curve, _EMPTY)
    with_value = [day for day in empty if daily.mark_of(day).complete]
    began_later = bool(with_curve) and sum(day < with_curve[0] for day in with_value) >= MIN_EMPTY_DAYS_AFTER_CURVE
    holes = {day: Hole.NOTHING for day in empty if daily.mark_of(day).state in _EMPTY}
    for day in with_value:
        if missing is not None and day >= missing.since:
            holes[day] = Hole.NOT_ACTIVATED
        elif began_later and day < with_curve[0]:
            holes[day] = Hole.NOT_YET_ACTIVATED
        else:
            holes[day] = Hole.TRANSMISSION if with_curve and day < with_curve[-1] else Hole.LATE
    return holes


def find_all_holes(ledgers: Mapping[Series, DayLedger]) -> dict[Series, dict[date, Hole]]:
    """Return the holes of each curve among these series that is compared with daily values."""
    return {
        series: find_holes(ledgers.get(daily, DayLedger()), ledger)
        for series, ledger in ledgers.items()
        if (daily := daily_of_curve(series)) is not None
    }


def daily_of_curve(series: Series) -> Series | None:
    """Return the daily values that a curve is compared with; None if the series is no curve that may lack."""
    return series.description.adds_up_to if series.has_steps and series.description.optional else None


def _days_in(curve: DayLedger, states: Collection[DayState]) -> list[date]:
    return [day for day, mark in curve.days() if mark.state in states]
