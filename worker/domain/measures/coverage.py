"""Summary of a ledger of days for display: counts, the days still open, and when they are asked for next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from worker.domain.measures.completeness import DayLedger, DayMark, DayState, half_hours_of, next_ask
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry
from worker.domain.measures.holes import Hole, MissingCurve
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, find_uncovered
from worker.domain.measures.series import Series


@dataclass(frozen=True, slots=True)
class OpenDay:
    """A day that is not complete. ``asked_next``: None if it is too old to be asked for. ``hole``: of a curve only."""

    day: date
    mark: DayMark
    asked_next: date | None
    hole: Hole | None = None

    @property
    def state_text(self) -> str:
        """The state as text: ``partial 46 of 48`` or ``late``."""
        if self.mark.state is DayState.PARTIAL:
            return f"partial {self.mark.half_hours} of {half_hours_of(self.day)}"
        return self.mark.state.name.lower()


@dataclass(frozen=True, slots=True)
class Coverage:
    """The summary of one series. ``first`` and ``last``: the ends of its ledger, None if that is empty.

    ``missing``: since when a curve is missing, if its collection is not switched on.
    """

    series: Series
    first: date | None
    last: date | None
    counts: Mapping[DayState, int]
    open_days: tuple[OpenDay, ...]
    missing: MissingCurve | None = None

    @property
    def asked_next(self) -> date | None:
        """The first date on which an open day is asked for."""
        return min((day.asked_next for day in self.open_days if day.asked_next), default=None)


def summarize_days(
    series: Series,
    ledger: DayLedger,
    today: date,
    holes: Mapping[date, Hole] | None = None,
    missing: MissingCurve | None = None,
) -> Coverage:
    """Return the summary of a ledger. ``holes`` and ``missing``: of a curve, from ``holes.py``."""
    days = list(ledger.days())
    return Coverage(
        series,
        ledger.start,
        days[-1][0] if days else None,
        Counter(DayState.COMPLETE if mark.complete else mark.state for _, mark in days),
        tuple(
            OpenDay(day, mark, next_request_date(series, day, mark, today), (holes or {}).get(day))
            for day, mark in days
            if mark.open
        ),
        missing,
    )


def next_request_date(series: Series, day: date, mark: DayMark, today: date) -> date | None:
    """Return when an open day is asked for, by the next look-back or by the repair; ``today`` if it is due.

    The next look-back comes so many nights after the last one as the series' cadence says.
    """
    if not mark.open:
        return None
    if series.is_state:
        return None
    dates = [when] if (when := next_ask(day, mark, series)) else []
    asked_on = day + timedelta(days=mark.asked_at_age or 0)
    look_back = max(today + ONE_DAY, asked_on + series.description.cadence_nights * ONE_DAY)
    if (look_back - day).days <= series.description.look_back_days:
        dates.append(look_back)
    return max(today, min(dates)) if dates else None


def find_gaps(day: date, steps: Iterable[Entry]) -> list[tuple[datetime, datetime]]:
    """Return the parts of a civil day that no stored step covers, in the meter's zone. ``steps``: in key order."""
    starts = ((datetime.fromisoformat(entry.key), entry.step or USUAL_STEP_MINUTES) for entry in steps)
    spans = ((start, start + timedelta(minutes=minutes)) for start, minutes in starts)
    gaps = find_uncovered(*DateWindow(day, day + ONE_DAY).instants(), spans)
    return [(first.astimezone(PARIS), after.astimezone(PARIS)) for first, after in gaps]
