"""A ledger of days summed up for whoever shows it: counts, the days still open, and when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from worker.domain.measures.completeness import DayState, Ledger, Mark, half_hours_of, next_ask
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry
from worker.domain.measures.holes import Hole
from worker.domain.measures.readings import ONE_DAY, PARIS, Series, local_midnight
from worker.domain.measures.windows import LOOK_BACK_DAYS


@dataclass(frozen=True, slots=True)
class OpenDay:
    """``asked_next`` is None where nobody will ask any more; ``hole`` is told of a curve alone."""

    day: date
    mark: Mark
    asked_next: date | None
    hole: Hole | None = None

    @property
    def words(self) -> str:
        """``partial 46 of 48`` or ``late``."""
        if self.mark.state is DayState.PARTIAL:
            return f"partial {self.mark.half_hours} of {half_hours_of(self.day)}"
        return self.mark.state.name.lower()


@dataclass(frozen=True, slots=True)
class Coverage:
    """``first`` and ``last`` are the ledger's ends; None where nothing is known."""

    series: Series
    first: date | None
    last: date | None
    counts: Mapping[DayState, int]
    open_days: tuple[OpenDay, ...]

    @property
    def asked_next(self) -> date | None:
        return min((each.asked_next for each in self.open_days if each.asked_next), default=None)

    def as_json(self) -> dict[str, Any]:
        return {
            "first_day": _iso(self.first),
            "last_day": _iso(self.last),
            **{state.name.lower(): self.counts.get(state, 0) for state in DayState},
            "asked_next": _iso(self.asked_next),
            "open_days": [
                {
                    "day": each.day.isoformat(),
                    "state": each.mark.state.name.lower(),
                    "half_hours": each.mark.half_hours,
                    "of": half_hours_of(each.day),
                    "asked_next": _iso(each.asked_next),
                    "hole": each.hole.value if each.hole else None,
                }
                for each in self.open_days
            ],
        }


def sum_up(series: Series, ledger: Ledger, today: date, holes: Mapping[date, Hole] | None = None) -> Coverage:
    """``holes``: of a curve's empty days (``holes.find_holes``)."""
    days = list(ledger.days())
    return Coverage(
        series,
        ledger.start,
        days[-1][0] if days else None,
        Counter(mark.state for _, mark in days),
        tuple(
            OpenDay(day, mark, asked_next(series, day, mark, today), (holes or {}).get(day))
            for day, mark in days
            if mark.open
        ),
    )


def asked_next(series: Series, day: date, mark: Mark, today: date) -> date | None:
    """When an open day is asked for, by the night's look-back or by the repair; ``today`` where it is due."""
    if not mark.open:
        return None
    turns = [when] if (when := next_ask(day, mark)) else []
    if (today + ONE_DAY - day).days <= LOOK_BACK_DAYS[series]:
        turns.append(today + ONE_DAY)
    return max(today, min(turns)) if turns else None


def find_gaps(day: date, steps: Iterable[Entry]) -> list[tuple[datetime, datetime]]:
    """The parts of a civil day that no stored step covers, in the meter's zone; ``steps``: in key order."""
    start, end = (local_midnight(each).astimezone(UTC) for each in (day, day + ONE_DAY))
    gaps = []
    for entry in steps:
        at = datetime.fromisoformat(entry.key)
        if start < at < end:
            gaps.append((start, at))
        start = max(start, at + timedelta(minutes=entry.step or USUAL_STEP_MINUTES))
    if start < end:
        gaps.append((start, end))
    return [(first.astimezone(PARIS), after.astimezone(PARIS)) for first, after in gaps]


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
