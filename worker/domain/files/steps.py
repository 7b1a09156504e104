"""The lengths of the steps of a curve whose file tells the end of each step alone: its neighbours say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from worker.domain.parsing.labels import is_newest_first, to_instants

STEPS: Final = (5, 10, 15, 30, 60)  # In minutes: the step lengths that Enedis publishes.
_USUAL_STEP: Final = 30
_ONE_MINUTE: Final = timedelta(minutes=1)


def infer_lengths(ends: Sequence[datetime], usual: int = _USUAL_STEP) -> list[int]:
    """Return the length of the step before each end label, in minutes, in the order of ``ends``.

    Labels are naive local times or have an offset, oldest or newest first. ``usual``: of a step without neighbours.
    """
    if is_newest_first(ends):
        return infer_lengths(ends[::-1], usual)[::-1]
    instants = to_instants(ends)
    order = sorted(range(len(ends)), key=lambda place: instants[place])
    lengths = dict(zip(order, infer_minutes([instants[place] for place in order], usual), strict=True))
    return [lengths[place] for place in range(len(ends))]


def infer_minutes(ends: Sequence[datetime], usual: int = _USUAL_STEP) -> list[int]:
    """Return the length of the step before each of ``ends`` (rising instants), in minutes."""
    if not ends:
        return []
    gaps = [None, *((later - earlier) // _ONE_MINUTE for earlier, later in pairwise(ends))]
    plausible_gaps = [
        gap if gap in STEPS and end.minute % gap == 0 else None for end, gap in zip(ends, gaps, strict=True)
    ]
    step_gaps = [_without_missing_step(plausible_gaps, index) for index in range(len(plausible_gaps))]
    return _fill_unknown_steps(step_gaps, usual)


def _without_missing_step(gaps: Sequence[int | None], index: int) -> int | None:
    """Return the gap at ``index``, or a shorter neighbour where no neighbour is as long: a step is missing there."""
    gap = gaps[index]
    before = gaps[index - 1] if index else None
    after = gaps[index + 1] if index + 1 < len(gaps) else None
    if gap is None or gap in (before, after):
        return gap
    shorter = [other for other in (after, before) if other is not None and other < gap]
    return shorter[0] if shorter else gap


def _fill_unknown_steps(steps: Sequence[int | None], usual: int) -> list[int]:
    """Replace each unknown step by the next known one, else by the one before, else by the usual one."""
    filled = list(steps)
    for index in reversed(range(len(filled) - 1)):
        filled[index] = filled[index] or filled[index + 1]
    complete: list[int] = []
    for step in filled:
        complete.append(step or (complete[-1] if complete else usual))
    return complete
