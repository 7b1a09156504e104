"""Which kind of work this thread is doing: the queue its task came through, or none, for what a person started."""

from __future__ import annotations

from contextvars import ContextVar, Token
from enum import StrEnum
from typing import Final

from worker.queue_names import QUEUES


class Lane(StrEnum):
    CONTROL = "control"
    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    BACKFILL = "backfill"
    BY_HAND = "by_hand"  # no task: the command line, a page
    OTHER = "other"  # a queue that an operator made


_QUEUES: Final = {name: Lane(name) for name in QUEUES}
_LANE: ContextVar[Lane] = ContextVar("lane", default=Lane.BY_HAND)


def current_lane() -> Lane:
    return _LANE.get()


def enter_lane(queue: str | None) -> Token[Lane]:
    """From now on this thread works for ``queue``; what comes back leads out again (``leave_lane``)."""
    return _LANE.set(_QUEUES.get(queue or "", Lane.OTHER))


def leave_lane(token: Token[Lane]) -> None:
    _LANE.reset(token)
