"""The slots of a day's chart: its steps of whatever lengths, its gaps, and the day before over the same time.

Steps of both days are added up until their bounds agree, so that each slot is the same time on both days. A gap is time
that no step covers. The slots follow one another without a hole, and their lengths add up to 23, 24 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from worker.domain.windows import (
    ONE_DAY,
    PARIS,
    IntervalReading,
    civil_date,
    day_length,
    find_uncovered,
    local_midnight,
)

USUAL_STEP: Final = timedelta(minutes=30)
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar: ``energy`` of this span, ``before`` of its counterpart in the span before, in milliwatt-hours.

    ``start`` is the local time of a step, or midnight of a day or of a month's first day. ``overhang``: how long its
    last step goes on after the day. ``repeated`` marks time in the second pass of the autumn hour. ``pending`` marks a
    slot in the future or not published yet, where a missing value is no gap. ``carried``: a step that began on the day
    before covers it, and is counted there. ``missing_days`` counts the past days of a month that have no value,
    ``known_days`` its days that have one.
    """

    start: datetime
    length: timedelta
    energy: int | None
    before: int | None
    overhang: timedelta = timedelta()
    repeated: bool = False
    pending: bool = False
    carried: bool = False
    missing_days: int = 0
    known_days: int = 0

    @property
    def gap(self) -> bool:
        return self.energy is None and not self.pending and not self.carried

    @property
    def unfinished(self) -> bool:
        """Whether some days of a month are still to come, and others known."""
        return 0 < self.known_days < self.length.days - self.missing_days

    @property
    def partial(self) -> bool:
        """Whether the energy of a month is that of some of its days."""
        return self.missing_days > 0 or self.unfinished


class _Step(NamedTuple):
    """A step in minutes since the midnight of the day that is shown; ``overhang``: minutes beyond the day's end."""

    start: int
    end: int
    energy: int
    overhang: int = 0

    @classmethod
    def on_clock_of(cls, day: date, reading: IntervalReading) -> _Step | None:
        """Return where the step lies on the clock of ``day``; None where that clock shows no such time."""
        overhang = _overhang(reading)
        length = reading.length // _MINUTE - overhang
        start = reading.start.astimezone(UTC)
        first = _minute_of(day, start.astimezone(PARIS))
        last = _minute_of(day, (start + (length - 1) * _MINUTE).astimezone(PARIS))
        if first is None or last is None or last + 1 - first != length:
            return None
        return cls(first, last + 1, reading.amount, overhang)

    def is_cut_at(self, minute: int) -> bool:
        return self.start < minute < self.end


def day_slots(day: date, readings: Iterable[IntervalReading], *, pending: bool = False) -> tuple[Slot, ...]:
    """Return the slots of a day; ``readings`` are those of the day and of the day before."""
    by_day: dict[date, list[IntervalReading]] = {day: [], day - ONE_DAY: []}
    for reading in readings:
        by_day.setdefault(civil_date(reading.start), []).append(reading)
    steps = [_Step.on_clock_of(day, reading) for reading in by_day[day]]
    now = sorted(step for step in steps if step)
    carried_until = max((_overhang(reading) for reading in by_day[day - ONE_DAY]), default=0)
    gaps = find_uncovered(carried_until, day_length(day) // _MINUTE, ((step.start, step.end) for step in now))
    on_clock = (_Step.on_clock_of(day, reading) for reading in by_day[day - ONE_DAY])
    # What a gap, or a step that is counted with the day before, cuts through has no equal time to be compared with.
    edges = {carried_until, *(edge for gap in gaps for edge in gap)}
    before = [step for step in on_clock if step and not any(step.is_cut_at(edge) for edge in edges)]
    midnight = local_midnight(day).astimezone(UTC)
    slots = []
    for start, end in pairwise(_common_bounds(carried_until, now, before, gaps, day_length(day) // _MINUTE)):
        within = [step for step in now if start <= step.start < end]
        within_before = [step for step in before if start <= step.start < end]
        overhang = sum(step.overhang for step in within)
        same_time = (
            sum(step.end - step.start for step in within_before) == end - start
            and sum(step.overhang for step in within_before) == overhang
        )
        local = (midnight + start * _MINUTE).astimezone(PARIS)
        slots.append(
            Slot(
                local,
                (end - start) * _MINUTE,
                sum(step.energy for step in within) if within else None,
                sum(step.energy for step in within_before) if same_time else None,
                overhang=overhang * _MINUTE,
                repeated=bool(local.fold),
                pending=pending,
                carried=end <= carried_until,
            )
        )
    return tuple(slots)


def _common_bounds(
    carried_until: int, now: Iterable[_Step], before: Iterable[_Step], gaps: Iterable[tuple[int, int]], end: int
) -> list[int]:
    """Return the bounds that lie within no step of either day; in a gap also each half-hour."""
    steps = [*now, *before]
    inside = {minute for step in steps for minute in range(step.start + 1, step.end)}
    half_hours = (
        minute for first, last in gaps for minute in range(first, last) if not minute % (USUAL_STEP // _MINUTE)
    )
    edges = {0, end, carried_until, *half_hours, *(edge for gap in gaps for edge in gap)}
    edges.update(edge for step in steps for edge in (step.start, step.end))
    return sorted(edges - inside)


def _overhang(reading: IntervalReading) -> int:
    """Return how many minutes a step goes on after the civil day in which it starts."""
    end = reading.start.astimezone(UTC) + reading.length
    midnight = local_midnight(civil_date(reading.start) + ONE_DAY).astimezone(UTC)
    return max(0, (end - midnight) // _MINUTE)


def _minute_of(day: date, clock: datetime) -> int | None:
    """Return the minute of a day at which its clock shows the same time; None where it never does."""
    moment = datetime.combine(day, clock.time(), PARIS).astimezone(UTC)
    shown = moment.astimezone(PARIS)
    if (shown.time(), shown.fold) != (clock.time(), clock.fold):
        return None
    return (moment - local_midnight(day).astimezone(UTC)) // _MINUTE
