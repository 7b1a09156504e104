"""How long each recorded step was: recordings tell its end only.

The distance from one end to the next is the step, unless something is missing between the two.  So an hour between
half-hours is a hole and not a longer step; an hour next to another hour is a step, if both end on the full hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from worker.domain.measures.readings import PARIS
from worker.simulator.homes.series import HALF_HOUR, STEPS


def to_instants(labels: Sequence[datetime]) -> list[datetime]:
    """The moments of end labels, in UTC; for naive ones the order tells the two passes of the autumn hour apart."""
    instants: list[datetime] = []
    previous: datetime | None = None
    for label in labels:
        previous = _instant(label, previous)
        instants.append(previous)
    return instants


def _instant(label: datetime, previous: datetime | None) -> datetime:
    if label.tzinfo is not None:
        return label.astimezone(UTC)
    earlier, later = (label.replace(tzinfo=PARIS, fold=fold).astimezone(UTC) for fold in (0, 1))
    return later if previous is not None and earlier <= previous < later else earlier


def infer_minutes(ends: Sequence[datetime], default: int = HALF_HOUR) -> list[int]:
    """Length of the step before each of ``ends`` (rising instants), in minutes."""
    if not ends:
        return []
    gaps = [None, *((later - earlier) // timedelta(minutes=1) for earlier, later in pairwise(ends))]
    known = [gap if gap in STEPS and _aligned(end, gap) else None for end, gap in zip(ends, gaps, strict=True)]
    genuine = [_without_holes(known, index) for index in range(len(known))]
    return _fill(genuine, default)


def _aligned(end: datetime, minutes: int) -> bool:
    return end.minute % minutes == 0


def _without_holes(gaps: Sequence[int | None], index: int) -> int | None:
    """The gap as it is, unless it stands alone beside shorter ones: then the shorter, for a step is missing."""
    gap = gaps[index]
    before = gaps[index - 1] if index else None
    after = gaps[index + 1] if index + 1 < len(gaps) else None
    if gap is None or gap in (before, after):
        return gap
    shorter = [other for other in (after, before) if other is not None and other < gap]
    return shorter[0] if shorter else gap


def _fill(steps: Sequence[int | None], default: int) -> list[int]:
    """A step after a hole is as long as those that follow it, else as those before."""
    filled: list[int | None] = list(steps)
    for index in range(len(filled) - 2, -1, -1):
        filled[index] = filled[index] or filled[index + 1]
    last: int = default
    complete = []
    for step in filled:
        last = step or last
        complete.append(last)
    return complete
