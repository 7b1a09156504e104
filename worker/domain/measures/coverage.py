"""Summary of a ledger of days for display: counts, the days still open, and when they are asked for next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from worker.domain.measures.completeness import DayLedger, DayMark, DayState, half_hours_of
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry
from worker.domain.measures.holes import Hole, MissingCurve
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, find_uncovered
from worker.domain.measures.series import Series


@dataclass(frozen=True, slots=True)
class OpenDay:
    """A day that is not complete. ``asked_next``: None if it is never asked for again. ``hole``: of a curve only."""

    day: date
    mark: DayMark
    asked_next: datetime | None
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
    def asked_next(self) -> datetime | None:
        """The first moment at which an open day is asked for."""
        return min((day.asked_next for day in self.open_days if day.asked_next), default=None)


def summarize_days(
    series: Series,
    ledger: DayLedger,
    asked_next: Callable[[date, DayMark], datetime | None],
    holes: Mapping[date, Hole] | None = None,
    missing: MissingCurve | None = None,
) -> Coverage:
    """Return the summary of a ledger. ``asked_next``: when a day is asked for again (``worker.domain.fleet``).

    ``holes`` and ``missing``: of a curve, from ``holes.py``.
    """
    days = list(ledger.days())
    return Coverage(
        series,
        ledger.start,
        days[-1][0] if days else None,
        Counter(DayState.COMPLETE if mark.complete else mark.state for _, mark in days),
        tuple(OpenDay(day, mark, asked_next(day, mark), (holes or {}).get(day)) for day, mark in days if mark.open),
        missing,
    )


def find_gaps(day: date, steps: Iterable[Entry]) -> list[tuple[datetime, datetime]]:
    """Return the parts of a civil day that no stored step covers, in the meter's zone. ``steps``: in key order."""
    starts = ((datetime.fromisoformat(entry.key), entry.step or USUAL_STEP_MINUTES) for entry in steps)
    spans = ((start, start + timedelta(minutes=minutes)) for start, minutes in starts)
    gaps = find_uncovered(*DateWindow(day, day + ONE_DAY).instants(), spans)
    return [(first.astimezone(PARIS), after.astimezone(PARIS)) for first, after in gaps]
