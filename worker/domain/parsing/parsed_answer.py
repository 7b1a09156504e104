"""What a parser makes of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from worker.domain.measures.readings import DateWindow, IntervalReading


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The readings of one answer in time order, each step once, and how many points were left out.

    ``dropped``: points with an unusable value, date or step. ``differing``: points that came again with another value;
    the last one counts. ``left_out``: points that gave way to another one of their time: to a later one of other
    bounds, or to a higher one of the same day's maximum power.
    """

    readings: Sequence[IntervalReading]
    dropped: int = 0
    differing: int = 0
    left_out: int = 0

    def clip_to(self, window: DateWindow, *, reaching_in: bool = False) -> ParsedAnswer:
        """Return only the readings that begin in the window that was asked for; the others are counted as dropped.

        ``reaching_in``: those that begin before it and end in it stay, too.
        """
        start, _ = window.instants()
        inside = [
            reading
            for reading in self.readings
            if (window.start <= reading.start.date() < window.end)
            or (reaching_in and reading.start < start < reading.start.astimezone(UTC) + reading.length)
        ]
        return ParsedAnswer(inside, self.dropped + len(self.readings) - len(inside), self.differing, self.left_out)
