"""Why a day's curve is empty: the two ledgers of an account held side by side.

A curve needs the holder's leave to be collected, a daily value does not.  So days on end with a daily value and
no curve, up to the newest, mean that nobody has switched its collection on (upstream-apis, 1.5: the answer is
``no_data_found`` then, as for a hole); a single day between two curves is a gap of the transmission; and where
the daily value lacks too, the supplier has published nothing, yet or ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from worker.domain.measures.completeness import DayState, Ledger
from worker.domain.measures.readings import ONE_DAY

IN_A_ROW: Final = 3
# A curve that came before may just be late for days (the supplier's own trouble): nobody is sent to switch
# something on that is on.
IN_A_ROW_AFTER_A_CURVE: Final = 8

_EMPTY: Final = frozenset({DayState.LATE, DayState.ABSENT})
_CURVE: Final = frozenset({DayState.COMPLETE, DayState.PARTIAL})


class Hole(StrEnum):
    NOT_ACTIVATED = "not_activated"  # the holder must switch the collection on
    NOT_YET_ACTIVATED = "not_yet_activated"  # it was switched on later; these days never come
    TRANSMISSION = "transmission"  # a gap between two curves
    LATE = "late"  # the newest days, too few to tell
    NOTHING = "nothing"  # no daily value either: late, or absent


@dataclass(frozen=True, slots=True)
class MissingCurve:
    """Collection is not switched on: first day of the emptiness, and the last day before it that had a curve."""

    since: date
    last_curve: date | None


def missing_curve(daily: Ledger, curve: Ledger) -> MissingCurve | None:
    """Whether the newest days have their daily value and no curve, too many in a row for chance."""
    newest = max((day for day, mark in curve.days() if mark.state is not DayState.UNKNOWN), default=None)
    if newest is None or curve.start is None:
        return None
    number, since, day = 0, newest, newest
    while day >= curve.start and curve.of(day).state in _EMPTY:
        if daily.of(day).state is DayState.COMPLETE:  # a day without its value tells nothing, and breaks no row
            number, since = number + 1, day
        day -= ONE_DAY
    last_curve = _last_with_curve(curve)
    needed = IN_A_ROW if last_curve is None else IN_A_ROW_AFTER_A_CURVE
    return MissingCurve(since, last_curve) if number >= needed else None


def find_holes(daily: Ledger, curve: Ledger) -> dict[date, Hole]:
    """What is the matter with each day that was asked for and has no curve."""
    missing, with_curve = missing_curve(daily, curve), [day for day, mark in curve.days() if mark.state in _CURVE]
    valued = [day for day in _empty_days(curve) if daily.of(day).state is DayState.COMPLETE]
    began_later = bool(with_curve) and sum(day < with_curve[0] for day in valued) >= IN_A_ROW_AFTER_A_CURVE
    holes = {day: Hole.NOTHING for day in _empty_days(curve) if daily.of(day).state in _EMPTY}
    for day in valued:
        if missing is not None and day >= missing.since:
            holes[day] = Hole.NOT_ACTIVATED
        elif began_later and day < with_curve[0]:
            holes[day] = Hole.NOT_YET_ACTIVATED
        else:
            holes[day] = Hole.TRANSMISSION if with_curve and day < with_curve[-1] else Hole.LATE
    return holes


def _empty_days(curve: Ledger) -> list[date]:
    return [day for day, mark in curve.days() if mark.state in _EMPTY]


def _last_with_curve(curve: Ledger) -> date | None:
    return max((day for day, mark in curve.days() if mark.state in _CURVE), default=None)
